"""Tables in CSV files, read strictly: whatever wrote them, and each row with the line it begins in."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

import pandas as pd

from audiotag.config.checks import formula_problem, is_formula
from audiotag.data.paths import nfc
from audiotag.errors import DataError, Nearest

NO_LABEL = {"", "None"}
FORM = (
    "A table is UTF-8 text, values between commas, semicolons or tabs, the first row their names: save it so, in Excel "
    "as 'CSV UTF-8', in LibreOffice as 'Text CSV' with the character set UTF-8."
)
NOT_TEXT = {
    b"\xff\xfe": "this is UTF-16 text",
    b"\xfe\xff": "this is UTF-16 text",
    b"PK\x03\x04": "this is a spreadsheet's own file, not CSV",
}

Result = TypeVar("Result")


def collect_problems(problems: list[str], function: Callable[[], Result]) -> Result | None:
    """Return what a function returns; if it raises DataError, add its problems to the others and return None."""
    try:
        return function()
    except DataError as error:
        problems += error.problems or [str(error)]
        return None


def find(name: str, root: Path) -> Path:
    """Return the path of a file named by a setting: as given, else below the data set's folder."""
    path = Path(name).expanduser()
    return path.absolute() if path.is_file() else root / path


def find_file(setting: str, name: str, root: Path) -> Path:
    """Return the path of a file named by a setting; raises DataError if it is in neither place."""
    path = find(name, root)
    if not path.is_file():
        raise DataError("A file is missing:", [f"{setting}={name}: not here, nor in {root}"])
    return path


def read_labels(path: Path, clip: str, label: str) -> pd.Series:
    """Read a two-column table (clip, label) into a series of labels by clip id, without clips that have none.

    Raises DataError if the table is malformed or names a clip twice.
    """
    clip, label = nfc(clip), nfc(label)
    table, problems = read_table(path, {"data.columns.clip": clip, "data.columns.label": label})
    doubled, formula = table[clip].duplicated(), table[label].map(is_formula).astype(bool)
    problems += [f"{path}:{line}: {name}: duplicate id" for line, name in table[clip][doubled].items()]
    problems += [f"{path}:{line}: {formula_problem(name)}" for line, name in table[label][formula].items()]
    if problems:
        raise DataError("The table of labels cannot be used:", problems)
    return table[~table[label].isin(NO_LABEL)].set_index(clip)[label]


def read_table(path: Path, wanted: dict[str, str | None]) -> tuple[pd.DataFrame, list[str]]:
    """Return a table's rows by the line they begin in, and what is wrong with the form of some.

    `wanted` are the columns it must have, each by the setting that names it. Raises DataError if one is missing.
    """
    table, malformed = read_csv(path)
    require_columns(path, table, wanted)
    return table, [f"{path}:{line}: {why}" for line, why in malformed[malformed != ""].items()]


def read_csv(path: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Return a table without its blank rows, stripped, by line number, and what is wrong with rows, "" if nothing.

    The line of a row is the one it begins in, quoted line breaks and blank lines counted. Raises DataError if it cannot
    be parsed.
    """
    text = _text(path)
    line, lines, rows = 1, [], []
    try:
        reader = csv.reader(io.StringIO(text, newline=""), delimiter=_delimiter(text), strict=True)
        for row in reader:
            cells = [nfc(cell.strip()) for cell in row]
            if any(cells):
                lines.append(line)
                rows.append(cells)
            line = reader.line_num + 1
    except csv.Error as error:
        raise _unparsable(path, line, str(error)) from error
    if not rows:
        raise _unparsable(path, 1, "there is nothing in it")
    header, n = rows[0], len(rows[0])
    index = pd.Index(lines[1:], dtype="int64")
    table = pd.DataFrame([(row + [""] * n)[:n] for row in rows[1:]], index, header, dtype=str)
    malformed = [
        f"{len(row)} values where the header names {n}" if len(row) < n or any(row[n:]) else "" for row in rows[1:]
    ]
    return table, pd.Series(malformed, index, dtype=str)


def require_columns(path: Path, table: pd.DataFrame, wanted: dict[str, str | None]) -> None:
    """Raise DataError unless a table has each column once; `wanted` are columns by the setting that names them."""
    there = list(table.columns)
    problems = []
    for setting, column in wanted.items():
        if not column or there.count(column) == 1:
            continue
        near = difflib.get_close_matches(column, there, n=1, cutoff=0.5)
        hint = f"; did you mean {setting}={near[0]}?" if near and setting != column else ""
        name = column if setting == column else f"{column} ({setting})"  # some columns no setting can rename
        if column in there:
            problems.append(f"{path}:1: there are {there.count(column)} columns {name}")
        else:
            problems.append(f"{path}:1: no column {name}; there are {', '.join(there)}{hint}")
    if problems:
        raise DataError("A table lacks columns:", problems)


def unknown_label(label: str, near: Nearest) -> str:
    """Return the message for a label that is not a class, naming the nearest that is."""
    return f"unknown label {label}" + (near(label) or ", none of the classes")


def _text(path: Path) -> str:
    """Return the text of a table; raises DataError if it is not text, or cannot be read."""
    try:
        content = path.read_bytes()
    except OSError as error:
        raise DataError("A table cannot be read:", [f"{path}: {error.strerror}"]) from error
    for begin, what in NOT_TEXT.items():
        if content.startswith(begin):
            raise _unparsable(path, 1, what)
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = content[: error.start].count(b"\n") + 1
        shown = content.splitlines()[line - 1].decode("cp1252", "replace").strip()[:80]
        why = f"this is not UTF-8 text; as cp1252, which Windows programs write, it says: {shown}"
        raise _unparsable(path, line, why) from error
    if "\0" in text:
        raise _unparsable(path, text[: text.index("\0")].count("\n") + 1, "there is a NUL character in this line")
    return text


def _delimiter(text: str) -> str:
    """Return what stands between the names in a table's header: a comma, semicolon or tab."""
    header = next((line for line in text.splitlines() if line.strip(" ,;\t")), "")
    outside_quotes = re.sub(r'"[^"]*"', "", header)
    return max(",;\t", key=outside_quotes.count)


def _unparsable(path: Path, line: int, why: str) -> DataError:
    return DataError("A table cannot be read:", [f"{path}:{line}: {why}"], FORM)

"""Tables of recordings, read strictly: every row that cannot be used is named with its file and line."""

from __future__ import annotations

import csv
import difflib
import io
import re
from collections.abc import Callable
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path
from typing import TypeVar

import pandas as pd

from audiotag.config import Columns
from audiotag.config.checks import formula_problem, is_formula
from audiotag.data.paths import leading_out, nfc, relative
from audiotag.errors import DataError, Nearest

YES = {"1", "1.0", "true", "yes", "verified"}
NO = {"0", "0.0", "false", "no", "unverified", ""}
NO_LABEL = {"", "None"}
NO_LABEL_TOLD = "a training clip without a label"
UNLABELLED = "unlabelled"  # the split of clips that are neither trained nor tested on
FORM = (
    "A table is UTF-8 text, values between commas, semicolons or tabs, the first row their names: save it so, in Excel "
    "as 'CSV UTF-8', in LibreOffice as 'Text CSV' with the character set UTF-8."
)
NOT_TEXT = {
    b"\xff\xfe": "this is UTF-16 text",
    b"\xfe\xff": "this is UTF-16 text",
    b"PK\x03\x04": "this is a spreadsheet's own file, no CSV",
}
ROWS = ["clip_id", "path", "label", "verified", "split", "usage", "group", "where"]

Result = TypeVar("Result")


@dataclass(frozen=True)
class TableSource:
    """One table and the folder its file names are relative to."""

    table: Path
    audio_dir: Path
    split: str = "train"


@dataclass(frozen=True)
class Problem:
    """A row or file that cannot be used."""

    path: str
    why: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.path}: {self.why}"


@dataclass
class Rows:
    """Rows of one or more tables (columns `ROWS`), and by row number what is wrong with some of them."""

    frame: pd.DataFrame
    faults: dict[int, list[str]] = field(default_factory=dict)
    unreadable: set[int] = field(default_factory=set)
    """Rows whose fields cannot be told apart or that name no file: nothing else is said of them."""
    left_out: set[int] = field(default_factory=set)
    """Rows that nobody needs: not used, and no problem."""

    def mark_invalid(self, bad: pd.Series, why: pd.Series | str) -> None:
        """Note why the rows marked `bad` cannot be used."""
        for row in bad.index[bad]:
            if row not in self.unreadable:
                self.faults.setdefault(row, []).append(why if isinstance(why, str) else why[row])

    @property
    def readable(self) -> pd.DataFrame:
        """Rows that name a file."""
        return self.frame[~self.frame.index.isin(self.unreadable)]

    @property
    def usable(self) -> pd.DataFrame:
        """Rows with which nothing is wrong, as far as is known by now."""
        return self.frame[~self.frame.index.isin(self.faults.keys() | self.left_out)]

    @property
    def problems(self) -> list[Problem]:
        """What is wrong, one problem per row, in the order of the tables."""
        rows = self.frame[["path", "where"]].to_dict("index")
        return [
            Problem(rows[row]["path"], "; ".join(why), rows[row]["where"]) for row, why in sorted(self.faults.items())
        ]


def read_tables(
    sources: list[TableSource],
    columns: Columns,
    group: str | None,
    root: Path,
    classes: list[str] | None,
    allow_outside: bool = False,
    unlabelled: bool = False,
) -> tuple[Rows, list[str]]:
    """Read all tables of a data set; return its rows and class list, as `checked_rows` does.

    Raises DataError where tables are missing, cannot be parsed, or lack columns.
    """
    columns = Columns(**{name: value and nfc(value) for name, value in vars(columns).items()})
    group = group and nfc(group)
    missing = [f"{source.table}: there is no such file" for source in sources if not source.table.is_file()]
    if missing:
        raise DataError(
            "The data set's tables cannot be read:", missing, "data.root must be the folder of the data set."
        )
    problems: list[str] = []
    read = [gathered(problems, partial(_read_source, source, columns, group, root)) for source in sources]
    tables = [table for table in read if table is not None]
    if problems:
        raise DataError("The data set's tables cannot be read:", problems, FORM)
    rows = Rows(pd.concat([table for table, _ in tables], ignore_index=True))
    _blame_malformed(rows, pd.concat([malformed for _, malformed in tables], ignore_index=True))
    return checked_rows(rows, root, classes, allow_outside, unlabelled)


def checked_rows(
    rows: Rows, root: Path, classes: list[str] | None, allow_outside: bool, unlabelled: bool
) -> tuple[Rows, list[str]]:
    """Return rows with those blamed that cannot be used, and the class list, by default the labels found.

    With `unlabelled`, training rows without a label are of the split `UNLABELLED`.
    """
    if unlabelled:
        without = (rows.frame["split"] == "train") & rows.frame["label"].isin(NO_LABEL)
        rows.frame["split"] = rows.frame["split"].mask(without, UNLABELLED)
    _blame_formulas(rows)
    if not allow_outside:
        blame_outside(rows, root)
    known = sorted(map(nfc, classes)) if classes is not None else _labels_of(rows.readable)
    _blame_duplicates(rows)
    _blame_values(rows, known)
    rows.frame = _normal(rows.frame)
    return rows, known


def gathered(problems: list[str], function: Callable[[], Result]) -> Result | None:
    """Return what a function returns; where it raises DataError, add its problems to the others and return None."""
    try:
        return function()
    except DataError as error:
        problems += error.problems or [str(error)]
        return None


def read_labels(path: Path, clip: str, label: str) -> pd.Series:
    """Read a two-column table (clip, label) into a series of labels by clip id; raises DataError.

    Clips without a label are left out.
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

    `wanted` are the columns it must have, each by the setting that names it. Raises DataError.
    """
    table, malformed = read_csv(path)
    _require(path, table, wanted)
    return table, [f"{path}:{line}: {why}" for line, why in malformed[malformed != ""].items()]


def _labels_of(frame: pd.DataFrame) -> list[str]:
    train = frame[(frame["split"] == "train") & ~frame["label"].isin(NO_LABEL)]
    return sorted(train["label"].unique())


def read_csv(path: Path) -> tuple[pd.DataFrame, pd.Series]:
    """Return a table without its blank rows, stripped, by line number, and what is wrong with rows, "" if nothing.

    The line of a row is the one it begins in, quoted line breaks and blank lines counted. Raises DataError.
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
    malformed = [_malformed(row, n) for row in rows[1:]]
    return table, pd.Series(malformed, index, dtype=str)


def _text(path: Path) -> str:
    """Return the text of a table; raises DataError where it is none, or cannot be read."""
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
        why = f"this is no UTF-8 text; as cp1252, which Windows programs write, it says: {shown}"
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


def _malformed(row: list[str], n: int) -> str:
    return f"{len(row)} values where the header names {n}" if len(row) < n or any(row[n:]) else ""


def _require(path: Path, table: pd.DataFrame, wanted: dict[str, str | None]) -> None:
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


def _read_source(
    source: TableSource, columns: Columns, group: str | None, root: Path
) -> tuple[pd.DataFrame, pd.Series]:
    """Return a table's rows (columns `ROWS`), and what is wrong with their form."""
    table, malformed = read_csv(source.table)
    wanted: dict[str, str | None] = {"data.columns.clip": columns.clip, "data.columns.label": columns.label}
    if source.split == "train":
        wanted |= {"data.columns.verified": columns.verified, "data.columns.split": columns.split, "data.group": group}
    if source.split == "test" or columns.split:
        wanted |= {"data.columns.usage": columns.usage}
    _require(source.table, table, wanted)

    def values(column: str | None, otherwise: str) -> pd.Series:
        return table[column] if column and column in table else pd.Series(otherwise, index=table.index, dtype=str)

    rows = pd.DataFrame(
        {
            "clip_id": table[columns.clip],
            "path": [relative(source.audio_dir / name, root) for name in table[columns.clip]],
            "label": table[columns.label],
            "verified": values(columns.verified, "1"),
            "split": values(columns.split, source.split),
            "usage": values(columns.usage, ""),
            "group": values(group, ""),
            "where": [f"{source.table}:{line}" for line in table.index],
        },
        columns=ROWS,
    )
    return rows, malformed


def _blame_malformed(rows: Rows, malformed: pd.Series) -> None:
    nameless = (rows.frame["clip_id"] == "") & (malformed == "")
    rows.mark_invalid(malformed != "", malformed)
    rows.mark_invalid(nameless, "no file name in this row")
    rows.unreadable = set(rows.faults)


def _blame_duplicates(rows: Rows) -> None:
    ids = rows.readable["clip_id"]
    first = rows.readable.drop_duplicates("clip_id").set_index("clip_id")["where"]
    rows.mark_invalid(ids.duplicated(), "duplicate id, first in " + ids.map(first).astype(str))
    blame_same_file(rows)


def blame_same_file(rows: Rows) -> None:
    """Blame rows that name the file of an earlier one otherwise, such as ./a.wav beside a.wav."""
    frame = rows.usable
    first = frame.drop_duplicates("path").set_index("path")["where"]
    rows.mark_invalid(frame["path"].duplicated(), "the same file as in " + frame["path"].map(first).astype(str))


def _blame_formulas(rows: Rows) -> None:
    formulas = pd.Series(False, index=rows.readable.index)
    for name in ("clip_id", "label", "usage", "group"):
        values = rows.readable[name]
        found = values.map(is_formula).astype(bool)
        rows.mark_invalid(found, values.map(formula_problem))
        formulas |= found
    rows.unreadable |= set(formulas.index[formulas])


def blame_outside(rows: Rows, root: Path) -> None:
    """Blame rows whose files are not below the data set's folder, and say nothing else of them."""
    paths = rows.readable["path"].map(lambda path: root / path)
    outside = paths.isin(leading_out(paths, root)).astype(bool)
    rows.mark_invalid(outside, f"this file is not below {root}, links followed (data.allow_outside=true allows that)")
    rows.unreadable |= set(outside.index[outside])  # it is not even looked at


def _blame_values(rows: Rows, classes: list[str]) -> None:
    frame = rows.readable
    train = frame["split"] == "train"
    unlabelled = frame["label"].isin(NO_LABEL)
    known = frame["split"].isin(["train", "test"]) | (unlabelled & (frame["split"] == UNLABELLED))
    rows.mark_invalid(~known, "split is neither train nor test: " + frame["split"])
    rows.mark_invalid(train & unlabelled, NO_LABEL_TOLD)
    unknown = ~unlabelled & ~frame["label"].isin(classes)
    near = Nearest(classes)
    rows.mark_invalid(unknown, frame["label"][unknown].map(lambda label: unknown_label(label, near)))
    odd = train & ~frame["verified"].str.lower().isin(YES | NO)
    rows.mark_invalid(odd, "verified must be 1 or 0, not " + frame["verified"])


def unknown_label(label: str, near: Nearest) -> str:
    """Say that a label is none of the classes, and which of these is the nearest."""
    return f"unknown label {label}" + (near(label) or ", none of the classes")


def _normal(frame: pd.DataFrame) -> pd.DataFrame:
    """Return rows with flags 1 and 0, in training rows only, and no label where there is none."""
    flags = frame["verified"].str.lower().isin(YES).map({True: "1", False: "0"})
    return frame.assign(
        verified=flags.where(frame["split"] == "train", ""),
        label=frame["label"].where(~frame["label"].isin(NO_LABEL), ""),
    )

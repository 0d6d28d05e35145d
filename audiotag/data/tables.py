"""Tables of recordings, read strictly: every row that cannot be used is named with its file and line."""

from __future__ import annotations

import difflib
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from audiotag.config import Columns
from audiotag.errors import DataError

YES = {"1", "true", "yes", "verified"}
NO = {"0", "false", "no", "unverified", ""}
NO_LABEL = {"", "None"}
ROWS = ["clip_id", "path", "label", "verified", "split", "usage", "group", "where"]


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
    """Rows of one or more tables (columns `ROWS`) and what is wrong with others."""

    frame: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=ROWS))
    problems: list[Problem] = field(default_factory=list)


def read_tables(
    sources: list[TableSource], columns: Columns, group: str | None, root: Path, classes: list[str] | None
) -> tuple[Rows, list[str]]:
    """Read all tables of a data set; return its rows and class list.

    Raises DataError where a table is missing, cannot be parsed, or lacks a column.
    """
    missing = [f"{source.table}: there is no such file" for source in sources if not source.table.is_file()]
    if missing:
        raise DataError("The data set's tables cannot be read:", missing, "data.root must be the folder of the data set.")
    tables = [_read_table(source, columns, group, root) for source in sources]
    rows = Rows(pd.concat(tables, ignore_index=True)) if tables else Rows()
    known = sorted(classes) if classes is not None else _labels_of(rows.frame)
    _drop_duplicates(rows)
    _drop_unusable_labels(rows, known)
    return rows, known


def read_labels(path: Path, clip: str, label: str) -> pd.Series:
    """Read a two-column table (clip, label) into a series of labels by clip id; raises DataError."""
    table = _read_csv(path)
    _require(path, table, {"data.columns.clip": clip, "data.columns.label": label})
    doubled = table[clip][table[clip].duplicated()]
    if len(doubled):
        raise DataError(
            "The table of labels is ambiguous:",
            [f"{path}:{_line(position)}: {name}: duplicate id" for position, name in doubled.items()],
        )
    return table.set_index(clip)[label]


def _labels_of(frame: pd.DataFrame) -> list[str]:
    train = frame[(frame["split"] == "train") & ~frame["label"].isin(NO_LABEL)]
    return sorted(train["label"].unique())


def _read_csv(path: Path) -> pd.DataFrame:
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False, encoding="utf-8-sig", skip_blank_lines=False)
    except (pd.errors.ParserError, pd.errors.EmptyDataError, UnicodeDecodeError) as error:
        raise DataError("A table cannot be read:", [f"{path}: {error}"], "It must be a UTF-8 CSV with a header.") from error
    blank = table.apply(lambda column: column.str.strip() == "").all(axis=1)
    return table[~blank].apply(lambda column: column.str.strip())


def _line(position: object) -> int:
    """Line of a table's row in its file: one header line, and lines count from one."""
    return int(str(position)) + 2


def _require(path: Path, table: pd.DataFrame, wanted: dict[str, str | None]) -> None:
    problems = []
    for setting, column in wanted.items():
        if column is not None and column not in table:
            near = difflib.get_close_matches(column, list(table.columns), n=1, cutoff=0.5)
            hint = f"; did you mean {setting}={near[0]}?" if near else ""
            problems.append(f"{path}:1: no column {column} ({setting}); there are {', '.join(table.columns)}{hint}")
    if problems:
        raise DataError("A table lacks columns:", problems)


def _read_table(source: TableSource, columns: Columns, group: str | None, root: Path) -> pd.DataFrame:
    table = _read_csv(source.table)
    wanted = {"data.columns.clip": columns.clip, "data.columns.label": columns.label}
    if source.split == "train":
        wanted |= {"data.columns.verified": columns.verified or None, "data.columns.split": columns.split or None}
        wanted |= {"data.group": group or None}
    _require(source.table, table, {setting: column for setting, column in wanted.items() if column is not None})
    empty = pd.Series("", index=table.index)
    everything = pd.Series("1", index=table.index)
    rows = pd.DataFrame(
        {
            "clip_id": table[columns.clip],
            "path": [_relative(source.audio_dir / name, root) for name in table[columns.clip]],
            "label": table[columns.label],
            "verified": table[columns.verified] if columns.verified in table else everything,
            "split": table[columns.split] if columns.split in table else pd.Series(source.split, index=table.index),
            "usage": table[columns.usage] if columns.usage in table else empty,
            "group": table[group] if group in table else empty,
            "where": [f"{source.table}:{_line(position)}" for position in table.index],
        },
        columns=ROWS,
    )
    rows.loc[rows["split"] == "test", "verified"] = ""
    return rows


def _relative(path: Path, root: Path) -> str:
    return path.relative_to(root).as_posix() if path.is_relative_to(root) else path.as_posix()


def _drop(rows: Rows, bad: pd.Series, why: pd.Series | str) -> None:
    """Move the rows marked `bad` to the problems."""
    dropped = rows.frame[bad]
    reasons = [why] * len(dropped) if isinstance(why, str) else why[bad]
    rows.problems += [
        Problem(path, reason, where)
        for path, reason, where in zip(dropped["path"], reasons, dropped["where"], strict=True)
    ]
    rows.frame = rows.frame[~bad]


def _drop_duplicates(rows: Rows) -> None:
    _drop(rows, rows.frame["clip_id"] == "", "no file name in this row")
    first = rows.frame.drop_duplicates("clip_id").set_index("clip_id")["where"]
    why = "duplicate id " + rows.frame["clip_id"] + ", first in " + rows.frame["clip_id"].map(first).astype(str)
    _drop(rows, rows.frame["clip_id"].duplicated(), why)


def _drop_unusable_labels(rows: Rows, classes: list[str]) -> None:
    frame = rows.frame
    _drop(rows, ~frame["split"].isin(["train", "test"]), "split is neither train nor test: " + frame["split"])
    frame = rows.frame
    _drop(rows, (frame["split"] == "train") & frame["label"].isin(NO_LABEL), "a training clip without a label")
    frame = rows.frame
    unlabelled_test = (frame["split"] == "test") & frame["label"].isin(NO_LABEL)
    why = frame["label"].map(lambda label: _unknown_label(label, classes))
    _drop(rows, ~frame["label"].isin(classes) & ~unlabelled_test, why)
    frame = rows.frame
    flag = frame["verified"].str.lower()
    _drop(rows, ~flag.isin(YES | NO), "verified must be 1 or 0, not " + frame["verified"])
    rows.frame = rows.frame.assign(
        verified=[("1" if v.lower() in YES else "0") if s == "train" else "" for v, s in
                  zip(rows.frame["verified"], rows.frame["split"], strict=True)],
        label=rows.frame["label"].where(~rows.frame["label"].isin(NO_LABEL), ""),
    )


def _unknown_label(label: str, classes: list[str]) -> str:
    near = difflib.get_close_matches(label, classes, n=1)
    return f"unknown label {label}" + (f"; did you mean {near[0]}?" if near else "; no training clip has it")

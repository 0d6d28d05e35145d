"""What layouts with a table of recordings have in common."""

from __future__ import annotations

from abc import abstractmethod
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import pandas as pd

from audiotag.config import Columns, Data, ScoredData
from audiotag.data.paths import nfc
from audiotag.data.source import Source
from audiotag.data.tables import FORM, collect_problems, read_csv, require_columns
from audiotag.errors import DataError


@dataclass(frozen=True)
class LabelTable:
    """One table, the folder that its file names are relative to, and the split of its rows if no column says it."""

    file: Path
    audio_dir: Path
    split: str = "train"


class TableLayout(Source):
    """A data set with tables: `data.columns` and `data.group` name their columns."""

    @abstractmethod
    def tables(self, root: Path, data: Data | ScoredData) -> list[LabelTable]:
        """Return the tables, that of the test clips last."""

    def scored_tables(self, root: Path, data: Data | ScoredData) -> list[LabelTable]:
        """Return what a submission is scored against: the test table, after the training table if that is there."""
        return self.tables(root, data)

    def rows(self, root: Path, data: Data) -> pd.DataFrame:
        """Read all tables; raises DataError if one is missing, cannot be parsed, or lacks columns."""
        return read_tables(self.tables(root, data), data.columns, data.group)

    def audio_folders(self, root: Path, data: Data) -> list[Path]:
        """Return the folders that the tables' file names are relative to."""
        return list(dict.fromkeys(table.audio_dir for table in self.tables(root, data)))


def read_tables(tables: list[LabelTable], columns: Columns, group: str | None = None) -> pd.DataFrame:
    """Return the rows of all tables (columns `audiotag.data.source.ROW`); raises DataError if one cannot be read."""
    columns = Columns(**{name: value and nfc(value) for name, value in vars(columns).items()})
    missing = [f"{table.file}: there is no such file" for table in tables if not table.file.is_file()]
    if missing:
        raise DataError(
            "The data set's tables cannot be read:", missing, "data.root must be the folder of the data set."
        )
    problems: list[str] = []
    read = [collect_problems(problems, partial(_read, table, columns, group and nfc(group))) for table in tables]
    if problems:
        raise DataError("The data set's tables cannot be read:", problems, FORM)
    return pd.concat([rows for rows in read if rows is not None], ignore_index=True)


def _read(source: LabelTable, columns: Columns, group: str | None) -> pd.DataFrame:
    table, malformed = read_csv(source.file)
    wanted: dict[str, str | None] = {"data.columns.clip": columns.clip, "data.columns.label": columns.label}
    if source.split == "train":
        wanted |= {"data.columns.verified": columns.verified, "data.columns.split": columns.split, "data.group": group}
    if source.split == "test" or columns.split:
        wanted |= {"data.columns.usage": columns.usage}
    require_columns(source.file, table, wanted)

    def values(column: str | None, otherwise: str) -> pd.Series:
        return table[column] if column and column in table else pd.Series(otherwise, index=table.index, dtype=str)

    return pd.DataFrame(
        {
            "clip_id": table[columns.clip],
            "path": [str(source.audio_dir / name) for name in table[columns.clip]],
            "label": table[columns.label],
            "verified": values(columns.verified, "1"),
            "split": values(columns.split, source.split),
            "usage": values(columns.usage, ""),
            "group": values(group, ""),
            "where": [f"{source.file}:{line}" for line in table.index],
            "problem": malformed.mask((malformed == "") & (table[columns.clip] == ""), "no file name in this row"),
        }
    )

"""Which test clips are scored, and their right labels, from a data set's tables alone: no audio is needed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audiotag.config import ScoredData
from audiotag.data.sources import csv_table, kaggle
from audiotag.data.tables import Rows, TableSource, read_tables
from audiotag.errors import DataError

SCORED_ONLY = "test_post_competition_scoring_clips.csv"  # Zenodo's table, of the 1,600 clips that count
PARTS = {"public": ("public",), "private": ("private",), "private_public": ("private", "public")}


@dataclass(frozen=True)
class Answers:
    """The test clips (columns clip_id, label, usage, scored), those without a label among them, and the class list.

    `is_whole` says whether the table names every clip of the test set.
    """

    clips: pd.DataFrame
    classes: list[str]
    table: Path
    is_whole: bool = True

    @property
    def right(self) -> pd.Series:
        """Labels of the scored clips, by clip id, in the order of the table."""
        return self.clips[self.clips["scored"]].set_index("clip_id")["label"]


def scored(clips: pd.DataFrame, usage: str | None, where: Path) -> pd.Series:
    """Say which test clips (columns label, usage) are scored: those with a label, of the part that `usage` names.

    Raises DataError where there are none; `where` is the file that says so.
    """
    labelled = clips["label"] != ""
    if usage is None:
        return labelled
    marked = labelled & clips["usage"].str.lower().isin(PARTS[usage])
    if not marked.any():
        counts = clips["usage"].where(clips["usage"] != "", "(none)").value_counts()
        there = ", ".join(f"{name}: {count} clips" for name, count in counts.items())
        raise DataError(
            f"usage={usage}: no test clip with a label is marked so:",
            [f"{where}: its column usage holds {there}"],
            "Leave usage= away to score every clip with a label; data.columns.usage= names the table's column.",
        )
    return marked


def read_answers(data: ScoredData, usage: str | None) -> Answers:
    """Read the test table that a submission is scored against.

    The class list is `data.classes`, else the labels of the training table, where there is one, else those of the test
    table. Raises DataError with every row that cannot be used, and where nothing is to be scored.
    """
    root = Path(data.root or ".").expanduser().absolute()
    sources = _sources(data, root)
    columns = dataclasses.replace(data.columns, verified=None)
    rows, classes = read_tables(sources, columns, None, root, data.classes, allow_outside=True)
    if data.classes is None and not classes:
        classes = sorted(set(rows.frame["label"]) - {""})
        rows, _ = read_tables(sources, columns, None, root, classes, allow_outside=True)
    test = rows.frame["split"] == "test"
    problems = Rows(rows.frame[test], {row: why for row, why in rows.faults.items() if test[row]}).problems
    if problems:
        raise DataError(f"{len(problems)} problems in the test table:", [str(problem) for problem in problems])
    clips = rows.frame[test]
    table = sources[-1].table
    if not (clips["label"] != "").any():
        raise DataError("There is nothing to score against:", [f"{table}: no test clip has a label"])
    clips = clips.assign(scored=scored(clips, usage, table))
    return Answers(
        clips[["clip_id", "label", "usage", "scored"]].reset_index(drop=True), classes, table, table.name != SCORED_ONLY
    )


def _sources(data: ScoredData, root: Path) -> list[TableSource]:
    """Return the test table, after the training table where there is one; raises DataError where the first is not."""
    train: Path | None
    test: Path | None
    if data.name == "kaggle":
        train, test = kaggle.sources(root)[0].table, root / kaggle.TEST_TABLE
    elif data.name == "csv":
        train = csv_table.find(data.table, root) if data.table else None
        test = csv_table.find(data.test_table, root) if data.test_table else None
    else:
        from audiotag.data.sources import fsdkaggle2018  # here: slow to import, for what it downloads

        train, test = fsdkaggle2018.table_files(root)
        if test is None:
            places = " or ".join(fsdkaggle2018.PLACES["test table"])
            raise DataError("The test table is missing:", [f"{root}: no {places}"], "data.root must be its folder.")
    found = [TableSource(test, root, "test")] if test else []
    is_needed = data.name == "csv"  # it was named
    if train is not None and (is_needed or train.is_file()):
        found.insert(0, TableSource(train, root, "train"))
    return found

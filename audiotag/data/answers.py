"""Which test clips are scored, and their right labels, from a data set's tables alone: no audio is needed."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass
from pathlib import Path

import pandas as pd

from audiotag.config import ScoredData
from audiotag.data.clips import check_clips, labels_of
from audiotag.data.source import build_source, complete_rows
from audiotag.data.sources.table_layout import TableLayout, read_tables
from audiotag.errors import ConfigError, DataError

SCORED_ONLY = "test_post_competition_scoring_clips.csv"  # Zenodo's table, of the 1,600 clips that count
PARTS = {"public": ("public",), "private": ("private",), "private_public": ("private", "public")}


@dataclass(frozen=True)
class Answers:
    """The test clips (columns clip_id, label, usage, scored), those without a label among them, and the class list.

    `is_whole`: whether the table names every clip of the test set.
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
    """Return which test clips (columns label, usage) are scored: those with a label, of the part that `usage` names.

    Raises DataError if there are none; `where` is the file that says so.
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

    The class list is `data.classes`, else the labels of the training table, if there is one, else those of the test
    table. Raises DataError with every row that cannot be used, and if nothing is to be scored.
    """
    source, root = build_source(data), Path(data.root or ".").expanduser().absolute()
    if not isinstance(source, TableLayout):
        raise ConfigError("The submission cannot be scored:", [f"data={data.title} has no table of test clips"])
    tables = source.scored_tables(root, data)
    rows = complete_rows(read_tables(tables, dataclasses.replace(data.columns, verified=None)), root, source)
    classes = data.classes
    if classes is None and not labels_of(rows, "train"):
        classes = labels_of(rows, "test")
    clips, classes = check_clips(rows, root, classes, allow_outside=True)
    test, table = clips.frame[clips.frame["split"] == "test"], tables[-1].file
    clips.faults = {row: why for row, why in clips.faults.items() if row in test.index}
    if clips.faults:
        raise DataError(f"{len(clips.faults)} problems in the test table:", list(map(str, clips.problems)))
    if not (test["label"] != "").any():
        raise DataError("There is nothing to score against:", [f"{table}: no test clip has a label"])
    test = test.assign(scored=scored(test, usage, table))[["clip_id", "label", "usage", "scored"]]
    return Answers(test.reset_index(drop=True), classes, table, table.name != SCORED_ONLY)

"""The clips of a data set, checked strictly: every row that cannot be used is named with its place."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from audiotag.config.checks import formula_problem, is_formula
from audiotag.data.paths import leading_out, nfc
from audiotag.data.tables import NO_LABEL, unknown_label
from audiotag.errors import Nearest

YES = {"1", "1.0", "true", "yes", "verified"}
NO = {"0", "0.0", "false", "no", "unverified", ""}
NO_LABEL_GIVEN = "a training clip without a label"
UNLABELLED = "unlabelled"  # the split of clips that are neither trained nor tested on


@dataclass(frozen=True)
class Problem:
    """A row or file that cannot be used."""

    path: str
    why: str
    where: str

    def __str__(self) -> str:
        return f"{self.where}: {self.path}: {self.why}"


@dataclass
class ClipTable:
    """A row per clip (columns `audiotag.data.source.ROW`), and by row number what is wrong with some of them."""

    frame: pd.DataFrame
    faults: dict[int, list[str]] = field(default_factory=dict)
    unreadable: set[int] = field(default_factory=set)
    """Rows whose fields cannot be told apart or that name no file: nothing else is reported of them."""
    left_out: set[int] = field(default_factory=set)
    """Rows that nobody needs: not used, and no problem."""

    def mark_invalid(self, bad: pd.Series, why: pd.Series | str, unreadable: bool = False) -> None:
        """Note why the rows marked `bad` cannot be used, and, if asked for, that nothing else is reported of them."""
        rows = [row for row in bad.index[bad] if row not in self.unreadable]
        for row in rows:
            self.faults.setdefault(row, []).append(why if isinstance(why, str) else why[row])
        self.unreadable.update(rows if unreadable else ())

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


def check_clips(
    rows: pd.DataFrame, root: Path, classes: list[str] | None, allow_outside: bool = False, unlabelled: bool = False
) -> tuple[ClipTable, list[str]]:
    """Return the clips of a source's rows, those marked that cannot be used, and the class list.

    `classes` are by default the labels of the training clips. From here on `verified` is a bool, true of training clips
    only. With `unlabelled`, training rows without a label are of the split `UNLABELLED`.
    """
    clips = ClipTable(rows.drop(columns="problem"))
    if unlabelled:
        without = (rows["split"] == "train") & rows["label"].isin(NO_LABEL)
        clips.frame["split"] = rows["split"].mask(without, UNLABELLED)
    clips.mark_invalid(rows["problem"] != "", rows["problem"], unreadable=True)
    _mark_formulas(clips)
    if not allow_outside:
        mark_outside(clips, root)
    known = sorted(map(nfc, classes)) if classes is not None else labels_of(clips.readable, "train")
    _mark_duplicates(clips)
    _mark_values(clips, known)
    frame = clips.frame
    clips.frame = frame.assign(
        verified=frame["verified"].str.lower().isin(YES) & (frame["split"] == "train"),
        label=frame["label"].where(~frame["label"].isin(NO_LABEL), ""),
    )
    return clips, known


def labels_of(rows: pd.DataFrame, split: str) -> list[str]:
    """Return the labels of a split, sorted."""
    return sorted(set(rows["label"][rows["split"] == split]) - NO_LABEL)


def mark_outside(clips: ClipTable, root: Path) -> None:
    """Mark rows whose files are not below the data set's folder: these are not even looked at."""
    paths = clips.readable["path"].map(lambda path: root / path)
    why = f"this file is not below {root}, links followed (data.allow_outside=true allows that)"
    clips.mark_invalid(paths.isin(leading_out(paths, root)).astype(bool), why, unreadable=True)


def mark_same_file(clips: ClipTable) -> None:
    """Mark rows that name the file of an earlier one otherwise, such as ./a.wav beside a.wav."""
    frame = clips.usable
    first = frame.drop_duplicates("path").set_index("path")["where"]
    clips.mark_invalid(frame["path"].duplicated(), "the same file as in " + frame["path"].map(first).astype(str))


def _mark_duplicates(clips: ClipTable) -> None:
    ids = clips.readable["clip_id"]
    first = clips.readable.drop_duplicates("clip_id").set_index("clip_id")["where"]
    clips.mark_invalid(ids.duplicated(), "duplicate id, first in " + ids.map(first).astype(str))
    mark_same_file(clips)


def _mark_formulas(clips: ClipTable) -> None:
    for name in ("clip_id", "label", "usage", "group"):
        values = clips.readable[name]
        clips.mark_invalid(values.map(is_formula).astype(bool), values.map(formula_problem))
    clips.unreadable |= clips.faults.keys()


def _mark_values(clips: ClipTable, classes: list[str]) -> None:
    frame = clips.readable
    train = frame["split"] == "train"
    without = frame["label"].isin(NO_LABEL)
    known = frame["split"].isin(["train", "test"]) | (without & (frame["split"] == UNLABELLED))
    clips.mark_invalid(~known, "split is neither train nor test: " + frame["split"])
    clips.mark_invalid(train & without, NO_LABEL_GIVEN)
    near, unknown = Nearest(classes), ~without & ~frame["label"].isin(classes)
    clips.mark_invalid(unknown, frame["label"][unknown].map(lambda label: unknown_label(label, near)))
    odd = train & ~frame["verified"].str.lower().isin(YES | NO)
    clips.mark_invalid(odd, "verified must be 1 or 0, not " + frame["verified"])

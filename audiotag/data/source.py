"""What a data source is: a layout in which recordings and their labels lie."""

from __future__ import annotations

from abc import ABC, abstractmethod
from pathlib import Path
from typing import Any

import pandas as pd

from audiotag.config import Data, ScoredData
from audiotag.config.leaf import TARGET, build
from audiotag.data.paths import nfc, relative
from audiotag.data.tables import find_file, read_labels
from audiotag.errors import ConfigError, DataError, Nearest

NEEDED = ("path", "label")
# Columns that may be left out, and what stands in them then.
OTHERS: dict[str, Any] = {"verified": True, "split": "train", "usage": "", "group": "", "problem": ""}
ROW = ["clip_id", "path", "label", "verified", "split", "usage", "group", "where", "problem"]


class Source(ABC):
    """A layout of recordings and labels, named by `data.source`: {_target_: my_layout.Layout, ...its settings...}.

    A layout of one's own is a subclass that has `rows`; its constructor's arguments are its settings. `root` is the
    data set's folder, `data` all settings of data. What `rows` returns is checked for every layout: that files are
    there and can be decoded, ids are unique, labels are known.
    """

    @abstractmethod
    def rows(self, root: Path, data: Data) -> pd.DataFrame:
        """Return a row per recording. Raises DataError if there is nothing to read.

        Columns: `path`, below `root` or absolute; `label`, "" where it is not known; and, if there is more to say,
        `clip_id` (by default the path), `verified` (whether a person checked the label, a bool or 1 and 0; by default
        all are), `split` (train or test; by default train), `usage` (part of the test set, such as Public), `group`
        (what may not be in two folds, such as the speaker), `where` (what errors name as the row's place; by default
        the file's folder), and `problem` (why the row cannot be used, "" if it can).
        """

    unlabelled = False
    """Whether training rows without a label are allowed even without data.unlabelled=true."""

    def root(self, data: Data, cache_dir: Path) -> Path:
        """Return the absolute folder of the data set."""
        return Path(data.root or ".").expanduser().absolute()

    def prepares(self, data: Data) -> bool:
        """Return whether `prepare` makes or downloads anything."""
        return False

    def prepare(self, root: Path, data: Data) -> None:  # noqa: B027 - most data sets are there
        """Make or download what is not there yet."""

    def audio_folders(self, root: Path, data: Data) -> list[Path]:
        """Return folders that hold recordings of the data set and nothing else."""
        return []

    def truth(self, root: Path, data: Data) -> pd.Series | None:
        """Return right labels by clip id, None where they are not known: they only measure what was accepted."""
        if data.truth is None:
            return None
        return read_labels(find_file("data.truth", data.truth, root), data.columns.clip, data.columns.label)


def build_source(data: Data | ScoredData) -> Source:
    """Return the data set's source; raises ConfigError if its class cannot be built, or is not a `Source`."""
    source = build(data.source, "data.source")
    if not isinstance(source, Source):
        problem = f"data.source: {data.source[TARGET]} is not a subclass of {__name__}.Source"
        raise ConfigError("The configuration cannot be run:", [problem])
    return source


def complete_rows(frame: pd.DataFrame, root: Path, source: Source) -> pd.DataFrame:
    """Return a source's rows (columns `ROW`, all text), defaults filled in; raises DataError for other columns."""
    name = f"{type(source).__module__}.{type(source).__qualname__}.rows"
    if not isinstance(frame, pd.DataFrame):
        raise DataError("The data source cannot be used:", [f"{name} returned {type(frame).__name__}, not a DataFrame"])
    near = Nearest(ROW)
    problems = [f"{name}: there is no column {column}" for column in NEEDED if column not in frame]
    problems += [f"{name}: unknown column {column}{near(str(column))}" for column in frame if column not in ROW]
    if problems:
        advice = f"A row has {', '.join(NEEDED)}, and, if wanted, {', '.join(sorted({*ROW} - {*NEEDED}))}."
        raise DataError("The data source cannot be used:", problems, advice)
    for column, value in OTHERS.items():
        if column not in frame:
            frame = frame.assign(**{column: value})
    files = [root / str(path) for path in frame["path"]]
    if "where" not in frame:
        frame = frame.assign(where=[str(file.parent) for file in files])
    frame = frame.assign(path=[relative(file, root) for file in files])
    if "clip_id" not in frame:
        frame = frame.assign(clip_id=frame["path"].map(nfc))
    text = frame[ROW].reset_index(drop=True).astype(object)
    return text.where(text.notna(), "").astype(str)

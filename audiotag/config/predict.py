"""Settings of predict.py."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

from audiotag.config.checks import at_least, class_list, needs_run, one_of
from audiotag.config.data import Columns
from audiotag.config.machine import Hardware
from audiotag.errors import ConfigError

FORMATS = ("predictions", "submission")
USAGES = ("public", "private", "private_public")  # parts of the challenge's test set


@dataclass(frozen=True)
class Ensemble:
    """How the posteriors of several networks become one."""

    mean: str = "arithmetic"
    """Mean over a member's folds, and over the members where weights=equal: arithmetic or geometric."""
    weights: str = "equal"
    """equal, or learned: a weight per member and a bias per class, from verified clips that every member held out."""
    l2: float = 0.001
    """With weights=learned: penalty on the squared distance from equal weights without biases, beside the mean loss."""

    def problems(self) -> list[str]:
        found = one_of("ensemble.mean", self.mean, ("arithmetic", "geometric"))
        found += one_of("ensemble.weights", self.weights, ("equal", "learned"))
        return found + at_least("ensemble.l2", self.l2, 0)


@dataclass(frozen=True)
class ScoredData:
    """The data set that a submission is scored against: its tables only, no audio."""

    name: str | None = None
    """Kind of data set: kaggle (challenge layout), csv (any table), fsdkaggle2018 (Zenodo's layout)."""
    root: str | None = None
    """Folder of the data set."""
    table: str | None = None
    """With data=csv: the training table, whose labels are the class list; null: the test table's labels are."""
    test_table: str | None = None
    """With data=csv: the test table, if `data.columns.split` does not mark its rows in the other."""
    columns: Columns = field(default_factory=Columns)
    """Names of the table's columns."""
    classes: list[str] | None = None
    """The class list; null: the labels of the training table, where there is one, else those of the test table."""
    download: bool = False
    """Of no effect here, where tables suffice; data=fsdkaggle2018 sets it for train.py."""

    def problems(self) -> list[str]:
        if self.name is None:
            return ["submission= needs data=kaggle, csv or fsdkaggle2018: the data set whose test table scores it"]
        found = one_of("data.name", self.name, ("kaggle", "csv", "fsdkaggle2018"))
        if not self.root and not (self.name == "csv" and (self.test_table or self.table)):
            found.append(f"data={self.name} needs data.root=DIR, the folder with the test table")
        if self.name == "csv" and not self.test_table and not (self.table and self.columns.split):
            found.append("data=csv needs data.test_table=FILE, or data.table=FILE with data.columns.split=COLUMN")
        if self.name != "csv":
            given = {"data.table": self.table, "data.test_table": self.test_table}
            found += [f"{name}={value} belongs to data=csv" for name, value in given.items() if value is not None]
        return found + class_list(self.classes) + self.columns.problems()


@dataclass(frozen=True)
class PredictConfig:
    """Label recordings with the networks of one or more runs, and score a split against its table, or a submission."""

    run: Any = ""
    """Name of the run, the folder `runs/NAME` (a path works too); several make an ensemble: [A,B]. NAME@ROUND asks that
    round: [A@best,B@3,B@last]."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    source: Any = None
    """Files or folders to label: one, or a list [A,B]; patterns such as 'clips/**/*.wav' work too. Folders are searched
    for everything libsndfile reads."""
    split: str | None = None
    """Instead of a source: test (mean of the folds), valid (each clip by the fold that held it out) or unlabelled
    (clips without a label, mean of the folds)."""
    submission: str | None = None
    """Instead of a run: a submission file (fname,label) to score against the test table of `data`."""
    usage: str | None = None
    """Part of the test split to score: public, private or private_public; null: every row with a label."""
    out: str | None = None
    """File for the predictions, scores stand beside it in scores.json; null: below the run folder, `predict/`, and of
    several runs below `runs/ensembles/`. A file is replaced only if it holds labels of these recordings alone, made by
    this program. With submission=: the file for the scores; null: beside the submission."""
    format: str = "predictions"
    """predictions (labels and probabilities), or submission: the challenge's file (fname,label; three labels a row)."""
    top: int = 3
    """Labels per recording."""
    bootstrap: int = 1000
    """Resamples of the clips for the 95 % intervals of accuracy and MAP@3; 0: no intervals."""
    windows: int = 0
    """0: the whole recording. N: mean of N evenly spaced excerpts of features.excerpt_frames."""
    cut: bool | None = None
    """Hear only the first features.clip_frames of longer recordings; null: with split= only (as in paper section 2)."""
    round: Any = "best"
    """Round whose networks are asked, where run= does not say: best, last or a number; a list [1,2] asks them all."""
    fold: int | None = None
    """Ask this fold's network only; null: the mean of all folds."""
    root: str | None = None
    """Folder of the data set, if it moved since the run was made."""
    ensemble: Ensemble = field(default_factory=Ensemble)
    """How the posteriors of several networks become one."""
    data: ScoredData = field(default_factory=ScoredData)
    """With submission=: the data set whose test table it is scored against."""
    hardware: Hardware = field(default_factory=Hardware)
    """What the work runs on."""

    def __post_init__(self) -> None:
        if self.usage is not None:
            object.__setattr__(self, "usage", self.usage.lower())  # Public, as tables have it, is meant as well
        found = self._problems_of_submission() if self.submission is not None else self._problems_of_runs()
        found += at_least("bootstrap", self.bootstrap, 0) + self.ensemble.problems() + self.hardware.problems()
        found += one_of("format", self.format, FORMATS)
        if self.usage is not None:
            found += one_of("usage", self.usage, USAGES)
        if found:
            raise ConfigError("The configuration cannot be run:", found)

    def _problems_of_runs(self) -> list[str]:
        found = needs_run(self.run) + at_least("top", self.top, 1) + at_least("windows", self.windows, 0)
        if isinstance(self.run, dict):
            found.append(f"run={self.run} names no run; several are given as run=[A,B]")
        if (self.source is None) == (self.split is None):
            found.append("give either source=FILE_OR_FOLDER or split=test (or, instead of run=, submission=FILE)")
        if isinstance(self.source, dict) or self.source in ([], ""):
            found.append(f"source={self.source} is no path; several are given as source=[A,B]")
        if self.split is not None:
            found += one_of("split", self.split, ("test", "valid", "unlabelled"))
        if self.usage is not None and self.split != "test":
            found.append("usage= belongs to split=test or submission=")
        if self.root is not None and self.split is None:
            found.append("root= belongs to split=: a source is a path of its own")
        if self.data != ScoredData():
            found.append("data= belongs to submission=: a run knows its data set (root=DIR if that moved)")
        rounds = self.round if isinstance(self.round, list) else [self.round]
        for round_ in rounds or ["[]"]:
            if str(round_) not in ("best", "last") and not str(round_).isdigit():
                found.append(f"round={round_} is none of best, last or a round's number")
        return found + self._problems_of_results()

    def _problems_of_results(self) -> list[str]:
        found = []
        if self.format == "submission":
            if self.split != "test":
                found.append("format=submission is the challenge's file of its test clips: set split=test")
            if self.top != 3:
                found.append(f"top={self.top}: format=submission has three labels a row; leave top= away")
        if self.ensemble.weights == "learned":
            if self.split == "valid":
                found.append(
                    "ensemble.weights=learned is fitted on the very clips that split=valid scores: use split=test"
                )
            if self.fold is not None:
                found.append("ensemble.weights=learned is fitted on the clips of all folds: leave fold= away")
        return found

    def _problems_of_submission(self) -> list[str]:
        given = {"run": self.run or None, "source": self.source, "split": self.split, "fold": self.fold}
        found = [f"{name}= has nothing to do with submission=" for name, value in given.items() if value is not None]
        if self.format != "predictions":
            found.append("format= says what a run writes; submission= is scored")
        if self.submission == "":
            found.append("submission= names no file")
        return found + self.data.problems()

"""Settings of predict.py."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from audiotag.config.checks import class_list, needs_run
from audiotag.config.data import READ_BY, Columns, reads, tables_of_csv
from audiotag.config.leaf import TARGET, Leaf, class_name
from audiotag.config.schema import Program, Settings, settings
from audiotag.config.sections import Hardware

# Parts of the challenge's test set; Public, as tables have it, is meant as well.
Usage = Annotated[
    Literal["public", "private", "private_public"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]


@settings
class Ensemble(Settings):
    """How the posteriors of several networks become one."""

    mean: Literal["arithmetic", "geometric"] = "arithmetic"
    """Mean over a member's folds, and over the members where weights=equal: arithmetic or geometric."""
    weights: Literal["equal", "learned"] = "equal"
    """equal, or learned: a weight per member and a bias per class, from verified clips that every member held out."""
    l2: float = Field(0.001, ge=0, le=1e9)
    """With weights=learned: penalty on the squared distance from equal weights without biases, beside the mean loss."""


@settings
class ReferenceLevel(Settings):
    """What the spectrogram of a stream is relative to; a recording's is relative to its loudest moment."""

    level: Literal["running", "window", "fixed"] = "running"
    """running: the loudest moment of the last memory_s seconds; window: of the window itself; fixed: dbfs."""
    memory_s: float = Field(10.0, gt=0, le=86_400)
    """With level=running: how far back from a window's end the loudest moment is looked for, in seconds."""
    dbfs: float = Field(-10.0, ge=-200, le=0)
    """With level=fixed: peak of the loudest moment in decibels relative to full scale."""
    floor_dbfs: float = Field(-60.0, ge=-200, le=0)
    """Where nothing is louder, this counts as the loudest moment, so that silence is not taken for sound."""


@settings
class ScoredData(Settings):
    """The data set that a submission is scored against: its tables only, no audio."""

    name: str | None = None
    """Name of the configuration: kaggle (challenge layout), csv (any table), fsdkaggle2018 (Zenodo's layout)."""
    source: Annotated[dict[str, Any], Leaf()] = Field({})
    """Class of the data set's layout (`_target_`), one that reads tables, and its arguments."""
    root: str | None = None
    """Folder of the data set."""
    table: str | None = None
    """With data=csv: the training table, whose labels are the class list; null: the test table's labels are."""
    test_table: str | None = None
    """With data=csv: the test table, if `data.columns.split` does not mark its rows in the other."""
    columns: Columns = Columns()
    """Names of the table's columns."""
    classes: list[str] | None = None
    """The class list; null: the labels of the training table, where there is one, else those of the test table."""
    download: bool = False
    """Of no effect here, where tables suffice; data=fsdkaggle2018 sets it for train.py."""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or class_name(self.source)

    def lacking(self) -> Iterator[str]:
        """Yield what is missing for a submission to be scored."""
        if not self.source:
            yield "submission= needs data=kaggle, csv or fsdkaggle2018: the data set whose test table scores it"
            return
        by_table = self.source.get(TARGET) in READ_BY and reads(self.source, "table")
        if not self.root and not (by_table and (self.test_table or self.table)):
            yield f"data={self.title} needs data.root=DIR, the folder with the test table"
        if by_table and not self.test_table and not (self.table and self.columns.split):
            yield f"data={self.title} needs data.test_table=FILE, or data.table=FILE with data.columns.split=COLUMN"
        yield from tables_of_csv(self.source, self.table, self.test_table)
        yield from class_list("data.classes", self.classes)


@settings
class PredictConfig(Program):
    """Label recordings with the networks of one or more runs, and score a split against its table, or a submission."""

    run: Any = ""
    """Name of the run, the folder `runs/NAME` (a path works too); several make an ensemble: [A,B]. NAME@ROUND asks that
    round: [A@best,B@3,B@last]."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    source: Any = None
    """Files or folders to label: one, or a list [A,B]; patterns such as 'clips/**/*.wav' work too. Folders are searched
    for everything libsndfile reads."""
    split: Literal["test", "valid", "unlabelled"] | None = None
    """Instead of a source: test (mean of the folds), valid (each clip by the fold that held it out) or unlabelled
    (clips without a label, mean of the folds)."""
    submission: str | None = None
    """Instead of a run: a submission file (fname,label) to score against the test table of `data`."""
    usage: Usage | None = None
    """Part of the test split to score: public, private or private_public; null: every row with a label."""
    out: str | None = None
    """File for the predictions, scores stand beside it in scores.json; null: below the run folder, `predict/`, and of
    several runs below `runs/ensembles/`. A file is replaced only if it holds labels of these recordings alone, made by
    this program. With submission=: the file for the scores; null: beside the submission."""
    format: Literal["predictions", "submission"] = "predictions"
    """predictions (labels and probabilities), or submission: the challenge's file (fname,label; three labels a row)."""
    top: int = Field(3, ge=1, le=10_000)
    """Labels per recording."""
    bootstrap: int = Field(1000, ge=0, le=1_000_000)
    """Resamples of the clips for the 95 % intervals of accuracy and MAP@3; 0: no intervals."""
    windows: int = Field(0, ge=0, le=10_000)
    """0: the whole recording. N: mean of N evenly spaced excerpts of features.excerpt_frames."""
    cut: bool | None = None
    """Hear only the first features.clip_frames of longer recordings; null: with split= only (as in paper section 2)."""
    round: Any = "best"
    """Round whose networks are asked, where run= does not say: best, last or a number; a list [1,2] asks them all."""
    fold: int | None = Field(None, ge=0, le=1000)
    """Ask this fold's network only; null: the mean of all folds."""
    root: str | None = None
    """Folder of the data set, if it moved since the run was made."""
    ensemble: Ensemble = Ensemble()
    """How the posteriors of several networks become one."""
    data: ScoredData = ScoredData()
    """With submission=: the data set whose test table it is scored against."""
    hardware: Hardware = Hardware()
    """What the work runs on."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from self._of_runs() if self.submission is None else self._of_submission()

    def _of_runs(self) -> Iterator[str]:
        yield from needs_run(self.run)
        if isinstance(self.run, dict):
            yield f"run={self.run} does not name a run; several are given as run=[A,B]"
        if (self.source is None) == (self.split is None):
            yield "give either source=FILE_OR_FOLDER or split=test (or, instead of run=, submission=FILE)"
        if isinstance(self.source, dict) or self.source in ([], ""):
            yield f"source={self.source} does not name a path; several are given as source=[A,B]"
        if self.usage is not None and self.split != "test":
            yield "usage= belongs to split=test or submission="
        if self.root is not None and self.split is None:
            yield "root= belongs to split=: a source is a path of its own"
        if self.data != ScoredData():
            yield "data= belongs to submission=: a run knows its data set (root=DIR if that moved)"
        rounds = self.round if isinstance(self.round, list) else [self.round]
        for round_ in rounds or ["[]"]:
            if str(round_) not in ("best", "last") and not str(round_).isdigit():
                yield f"round={round_} is not one of best, last or a round's number"
        if self.format == "submission" and self.split != "test":
            yield "format=submission is the challenge's file of its test clips: set split=test"
        if self.format == "submission" and self.top != 3:
            yield f"top={self.top}: format=submission has three labels a row; leave top= away"
        if self.ensemble.weights == "learned" and self.split == "valid":
            yield "ensemble.weights=learned is fitted on the very clips that split=valid scores: use split=test"
        if self.ensemble.weights == "learned" and self.fold is not None:
            yield "ensemble.weights=learned is fitted on the clips of all folds: leave fold= away"

    def _of_submission(self) -> Iterator[str]:
        given = {"run": self.run or None, "source": self.source, "split": self.split, "fold": self.fold}
        yield from (f"{name}= has nothing to do with submission=" for name, value in given.items() if value is not None)
        if self.format != "predictions":
            yield "format= says what a run writes; submission= is scored"
        if self.submission == "":
            yield "submission= does not name a file"
        yield from self.data.lacking()

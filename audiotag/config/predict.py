"""Settings of predict.py."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from audiotag.config.checks import class_list, needs_run
from audiotag.config.data import READ_BY, Columns, reads, tables_of_csv
from audiotag.config.leaf import TARGET, Leaf, class_name
from audiotag.config.schema import Program, Settings, settings
from audiotag.config.sections import Hardware
from audiotag.config.streams import Pcm, ReferenceLevel, Segmentation

# Parts of the challenge's test set; Public, as tables have it, is meant as well.
Usage = Annotated[
    Literal["public", "private", "private_public"],
    BeforeValidator(lambda value: value.lower() if isinstance(value, str) else value),
]


MICROPHONE, STANDARD_INPUT = "mic", "-"  # as sources of sound


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
    round: [A@best,B@3,B@last]. Or what was exported: NAME.onnx, a folder, hf://OWNER/NAME[@REVISION]."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    source: Any = None
    """Files or folders to label: one, or a list [A,B]; patterns such as 'clips/**/*.wav' work too. Folders are searched
    for everything libsndfile reads. With live=true: one file, mic (the microphone), or - (standard input)."""
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
    format: Literal["predictions", "submission", "audacity", "raven"] = "predictions"
    """predictions (labels and probabilities), submission (the challenge's file: fname,label; three labels a row) or,
    with segments=true, audacity (label tracks) or raven (selection tables): then out= is a folder."""
    top: int | None = Field(None, ge=1, le=10_000)
    """Labels per recording; null: 3, with live=true 5."""
    live: bool = False
    """Label sound while it comes, in windows. out=FILE.csv or FILE.jsonl keeps what is heard; Ctrl-C ends it."""
    segments: bool = False
    """Label parts of recordings: fname, start_s, end_s, label, probability."""
    window_frames: int | None = Field(None, ge=1, le=1_000_000)
    """With live=true or segments=true: frames of a window; null: features.excerpt_frames, as in training."""
    every_frames: int | None = Field(None, ge=1, le=1_000_000)
    """Frames from window to window; null: 10, with segments=true an eighth of a window."""
    smoothing_s: float = Field(0.5, ge=0, le=3600)
    """With live=true: seconds in which the shown bars forget what was heard (to 37 %); out= has each window's own."""
    device: str | None = None
    """With source=mic: number or name (a part of it is enough) of the device; null: the system's own choice."""
    speed: Literal["sound", "max"] | None = None
    """With live=true: sound (late sound is dropped) or max (as fast as it goes, all is heard); null: of a microphone or
    file sound, of standard input max: the sender waits."""
    web: bool = False
    """With live=true: in a page, which hears the browser's microphone (source=mic, or left out). Ctrl-C ends it."""
    host: str | None = None
    """With web=true: address to answer at, 0.0.0.0 for all of this machine; it then takes a token. null: this machine
    only."""
    port: int | None = Field(None, ge=1, le=65535)
    """With web=true: port to answer at; null: a free one."""
    open: bool = False
    """With web=true: open the page in this machine's browser."""
    reference: ReferenceLevel = ReferenceLevel()
    """With live=true: what spectrograms are relative to."""
    pcm: Pcm = Pcm()
    """With source=-: what comes on standard input."""
    segment: Segmentation = Segmentation()
    """With segments=true: where a part begins and ends."""
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
    trust: Annotated[list[str], BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = Field([])
    """Classes, [my_net.Net], that a run or an exported folder may build besides audiotag's own."""
    ensemble: Ensemble = Ensemble()
    """How the posteriors of several networks become one."""
    data: ScoredData = ScoredData()
    """With submission=: the data set whose test table it is scored against."""
    hardware: Hardware = Hardware()
    """What the work runs on."""

    @property
    def labels(self) -> int:
        """Labels per recording or window."""
        return self.top or (5 if self.live else 3)

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from self._of_runs() if self.submission is None else self._of_submission()
        yield from self._of_streams() if self.live else self._of_no_stream()
        yield from self._of_pages()
        yield from self._of_windows()

    def _of_runs(self) -> Iterator[str]:
        yield from needs_run(self.run)
        if isinstance(self.run, dict):
            yield f"run={self.run} does not name a run; several are given as run=[A,B]"
        if (self.source is None) == (self.split is None) and not (self.web and self.live):
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
        if self.format == "submission" and self.labels != 3:
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

    def _of_windows(self) -> Iterator[str]:
        """Yield what does not go with windows of a recording or stream, or only with them."""
        if not self.segments and self.segment != Segmentation():
            yield "segment.* belongs to segments=true"
        if self.format in ("audacity", "raven") and not self.segments:
            yield f"format={self.format} is of parts of a recording: set segments=true"
        if self.format in ("audacity", "raven") and self.out is not None and self.out.lower().endswith(".csv"):
            yield f"out={self.out}: format={self.format} writes a file per recording: name a folder"
        mode = "live" if self.live else "segments"
        if not (self.live or self.segments):
            for name in ("window_frames", "every_frames"):
                if getattr(self, name) is not None:
                    yield f"{name}= belongs to live=true or segments=true"
            return
        if self.live and self.segments:
            yield "live=true and segments=true are two things: a stream as it comes, or files with all their parts"
        given = {"split": self.split, "submission": self.submission, "cut": self.cut, "windows": self.windows or None}
        given |= {"top": self.top if self.segments and not self.live else None}
        yield from (f"{name}= does not go with {mode}=true" for name, value in given.items() if value is not None)
        if self.segments and self.format == "submission":
            yield "format=submission does not go with segments=true"

    def _of_streams(self) -> Iterator[str]:
        if isinstance(self.source, list):
            yield f"source={self.source}: live=true hears one source: a file, mic or -"
        kind = {MICROPHONE: "mic", STANDARD_INPUT: "-"}.get(str(self.source), "FILE")
        if self.device is not None and kind != "mic" and not self.web:
            yield "device= belongs to source=mic"
        if self.pcm != Pcm() and kind != "-":
            yield "pcm.* belongs to source=-"
        if self.speed == "max" and kind == "mic":
            yield "speed=max: a microphone is no faster than sound; leave speed= away"
        if self.format != "predictions":
            yield f"format={self.format} does not go with live=true: out=FILE.csv or out=FILE.jsonl says it"
        if self.out is not None and not self.out.lower().endswith((".csv", ".jsonl")):
            yield f"out={self.out}: what is heard live is written to FILE.csv or FILE.jsonl (JSON lines)"

    def _of_pages(self) -> Iterator[str]:
        """Yield what does not go with a page, or only with one."""
        if not self.web:
            given = {"host": self.host is not None, "port": self.port is not None, "open": self.open}
            yield from (f"{name}= belongs to web=true" for name, said in given.items() if said)
            return
        if not self.live:
            yield "web=true belongs to live=true"
        if self.source not in (None, MICROPHONE):
            yield f"source={self.source}: the page of web=true hears the microphone and opens files; leave source= out"
        if self.device is not None:
            yield "device= does not go with web=true: it is chosen in the page"
        if self.out is not None:
            yield "out= does not go with web=true: the page keeps the last 10 s, and no predictions"
        if self.speed is not None:
            yield "speed= does not go with web=true: a page hears sound as it comes"
        if self.host == "":
            yield "host= does not name an address"

    def _of_no_stream(self) -> Iterator[str]:
        given = {"device": self.device is not None, "speed": self.speed is not None}
        given |= {"smoothing_s": self.smoothing_s != 0.5}
        yield from (f"{name}= belongs to live=true" for name, said in given.items() if said)
        if self.pcm != Pcm():
            yield "pcm.* belongs to live=true"
        if self.reference != ReferenceLevel():
            yield "reference.* belongs to live=true: a recording is relative to its own loudest moment"
        if self.source in (MICROPHONE, STANDARD_INPUT) and not Path(str(self.source)).exists():
            yield f"source={self.source} is heard while it comes: set live=true"

"""Settings of the data set: where recordings and labels come from, and noise put in on purpose."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Annotated, Any, Literal

from pydantic import Field

from audiotag.config.checks import class_list
from audiotag.config.leaf import TARGET, Leaf, class_name
from audiotag.config.schema import Seed, Settings, Share, settings


@settings
class Columns(Settings):
    """Names of the columns of a table of recordings."""

    clip: str = "fname"
    """File name of a recording, below its audio folder; it is also the clip's id."""
    label: str = "label"
    """Class of the recording."""
    verified: str | None = "manually_verified"
    """1 where a person checked the label, 0 or nothing where not; null: every label was checked."""
    split: str | None = None
    """train or test, where one table holds both; null: the whole table is for training."""
    usage: str | None = None
    """Part of the test set that a row belongs to, such as Public or Private."""

    def clashes(self, prefix: str) -> Iterator[str]:
        for name, column in (("clip", self.clip), ("label", self.label)):
            if not column.strip():
                yield f"{prefix}{name}= does not name a column"


@settings
class Synthetic(Settings):
    """The embedded data set, made on first use."""

    seed: Seed = 0
    """Seed of the sounds and of the wrong labels."""
    classes: int = Field(10, ge=8, le=12)
    """Number of classes, 8 to all that are defined."""
    verified_per_class: int = Field(20, ge=0, le=100_000)
    """Training clips per class whose label is right and said to be checked."""
    unverified_per_class: int = Field(40, ge=0, le=100_000)
    """Training clips per class whose label may be wrong."""
    test_per_class: int = Field(12, ge=0, le=100_000)
    """Test clips per class."""
    wrong_share: Share = 0.3
    """Share of wrong labels among the unverified clips."""
    mixed_share: Share = 0.15
    """Share of the unverified clips that hold a second class in part of their length."""

    def clashes(self, prefix: str) -> Iterator[str]:
        if self.verified_per_class + self.unverified_per_class == 0:
            yield f"{prefix}verified_per_class=0 and {prefix}unverified_per_class=0 leave no training clips"


@settings
class Noise(Settings):
    """Known wrong labels, put among the unverified ones, to measure how well they are found."""

    kind: Literal["none", "symmetric", "confusion", "open_set", "instance"] = "none"
    """none, symmetric (any other class), confusion (certain other classes), open_set (clips of no known class), or
    instance (the clips that another network confuses most, under the labels that it takes them for)."""
    share: Share = 0.3
    """Share of the unverified clips of each class whose label is wrong; other noise is taken out, by `data.truth`."""
    seed: Seed | None = None
    """Seed of the noise and of which clips are unverified; null: the run's."""
    unverified: Share = 0.0
    """Share of each class's verified clips that become unverified first, as all-verified data sets need it."""
    confuse: list[list[str]] | None = None
    """For confusion: pairs [[dog,wolf],[cat,fox]], right label and given; null: each class becomes the next one."""
    matrix: str | None = None
    """For confusion, instead: CSV of how often (in proportion) a class, a row, is given another label, a column."""
    left_out: list[str] | None = None
    """For open_set: classes that the networks never hear of; their clips are given labels of the others."""
    posteriors: str | None = None
    """For instance, and shift=easier: what another network, trained apart, takes the clips for: the folder of a run or
    a table (CSV or Parquet) of clip_id and a column per class, relative to the working folder, else to `data.root`."""
    shift: Literal["none", "easier", "groups"] = "none"
    """Which verified clips `unverified` leaves verified: any (none), rather those that are easier to recognise, or
    other groups than those of the unverified ones (`data.group`)."""

    def clashes(self, prefix: str) -> Iterator[str]:
        for name, kind in (("confuse", "confusion"), ("matrix", "confusion"), ("left_out", "open_set")):
            if getattr(self, name) is not None and self.kind != kind:
                yield f"{prefix}{name} belongs to {prefix}kind={kind}"
        if (self.kind == "instance" or self.shift == "easier") != (self.posteriors is not None):
            yield f"{prefix}kind=instance and {prefix}shift=easier need {prefix}posteriors=RUN_FOLDER; others do not"
        if self.shift != "none" and (self.kind == "none" or self.unverified == 0):
            yield f"{prefix}shift={self.shift} needs {prefix}kind, and {prefix}unverified above 0 to choose among"
        if self.kind == "open_set" and not self.left_out:
            yield f"{prefix}kind=open_set needs {prefix}left_out=[CLASS,...], the classes left out"
        if self.kind == "open_set" and self.share == 1:
            yield f"{prefix}share=1 leaves no clip of a known class in kind=open_set"
        if self.confuse is not None and self.matrix is not None:
            yield f"give either {prefix}confuse or {prefix}matrix"
        if self.confuse == [] or any(len(pair) != 2 or pair[0] == pair[1] for pair in self.confuse or ()):
            yield f"{prefix}confuse={self.confuse} must be pairs of two different labels"


SYNTHETIC = "audiotag.data.sources.synthetic.Synthetic"
# Of the settings that only some sources read: those that each of ours does. Another class may read them all.
READ_BY = {
    SYNTHETIC: ("synthetic",),
    "audiotag.data.sources.kaggle.Kaggle": ("root", "columns"),
    "audiotag.data.sources.csv_table.CsvTable": ("root", "columns", "table", "test_table"),
    "audiotag.data.sources.class_folders.ClassFolders": ("root",),
    "audiotag.data.sources.fsdkaggle2018.FSDKaggle2018": ("root", "columns", "download"),
}
READ_BY_SOME = {setting for settings in READ_BY.values() for setting in settings}


def reads(source: Mapping[str, Any], setting: str) -> bool:
    """Return whether a data set's source may make anything of a setting of data."""
    return setting not in READ_BY_SOME or setting in READ_BY.get(source.get(TARGET, ""), READ_BY_SOME)


@settings
class Data(Settings):
    """Where the recordings and their labels come from."""

    name: str | None = None
    """Name of the configuration; for people only; null: the source's class."""
    source: Annotated[dict[str, Any], Leaf()] = Field({TARGET: SYNTHETIC})
    """Class of the data set's layout (`_target_`) and its arguments: a subclass of audiotag.data.source.Source."""
    root: str | None = None
    """Folder of the data set; audio paths are relative to it. Null for the embedded set: below `cache_dir`."""
    table: str | None = None
    """Training table, for data=csv; relative to the working folder, else to `data.root`."""
    test_table: str | None = None
    """Test table, for data=csv, if it is a file of its own."""
    unlabelled: bool = False
    """Allow training rows without a label: clips that are never trained on, and labelled by predict.py
    split=unlabelled."""
    allow_outside: bool = False
    """Allow recordings that are not below `data.root`: ids with ../, absolute paths, links that lead elsewhere."""
    columns: Columns = Columns()
    """Names of the table's columns."""
    classes: list[str] | None = None
    """The class list; null: the labels found in the training table, sorted."""
    group: str | None = None
    """Column whose values never cross folds, such as the speaker or the recording session."""
    truth: str | None = None
    """Table of right labels, in columns named as in `data.table`, used only to measure precision and recall of what was
    accepted."""
    corrections: str | None = None
    """A run's `review.csv` in which a person has decided (keep, relabel X, drop); relative to the working folder, else
    to `data.root`."""
    on_bad_clip: Literal["error", "skip"] = "error"
    """What to do with rows and files that cannot be used: error (all are listed) or skip (the summary lists them)."""
    train_on_all: bool = False
    """Train every fold on the held-out clips too (original option); nothing is verified: needs finetune_rounds=0."""
    validate_unverified: bool = False
    """Also report validation on held-out unverified clips (original option); selection stays on verified clips."""
    download: bool = False
    """Download the data set into `data.root` where it is not there yet (fsdkaggle2018)."""
    noise: Noise = Noise()
    """Wrong labels put in on purpose."""
    synthetic: Synthetic = Synthetic()
    """Settings of the embedded data set."""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or class_name(self.source)

    @property
    def needs(self) -> tuple[str, ...]:
        """Settings of data without which its source cannot work."""
        ours = READ_BY.get(self.source.get(TARGET, ""), ("root",))
        return tuple(setting for setting in ("root", "table") if setting in ours)

    def clashes(self, prefix: str) -> Iterator[str]:
        if "root" in self.needs and not self.root:
            yield f"data={self.title} needs data.root=DIR, the folder with the recordings"
        if "table" in self.needs and not self.table:
            yield f"data={self.title} needs data.table=FILE, the table of recordings and labels"
        if self.download and not reads(self.source, "download"):
            yield f"data.download=true belongs to data=fsdkaggle2018: data={self.title} cannot be downloaded"
        yield from tables_of_csv(self.source, self.table, self.test_table)
        yield from class_list("data.classes", self.classes)


def tables_of_csv(source: Mapping[str, Any], table: str | None, test_table: str | None) -> Iterator[str]:
    """Yield a message for every table that is named for a data set whose layout says where its tables are."""
    for name, file in (("table", table), ("test_table", test_table)):
        if file is not None and not reads(source, name):
            yield f"data.{name}={file} belongs to data=csv"

"""Settings of the data set: where recordings and labels come from, and noise put in on purpose."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiotag.config.checks import class_list, one_of, share


@dataclass(frozen=True)
class Columns:
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

    def problems(self) -> list[str]:
        named = {"data.columns.clip": self.clip, "data.columns.label": self.label}
        return [f"{name}= names no column" for name, column in named.items() if not column.strip()]


@dataclass(frozen=True)
class Synthetic:
    """The embedded data set, made on first use."""

    seed: int = 0
    """Seed of the sounds and of the wrong labels."""
    classes: int = 10
    """Number of classes, 8 to all that are defined."""
    verified_per_class: int = 20
    """Training clips per class whose label is right and said to be checked."""
    unverified_per_class: int = 40
    """Training clips per class whose label may be wrong."""
    test_per_class: int = 12
    """Test clips per class."""
    wrong_share: float = 0.3
    """Share of wrong labels among the unverified clips."""
    mixed_share: float = 0.15
    """Share of the unverified clips that hold a second class in part of their length."""


@dataclass(frozen=True)
class Noise:
    """Known wrong labels, put among the unverified ones, to measure how well they are found."""

    kind: str = "none"
    """none, symmetric (any other class), confusion (certain other classes), or open_set (clips of no known class)."""
    share: float = 0.3
    """Share of the unverified clips of each class whose label is wrong; other noise is taken out, by `data.truth`."""
    seed: int | None = None
    """Seed of the noise and of which clips are unverified; null: the run's."""
    unverified: float = 0.0
    """Share of each class's verified clips that become unverified first, as all-verified data sets need it."""
    confuse: list[list[str]] | None = None
    """For confusion: pairs [[dog,wolf],[cat,fox]], right label and given; null: each class becomes the next one."""
    matrix: str | None = None
    """For confusion, instead: CSV of how often (in proportion) a class, a row, is given another label, a column."""
    left_out: list[str] | None = None
    """For open_set: classes that the networks never hear of; their clips are given labels of the others."""

    def problems(self) -> list[str]:
        found = one_of("data.noise.kind", self.kind, ("none", "symmetric", "confusion", "open_set"))
        found += share("data.noise.share", self.share) + share("data.noise.unverified", self.unverified)
        for kind, names in (("confusion", ("confuse", "matrix")), ("open_set", ("left_out",))):
            given = [name for name in names if getattr(self, name) is not None and self.kind != kind]
            found += [f"data.noise.{name} belongs to data.noise.kind={kind}" for name in given]
        if self.kind == "open_set" and not self.left_out:
            found.append("data.noise.kind=open_set needs data.noise.left_out=[CLASS,...], the classes left out")
        if self.kind == "open_set" and self.share == 1:
            found.append("data.noise.share=1 leaves no clip of a known class in kind=open_set")
        if self.confuse is not None and self.matrix is not None:
            found.append("give either data.noise.confuse or data.noise.matrix")
        if self.confuse == [] or any(len(pair) != 2 or pair[0] == pair[1] for pair in self.confuse or ()):
            found.append(f"data.noise.confuse={self.confuse} must be pairs of two different labels")
        return found


@dataclass(frozen=True)
class Data:
    """Where the recordings and their labels come from."""

    name: str = "synthetic"
    """Kind of data set: synthetic (embedded), kaggle (challenge layout), csv (any table), folders (one per class, no
    table), fsdkaggle2018 (download)."""
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
    columns: Columns = field(default_factory=Columns)
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
    on_bad_clip: str = "error"
    """What to do with rows and files that cannot be used: error (all are listed) or skip (the summary lists them)."""
    train_on_all: bool = False
    """Train every fold on the held-out clips too (original option); nothing is verified: needs finetune_rounds=0."""
    validate_unverified: bool = False
    """Also report validation on held-out unverified clips (original option); selection stays on verified clips."""
    download: bool = False
    """Download the data set into `data.root` where it is not there yet (fsdkaggle2018)."""
    noise: Noise = field(default_factory=Noise)
    """Wrong labels put in on purpose."""
    synthetic: Synthetic = field(default_factory=Synthetic)
    """Settings of the embedded data set."""

    def problems(self) -> list[str]:
        found = one_of("data.name", self.name, ("synthetic", "kaggle", "csv", "folders", "fsdkaggle2018"))
        found += one_of("data.on_bad_clip", self.on_bad_clip, ("error", "skip"))
        if self.name != "synthetic" and not self.root:
            found.append(f"data={self.name} needs data.root=DIR, the folder with the recordings")
        if self.name == "csv" and not self.table:
            found.append("data=csv needs data.table=FILE, the table of recordings and labels")
        if self.name != "csv":
            given = {"data.table": self.table, "data.test_table": self.test_table}
            found += [f"{name}={value} belongs to data=csv" for name, value in given.items() if value is not None]
        if self.download and self.name != "fsdkaggle2018":
            found.append(f"data.download=true belongs to data=fsdkaggle2018: data={self.name} cannot be downloaded")
        found += class_list(self.classes) + self.columns.problems() + self.noise.problems()
        if self.name == "synthetic":
            found += one_of("data.synthetic.classes", self.synthetic.classes, tuple(range(8, 13)))
            found += share("data.synthetic.wrong_share", self.synthetic.wrong_share)
            found += share("data.synthetic.mixed_share", self.synthetic.mixed_share)
        return found

"""The typed schema of every setting: what it means, what it may be, and what does not go together.

YAML files under `conf/` give values; this module gives meaning. A composed configuration is merged onto it by
`audiotag.schema.validate`, which refuses unknown keys, wrong types and impossible combinations, all problems at once
and before any work starts.
"""

from __future__ import annotations

import dataclasses
import difflib
from dataclasses import dataclass, field
from typing import Any

from audiotag.errors import ConfigError

ARTIFACTS = ("manifest", "weights")  # `logger.artifacts`: the clips, and the best round's networks
# `verification.confident_learning`: cleanlab's names for ways to choose what to flag.
CONFIDENT_LEARNING = (
    *("prune_by_noise_rate", "prune_by_class", "both", "confident_learning"),
    *("low_normalized_margin", "low_self_confidence", "predicted_neq_given"),
)
FORMATS = ("predictions", "submission")
USAGES = ("public", "private", "private_public")  # parts of the challenge's test set
MIN_FRAMES = 191  # of an excerpt, to survive the network's pools; `models.vgg_gap` counts them


def _one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> list[str]:
    if value in allowed:
        return []
    near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return [f"{name}={value} is none of {', '.join(map(str, allowed))}{hint}"]


def _at_least(name: str, value: float | None, least: float) -> list[str]:
    return [f"{name}={value} must be {least} or more"] if value is not None and value < least else []


def _share(name: str, value: float | None) -> list[str]:
    return [f"{name}={value} must lie in 0 to 1"] if value is not None and not 0 <= value <= 1 else []


def _way_to_flag(name: str | None) -> list[str]:
    return [] if name is None else _one_of("verification.confident_learning", name, CONFIDENT_LEARNING)


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
        found = _one_of("data.noise.kind", self.kind, ("none", "symmetric", "confusion", "open_set"))
        found += _share("data.noise.share", self.share) + _share("data.noise.unverified", self.unverified)
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
    """Kind of data set: synthetic (embedded), kaggle (challenge layout), csv (any table), fsdkaggle2018 (download)."""
    root: str | None = None
    """Folder of the data set; audio paths are relative to it. Null for the embedded set: below `cache_dir`."""
    table: str | None = None
    """Training table, for data=csv; relative to the working folder, else to `data.root`."""
    test_table: str | None = None
    """Test table, for data=csv, if it is a file of its own."""
    columns: Columns = field(default_factory=Columns)
    """Names of the table's columns."""
    classes: list[str] | None = None
    """The class list; null: the labels found in the training table, sorted."""
    group: str | None = None
    """Column whose values never cross folds, such as the speaker or the recording session."""
    truth: str | None = None
    """Table of right labels (clip, label), used only to measure precision and recall of what was accepted."""
    corrections: str | None = None
    """A run's `review.csv` in which a person has decided (keep, relabel X, drop); relative to the working folder, else
    to `data.root`."""
    on_bad_clip: str = "error"
    """What to do with rows and files that cannot be used: error (all are listed) or skip (the summary lists them)."""
    train_on_all: bool = False
    """Train every fold on the held-out clips too (original option); then nothing can be verified: needs rounds=0."""
    validate_unverified: bool = False
    """Also report validation on held-out unverified clips (original option); selection stays on verified clips."""
    download: bool = False
    """Download the data set into `data.root` where it is not there yet (fsdkaggle2018)."""
    noise: Noise = field(default_factory=Noise)
    """Wrong labels put in on purpose."""
    synthetic: Synthetic = field(default_factory=Synthetic)
    """Settings of the embedded data set."""

    def problems(self) -> list[str]:
        found = _one_of("data.name", self.name, ("synthetic", "kaggle", "csv", "fsdkaggle2018"))
        found += _one_of("data.on_bad_clip", self.on_bad_clip, ("error", "skip"))
        if self.name != "synthetic" and not self.root:
            found.append(f"data={self.name} needs data.root=DIR, the folder with the recordings")
        if self.name == "csv" and not self.table:
            found.append("data=csv needs data.table=FILE, the table of recordings and labels")
        if self.name != "csv":
            given = {"data.table": self.table, "data.test_table": self.test_table}
            found += [f"{name}={value} belongs to data=csv" for name, value in given.items() if value is not None]
        if self.download and self.name != "fsdkaggle2018":
            found.append(f"data.download=true belongs to data=fsdkaggle2018: data={self.name} cannot be downloaded")
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            found.append(f"data.classes={self.classes} must be two or more different labels")
        found += self.noise.problems()
        if self.name == "synthetic":
            found += _one_of("data.synthetic.classes", self.synthetic.classes, tuple(range(8, 13)))
            found += _share("data.synthetic.wrong_share", self.synthetic.wrong_share)
            found += _share("data.synthetic.mixed_share", self.synthetic.mixed_share)
        return found


@dataclass(frozen=True)
class Features:
    """From waveform to spectrogram, and how much of it a network sees."""

    front_end: str = "v1"
    """v1: perceptually weighted mel bands, hop 192; v2: logarithmic filter bank, hop 128 (32 kHz, 128 bands)."""
    trim: bool = True
    """Cut silence off both ends as the original's SoX command does; false for live use."""
    excerpt_frames: int = 384
    """Frames of a training excerpt (paper section 3)."""
    clip_frames: int = 3000
    """Frames a clip is repeated or cut to for validation and for drawing excerpts (paper section 2)."""

    def problems(self) -> list[str]:
        found = _one_of("features.front_end", self.front_end, ("v1", "v2"))
        found += _at_least("features.excerpt_frames", self.excerpt_frames, 1)
        if self.clip_frames < self.excerpt_frames:
            found.append(
                f"features.clip_frames={self.clip_frames} is shorter than "
                f"features.excerpt_frames={self.excerpt_frames}: excerpts are cut from it"
            )
        return found


@dataclass(frozen=True)
class Model:
    """The VGG network with global average pooling (paper figure 2)."""

    name: str = "tiny"
    """Name of the configuration; for people only."""
    width: int = 8
    """Channels of the first convolution; all others are multiples of it."""
    dropout: float = 0.0
    """Dropout after the blocks of the feature part; 0.3 in the paper. Scale it with width."""
    head_dropout: float = 0.0
    """Dropout in the classification part; 0.5 in the paper. Scale it with width."""

    def problems(self) -> list[str]:
        found = _at_least("model.width", self.width, 1)
        return found + _share("model.dropout", self.dropout) + _share("model.head_dropout", self.head_dropout)


@dataclass(frozen=True)
class Augment:
    """Random changes to training excerpts, besides mixup (see `training.*.mixup_alpha`)."""

    time_masks: int = 0
    """Number of time masks per excerpt."""
    time_mask_frames: int = 0
    """Longest time mask, in frames."""
    band_masks: int = 0
    """Number of band masks per excerpt."""
    band_mask_bands: int = 0
    """Widest band mask, in bands of 128."""

    def problems(self) -> list[str]:
        values = dataclasses.asdict(self)
        found = [problem for name, value in values.items() for problem in _at_least(f"augment.{name}", value, 0)]
        for many, wide in (("time_masks", "time_mask_frames"), ("band_masks", "band_mask_bands")):
            if values[many] > 0 and values[wide] == 0:
                found.append(f"augment.{many}={values[many]} masks nothing: set augment.{wide}")
        return found


@dataclass(frozen=True)
class Phase:
    """One training schedule: constant learning rate, then linear decay to zero."""

    epochs: int = 30
    """Passes over the training clips."""
    learning_rate: float = 1e-3
    """Initial learning rate of Adam."""
    decay_from_epoch: int = 5
    """First epoch of the linear decay."""
    mixup_alpha: float = 0.0
    """Parameter of mixup's Beta distribution; 0 switches mixup off."""
    min_steps: int = 0
    """Fewest optimiser steps: a small data set gets more epochs for it, and the decay starts later in proportion."""

    def problems(self, name: str) -> list[str]:
        found = _at_least(f"{name}.epochs", self.epochs, 1) + _at_least(f"{name}.mixup_alpha", self.mixup_alpha, 0)
        found += _at_least(f"{name}.min_steps", self.min_steps, 0)
        if self.learning_rate <= 0:
            found.append(f"{name}.learning_rate={self.learning_rate} must be above 0")
        if not 0 <= self.decay_from_epoch <= self.epochs:
            found.append(
                f"{name}.decay_from_epoch={self.decay_from_epoch} must lie in 0 to {name}.epochs={self.epochs}"
            )
        return found


@dataclass(frozen=True)
class Training:
    """How networks are fitted: round 0 is the pre-training, every later round the fine-tuning."""

    batch_size: int = 32
    """Excerpts per optimiser step."""
    valid_batch_size: int = 25
    """Whole clips per validation step."""
    pretrain: Phase = field(default_factory=Phase)
    """Round 0: on all clips, verified or not."""
    finetune: Phase = field(default_factory=Phase)
    """Rounds 1 and later: on verified and self-verified clips."""

    def problems(self) -> list[str]:
        found = _at_least("training.batch_size", self.batch_size, 2)
        found += _at_least("training.valid_batch_size", self.valid_batch_size, 1)
        return found + self.pretrain.problems("training.pretrain") + self.finetune.problems("training.finetune")


@dataclass(frozen=True)
class Verification:
    """The rule by which an unverified label is accepted (paper section 4.2)."""

    rule: str = "as_documented"
    """Name of the rule; for people only."""
    excerpts: int = 25
    """Excerpts K per clip whose posteriors are averaged into the consensus."""
    agreement: bool = True
    """The consensus must predict the given label."""
    threshold: float | None = 0.95
    """The consensus of the given label must exceed this; null: no threshold."""
    cap: int | None = 40
    """Most clips accepted per class over all folds, highest consensus first; null: no cap."""
    calibrate: bool = False
    """Apply a temperature, fitted per fold on its verified held-out clips, before the threshold."""
    confident_learning: str | None = None
    """Refuse labels that cleanlab flags, chosen by this `filter_by` of its find_label_issues; null: not asked."""

    def problems(self) -> list[str]:
        found = _at_least("verification.excerpts", self.excerpts, 1) + _share("verification.threshold", self.threshold)
        return found + _at_least("verification.cap", self.cap, 0) + _way_to_flag(self.confident_learning)


@dataclass(frozen=True)
class Trainer:
    """How several devices fit one network together."""

    sync_batchnorm: bool = True
    """Normalise over the clips of all devices, as one device would; false: each device over its own."""


@dataclass(frozen=True)
class Hardware:
    """What the work runs on; nothing here belongs to the experiment."""

    accelerator: str = "auto"
    """auto, cpu or gpu."""
    precision: str = "auto"
    """auto: bfloat16 mixed precision where the processor has it, else float32; or a precision that Lightning names."""
    channels_last: bool | None = None
    """Memory layout of the convolutions; null: channels last on every device (faster on both)."""
    threads: int | None = None
    """Threads of each process on a CPU; null: the cores, shared out among the job's processes. Results are equal to
    the bit only for an equal number."""
    workers: int | None = None
    """Processes that decode audio and compute spectrograms; null: one per core, 0: none, in this process."""
    store_on_device: bool | None = None
    """Keep the spectrogram store in the GPU's memory; null: where it fits."""
    share_devices: bool = False
    """Start on GPUs that other runs of this user hold; false: wait until enough are free."""
    wait_s: float = 60.0
    """How long to wait, in seconds, for cells of other jobs that nobody works on, before giving up. On a cluster: as
    long as a job may stand in the queue."""

    def problems(self) -> list[str]:
        found = _one_of("hardware.accelerator", self.accelerator, ("auto", "cpu", "gpu"))
        allowed = ("auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true")
        found += _one_of("hardware.precision", self.precision, allowed)
        found += _at_least("hardware.threads", self.threads, 1) + _at_least("hardware.workers", self.workers, 0)
        return found + _at_least("hardware.wait_s", self.wait_s, 0)


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases: a run per cell, and one for the whole experiment."""

    enabled: bool = False
    """Track there; set by logger=wandb."""
    project: str | None = None
    """Project of the runs; null: what WANDB_PROJECT says, else audiotag."""
    entity: str | None = None
    """User or team that owns the project; null: the one that the API key belongs to."""
    mode: str = "auto"
    """auto: online where there is an API key and the server answers, else offline; or online, offline, disabled."""
    tags: list[str] | None = None
    """Tags of the runs."""

    def problems(self) -> list[str]:
        return _one_of("logger.wandb.mode", self.mode, ("auto", "online", "offline", "disabled"))


@dataclass(frozen=True)
class TensorBoard:
    """Event files below the run folder, in `tensorboard/`."""

    enabled: bool = False
    """Write them; set by logger=tensorboard."""


@dataclass(frozen=True)
class Mlflow:
    """MLflow: a run for the whole experiment, and below it one per cell."""

    enabled: bool = False
    """Track there; set by logger=mlflow."""
    tracking_uri: str | None = None
    """Where: a server or a database; null: what MLFLOW_TRACKING_URI says, else `mlflow.db` beside the run folder."""
    experiment: str = "audiotag"
    """MLflow's experiment that holds the runs."""


@dataclass(frozen=True)
class Logger:
    """Where a run can be watched besides its own files, which are always written; nothing here changes a result."""

    wandb: Wandb = field(default_factory=Wandb)
    """Weights & Biases, online or offline."""
    tensorboard: TensorBoard = field(default_factory=TensorBoard)
    """TensorBoard's event files."""
    mlflow: Mlflow = field(default_factory=Mlflow)
    """MLflow, in a database or at a server."""
    artifacts: list[str] | None = None
    """Files to hand to Weights & Biases and MLflow when the experiment ends: [manifest,weights], or one of them."""

    def problems(self) -> list[str]:
        found = [problem for name in self.artifacts or () for problem in _one_of("logger.artifacts", name, ARTIFACTS)]
        return found + self.wandb.problems()


@dataclass(frozen=True)
class TrainConfig:
    """The whole loop: train, verify, fine-tune, choose."""

    run: str | None = None
    """Name of the run, the folder `runs/NAME` (a path works too); null: made from what was chosen."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    cache_dir: str = "cache"
    """Folder for spectrogram stores and the embedded data set; safe to delete."""
    seed: int = 0
    """Seed of everything random."""
    rounds: int = 10
    """Number of the last round; round 0 trains on everything, each later one fine-tunes on what was accepted."""
    folds: int = 4
    """Number of cross-validation folds."""
    round: int | None = None
    """Work on this round only; null: all."""
    fold: int | None = None
    """Work on this fold only; null: all."""
    devices: int = 1
    """GPUs to use on this machine, or processes on a CPU."""
    parallel: str = "batches"
    """What several devices share: batches (every network is fitted by all of them), folds (each fits its own)."""
    experiment: str | None = None
    """Name of the ready-made experiment; for people only."""
    start: str | None = None
    """Name (or path) of a run whose round 0 is taken over, not trained again: it differs in the verification only."""
    hparams_search: str | None = None
    """Name of the search for hyper-parameters that this run is a trial of; for people only."""
    report: bool = True
    """When the run is complete, write its report.html and review.csv."""
    data: Data = field(default_factory=Data)
    """Where the recordings and their labels come from."""
    features: Features = field(default_factory=Features)
    """From waveform to spectrogram."""
    model: Model = field(default_factory=Model)
    """The network."""
    augment: Augment = field(default_factory=Augment)
    """Random changes to training excerpts."""
    training: Training = field(default_factory=Training)
    """How networks are fitted."""
    verification: Verification = field(default_factory=Verification)
    """The rule by which labels are accepted."""
    trainer: Trainer = field(default_factory=Trainer)
    """How several devices fit one network together."""
    hardware: Hardware = field(default_factory=Hardware)
    """What the work runs on."""
    logger: Logger = field(default_factory=Logger)
    """Where a run can be watched."""

    def __post_init__(self) -> None:
        found = _at_least("rounds", self.rounds, 0) + _at_least("folds", self.folds, 2)
        found += _at_least("devices", self.devices, 1) + _one_of("parallel", self.parallel, ("batches", "folds"))
        for name, value in (("run", self.run), ("start", self.start)):
            if value in ("", ".", ".."):
                found.append(f"{name}={value} is no name for a run folder")
        if self.round is not None and not 0 <= self.round <= self.rounds:
            found.append(f"round={self.round} must lie in 0 to rounds={self.rounds}")
        if self.fold is not None and not 0 <= self.fold < self.folds:
            found.append(f"fold={self.fold} must lie in 0 to {self.folds - 1}: there are folds={self.folds}")
        for section in ("data", "features", "model", "augment", "training", "verification", "hardware", "logger"):
            found += getattr(self, section).problems()
        found += self._problems_between()
        if found:
            raise ConfigError("The configuration cannot be run:", found)

    def _problems_between(self) -> list[str]:
        found = []
        if self.parallel == "folds" and self.devices > self.folds:
            found.append(f"devices={self.devices} is more than parallel=folds has work for: folds={self.folds}")
        if self.parallel == "batches" and self.devices > self.training.batch_size:
            found.append(f"devices={self.devices} cannot share training.batch_size={self.training.batch_size} clips")
        if self.hparams_search is not None and (self.round is not None or self.fold is not None):
            found.append(f"hparams_search={self.hparams_search} compares whole runs: leave out round= and fold=")
        if self.data.train_on_all and self.rounds > 0:
            found.append(
                "data.train_on_all=true leaves no held-out clip to verify on: set rounds=0, or data.train_on_all=false"
            )
        if self.features.excerpt_frames < MIN_FRAMES:
            found.append(
                f"features.excerpt_frames={self.features.excerpt_frames} is too short for the network's pools: "
                f"it must be {MIN_FRAMES} or more"
            )
        if self.augment.time_mask_frames > self.features.excerpt_frames:
            found.append(
                f"augment.time_mask_frames={self.augment.time_mask_frames} is longer than "
                f"features.excerpt_frames={self.features.excerpt_frames}"
            )
        return found


@dataclass(frozen=True)
class VerificationChange:
    """What to decide otherwise than the run did; null keeps the run's own setting, unless a whole rule is named."""

    rule: str | None = None
    """Name of the whole rule to apply, set by verification=NAME; null: the run's rule with the changes below."""
    excerpts: int | None = None
    """With rescore=true: excerpts K per clip; null: as many as the run had, whose means are stored."""
    agreement: bool | None = None
    """The consensus must predict the given label."""
    threshold: float | None = None
    """The consensus of the given label must exceed this; 0 switches the threshold off."""
    cap: int | None = None
    """Most clips accepted per class over all folds, highest consensus first."""
    calibrate: bool | None = None
    """Apply a temperature, fitted per fold on its verified held-out clips, before the threshold."""
    confident_learning: str | None = None
    """Refuse labels that cleanlab flags, chosen by this `filter_by` of its find_label_issues."""


@dataclass(frozen=True)
class VerifyConfig:
    """Decide again from a run's stored posteriors, or from new ones; nothing is trained."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    round: int | None = None
    """Decide for this round only; null: for every round that is complete."""
    truth: str | None = None
    """Table of right labels (clip, label) to measure against; null: the one that the run was given."""
    rescore: bool = False
    """Ask the run's networks again, from their checkpoints, and decide on that; null settings are the run's."""
    devices: int = 1
    """With rescore=true: GPUs to share the clips among, or processes on a CPU."""
    cache_dir: str = "cache"
    """With rescore=true: folder for spectrogram stores."""
    root: str | None = None
    """With rescore=true: folder of the data set, if it moved since the run was made."""
    hardware: Hardware = field(default_factory=Hardware)
    """With rescore=true: what the work runs on."""
    verification: VerificationChange = field(default_factory=VerificationChange)
    """What to decide otherwise than the run did."""

    def __post_init__(self) -> None:
        found = _needs_run(self.run) + _share("verification.threshold", self.verification.threshold)
        found += _at_least("verification.cap", self.verification.cap, 0) + _at_least("devices", self.devices, 1)
        found += _at_least("verification.excerpts", self.verification.excerpts, 1) + self.hardware.problems()
        found += _way_to_flag(self.verification.confident_learning)
        if found:
            raise ConfigError("The configuration cannot be run:", found)


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
        found = _one_of("ensemble.mean", self.mean, ("arithmetic", "geometric"))
        found += _one_of("ensemble.weights", self.weights, ("equal", "learned"))
        return found + _at_least("ensemble.l2", self.l2, 0)


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
        found = _one_of("data.name", self.name, ("kaggle", "csv", "fsdkaggle2018"))
        if not self.root and not (self.name == "csv" and (self.test_table or self.table)):
            found.append(f"data={self.name} needs data.root=DIR, the folder with the test table")
        if self.name == "csv" and not self.test_table and not (self.table and self.columns.split):
            found.append("data=csv needs data.test_table=FILE, or data.table=FILE with data.columns.split=COLUMN")
        if self.name != "csv":
            given = {"data.table": self.table, "data.test_table": self.test_table}
            found += [f"{name}={value} belongs to data=csv" for name, value in given.items() if value is not None]
        if self.classes is not None and (len(self.classes) < 2 or len(set(self.classes)) < len(self.classes)):
            found.append(f"data.classes={self.classes} must be two or more different labels")
        return found


@dataclass(frozen=True)
class PredictConfig:
    """Label recordings with the networks of one or more runs, and score a split against its table, or a submission."""

    run: Any = ""
    """Name of the run, the folder `runs/NAME` (a path works too); several make an ensemble: [A,B]. NAME@ROUND asks that
    round: [A@best,B@3,B@last]."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    source: Any = None
    """Files or folders to label: one, or a list [A,B]. Folders are searched for everything libsndfile reads."""
    split: str | None = None
    """Instead of a source: test (mean of the folds) or valid (each clip by the fold that held it out)."""
    submission: str | None = None
    """Instead of a run: a submission file (fname,label) to score against the test table of `data`."""
    usage: str | None = None
    """Part of the test split to score: public, private or private_public; null: every row with a label."""
    out: str | None = None
    """File for the predictions, scores stand beside it in scores.json; null: below the run folder, `predict/`, and of
    several runs below `runs/ensembles/`. With submission=: the file for the scores; null: beside the submission."""
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
        found += _at_least("bootstrap", self.bootstrap, 0) + self.ensemble.problems() + self.hardware.problems()
        found += _one_of("format", self.format, FORMATS)
        if self.usage is not None:
            found += _one_of("usage", self.usage, USAGES)
        if found:
            raise ConfigError("The configuration cannot be run:", found)

    def _problems_of_runs(self) -> list[str]:
        found = _needs_run(self.run) + _at_least("top", self.top, 1) + _at_least("windows", self.windows, 0)
        if isinstance(self.run, dict):
            found.append(f"run={self.run} names no run; several are given as run=[A,B]")
        if (self.source is None) == (self.split is None):
            found.append("give either source=FILE_OR_FOLDER or split=test (or, instead of run=, submission=FILE)")
        if isinstance(self.source, dict) or self.source in ([], ""):
            found.append(f"source={self.source} is no path; several are given as source=[A,B]")
        if self.split is not None:
            found += _one_of("split", self.split, ("test", "valid"))
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


@dataclass(frozen=True)
class CompareConfig:
    """Gather the results of runs into one table."""

    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    run: Any = None
    """Names of the runs (paths work too): one, or a list [A,B]; null: every run in `runs_dir`."""
    over: str | None = None
    """Setting to average over, such as seed: runs that differ in nothing else become one row; null: a row per run."""
    out: str | None = None
    """File for the table (CSV); null: it is only printed."""

    def __post_init__(self) -> None:
        found = []
        if self.over == "":
            found.append("over= names no setting; over=seed averages over seeds")
        if isinstance(self.run, dict) or self.run in ([], ""):
            found.append(f"run={self.run} names no run; several are given as run=[A,B]")
        if self.out == "":
            found.append("out= names no file")
        if found:
            raise ConfigError("The configuration cannot be run:", found)


def _needs_run(run: Any) -> list[str]:
    return ["run=NAME is missing: the run folder to read"] if not run else []

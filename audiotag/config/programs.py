"""Settings of the programs: train.py, verify.py, `python -m audiotag.compare`, `.report`, `.audit` and `.review`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, Field

from audiotag.config.checks import needs_run, run_name_problems
from audiotag.config.data import Data
from audiotag.config.schema import Program, Seed, is_key, settings, unknown_key
from audiotag.config.sections import (
    Augment,
    Features,
    Hardware,
    Logger,
    Model,
    Trainer,
    Training,
    Verification,
    VerificationChange,
)


@settings
class TrainConfig(Program):
    """The whole loop: train, verify, fine-tune, choose."""

    run: str | None = None
    """Name of the run, the folder `runs/NAME` (a path works too); null: made from what was chosen."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    cache_dir: str = "cache"
    """Folder for spectrogram stores and the embedded data set; safe to delete."""
    config_dir: str | None = None
    """Folder of your own options and of the classes that they name; set by --config-dir, and kept with the run."""
    seed: Seed = 0
    """Seed of everything random."""
    finetune_rounds: int = Field(10, ge=0, le=1000)
    """Fine-tuning rounds after round 0, which trains on everything; each fine-tunes on what the one before accepted."""
    folds: int = Field(4, ge=2, le=1000)
    """Number of cross-validation folds."""
    round: int | None = Field(None, le=1000)
    """Work on this round only; null: all."""
    fold: int | None = Field(None, le=1000)
    """Work on this fold only; null: all."""
    devices: Annotated[int | None, BeforeValidator(lambda value: None if value == "auto" else value)] = Field(
        None, ge=1, le=4096
    )
    """GPUs to use on this machine, or processes on a CPU; null (or auto): one GPU or, on a CPU, a process per core
    but no more than folds, with parallel=folds."""
    parallel: Literal["batches", "folds"] = "batches"
    """What several devices share: batches (every network is fitted by all of them), folds (each fits its own)."""
    experiment: str | None = None
    """Name of the ready-made experiment; for people only."""
    warm_start: str | None = None
    """Name (or path) of a run whose round 0 is taken over, not trained again: it differs in the verification only."""
    distil: Annotated[list[str] | None, BeforeValidator(lambda value: [value] if isinstance(value, str) else value)] = (
        None
    )
    """Runs whose networks teach this one, [A,B] or [A@best,B@3]: it learns their mean posteriors of its clips instead
    of labels; of verified clips, the mean of both. A fold is taught by networks that never heard what it holds out."""
    hparams_search: str | None = None
    """Name of the search for hyper-parameters that this run is a trial of; for people only."""
    report: bool = True
    """When the run is complete, write its report.html and review.csv."""
    data: Data = Data()
    """Where the recordings and their labels come from."""
    features: Features = Features()
    """From waveform to spectrogram."""
    model: Model = Model()
    """The network."""
    augment: Augment = Augment()
    """Random changes to training excerpts."""
    training: Training = Training()
    """How networks are fitted."""
    verification: Verification = Verification()
    """The rule by which labels are accepted."""
    trainer: Trainer = Trainer()
    """How several devices fit one network together."""
    hardware: Hardware = Hardware()
    """What the work runs on."""
    logger: Logger = Logger()
    """Where a run can be watched."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from run_name_problems("run", self.run)
        yield from run_name_problems("warm_start", self.warm_start)
        if self.round is not None and not 0 <= self.round <= self.finetune_rounds:
            yield f"round={self.round} must lie in 0 to finetune_rounds={self.finetune_rounds}"
        if self.fold is not None and not 0 <= self.fold < self.folds:
            yield f"fold={self.fold} must lie in 0 to {self.folds - 1}: there are folds={self.folds}"
        devices = self.devices if isinstance(self.devices, int) else 0  # as many as fit, or of a wrong type
        if self.parallel == "folds" and devices > self.folds:
            yield f"devices={self.devices} is more than parallel=folds has work for: folds={self.folds}"
        if self.parallel == "batches" and devices > self.training.batch_size:
            yield f"devices={self.devices} cannot share training.batch_size={self.training.batch_size} clips"
        if self.hparams_search is not None and (self.round is not None or self.fold is not None):
            yield f"hparams_search={self.hparams_search} compares whole runs: leave out round= and fold="
        if self.training.average != "none" and self.hardware.precision == "bf16-true":
            yield (
                f"training.average={self.training.average} stands still in hardware.precision=bf16-true: a step of the "
                "mean is less than bfloat16 can tell apart; take bf16-mixed"
            )
        if self.distil == []:
            yield "distil=[] names no run: leave it out"
        if self.data.train_on_all and self.finetune_rounds > 0:
            yield (
                "data.train_on_all=true leaves no held-out clip to verify on: set finetune_rounds=0, or "
                "data.train_on_all=false"
            )


@settings
class VerifyConfig(Program):
    """Decide again from a run's stored posteriors, or from new ones; nothing is trained."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    round: int | None = Field(None, ge=0, le=1000)
    """Decide for this round only; null: for every round that is complete."""
    out: str | None = None
    """Folder for the decisions; null: the run's own, `verify/`."""
    truth: str | None = None
    """Table of right labels (clip, label) to measure against; null: the one that the run was given."""
    vote_again: bool = False
    """Let the run's networks vote again, from their checkpoints, and decide on that; null settings are the run's."""
    devices: int = Field(1, ge=1, le=4096)
    """With vote_again=true: GPUs to share the clips among, or processes on a CPU."""
    cache_dir: str = "cache"
    """With vote_again=true: folder for spectrogram stores."""
    root: str | None = None
    """With vote_again=true: folder of the data set, if it moved since the run was made."""
    hardware: Hardware = Hardware()
    """With vote_again=true: what the work runs on."""
    verification: VerificationChange = VerificationChange()
    """What to decide otherwise than the run did."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from needs_run(self.run)


@settings
class CompareConfig(Program):
    """Gather the results of runs into one table."""

    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    run: Any = None
    """Names of the runs (paths work too): one, or a list [A,B]; null: every run in `runs_dir`."""
    over: str | None = None
    """Setting to average over, such as seed: runs that differ in nothing else become one row; null: a row per run."""
    out: str | None = None
    """File for the table (CSV); null: it is only printed."""

    def clashes(self, prefix: str) -> Iterator[str]:
        if self.over == "":
            yield "over= does not name a setting; over=seed averages over seeds"
        elif self.over is not None and not is_key(self.over, TrainConfig):
            yield f"over={unknown_key(self.over, TrainConfig)}"
        if isinstance(self.run, dict) or self.run in ([], ""):
            yield f"run={self.run} does not name a run; several are given as run=[A,B]"
        if self.out == "":
            yield "out= does not name a file"


@settings
class ReportConfig(Program):
    """Write the report of a run."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    root: str | None = None
    """Folder of the data set, if it moved since the run was made."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from needs_run(self.run)
        if self.root is not None and not Path(self.root).is_dir():
            yield f"root={self.root} is not a folder"


@settings
class AuditConfig(Program):
    """Hear a random sample of the accepted labels."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    round: int | Literal["best"] = "best"
    """Round whose accepted labels are heard; best: the one with the lowest validation loss."""
    n: int | None = Field(None, ge=1, le=1_000_000)
    """How many of them; null: those that were drawn already, or 60."""
    precision: float = Field(0.95, gt=0, lt=1)
    """Precision that is to be shown."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from needs_run(self.run)


@settings
class ReviewConfig(Program):
    """Hear the labels that networks contradict, in a page, and decide on them by key."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    root: str | None = None
    """Folder of the data set, if it moved since the run was made."""
    host: str | None = None
    """Address to answer at, 0.0.0.0 for all of this machine; it then takes a token. null: this machine only."""
    port: int | None = Field(None, ge=1, le=65535)
    """Port to answer at; null: a free one."""
    open: bool = False
    """Open the page in this machine's browser."""
    repeats: float = Field(0.05, ge=0, le=0.5)
    """Share of verdicts that are asked for a second time, unannounced: they measure the listener."""
    not_predominant: Literal["leave", "keep", "drop"] = "leave"
    """What training does with a clip whose label is there, but not foremost: leave it undecided, or decide so."""
    longest_s: float = Field(60, ge=1, le=600)
    """Seconds of a recording that can be heard, from its beginning."""
    audit: int | None = Field(None, ge=1, le=1_000_000)
    """Begin with the audit, of so many of the accepted labels; null: begin with the review."""
    round: int | Literal["best"] = "best"
    """Round whose accepted labels are audited."""
    precision: float = Field(0.95, gt=0, lt=1)
    """Precision that the audit is to show."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from needs_run(self.run)
        if self.root is not None and not Path(self.root).is_dir():
            yield f"root={self.root} is not a folder"
        if self.host == "":
            yield "host= does not name an address"

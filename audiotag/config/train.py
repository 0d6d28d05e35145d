"""Settings of train.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiotag.config.checks import at_least, formula_problem, is_formula, one_of
from audiotag.config.data import Data
from audiotag.config.machine import Hardware, Trainer
from audiotag.config.network import MIN_FRAMES, Augment, Features, Model, Training
from audiotag.config.tracking import Logger
from audiotag.config.verification import Verification
from audiotag.errors import ConfigError


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
    finetune_rounds: int = 10
    """Fine-tuning rounds after round 0, which trains on everything; each fine-tunes on what the one before accepted."""
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
    warm_start: str | None = None
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
        found = at_least("finetune_rounds", self.finetune_rounds, 0) + at_least("folds", self.folds, 2)
        found += at_least("devices", self.devices, 1) + one_of("parallel", self.parallel, ("batches", "folds"))
        for name, value in (("run", self.run), ("warm_start", self.warm_start)):
            if value in ("", ".", ".."):
                found.append(f"{name}={value} is no name for a run folder")
            elif value is not None and is_formula(value):
                found.append(f"{name}: {formula_problem(value)}")
        if self.round is not None and not 0 <= self.round <= self.finetune_rounds:
            found.append(f"round={self.round} must lie in 0 to finetune_rounds={self.finetune_rounds}")
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
        if self.data.train_on_all and self.finetune_rounds > 0:
            found.append(
                "data.train_on_all=true leaves no held-out clip to verify on: set finetune_rounds=0, or "
                "data.train_on_all=false"
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

"""Who teaches a run (`distil`): runs that are there, know its classes, and never heard what a fold holds out."""

from __future__ import annotations

from collections.abc import Sequence

from audiotag.config import PredictConfig, TrainConfig
from audiotag.data.manifest import Manifest
from audiotag.errors import ConfigError
from audiotag.inference.members import Member, choose_members
from audiotag.run.folder import TARGETS, Cell, RunFolder


def find_teachers(config: TrainConfig, folder: RunFolder) -> list[Member]:
    """Return the runs of `distil`, none once all that they have to say is kept in the run.

    Raises RunError if one, or its round, is not there, or they know other classes than each other.
    """
    folds = range(config.folds) if config.fold is None else [config.fold]
    if not config.distil or all((folder.cell(Cell(0, fold)) / TARGETS).is_file() for fold in folds):
        return []
    return choose_members(as_predicted(config))


def as_predicted(config: TrainConfig) -> PredictConfig:
    """Return the settings by which the teachers are asked."""
    return PredictConfig(run=config.distil, runs_dir=config.runs_dir, source=".", hardware=config.hardware)


def check_teachers(teachers: Sequence[Member], manifest: Manifest, config: TrainConfig) -> None:
    """Raise ConfigError unless the teachers know these classes, and for each fold have networks that never heard it."""
    problems = []
    if teachers and teachers[0].folder.classes != manifest.classes:
        theirs, ours = (", ".join(classes) for classes in (teachers[0].folder.classes, manifest.classes))
        problems.append(f"their classes are {theirs}, those of the data set {ours}")
    elif not config.data.train_on_all:
        problems = [
            f"fold {fold}: {teacher.name} has no network that never heard the clips that it holds out"
            for teacher in teachers
            for fold in range(config.folds)
            if not unheard(teacher, manifest, fold)
        ]
    if problems:
        advice = "Name runs of the same data set, folds and seed, or set data.train_on_all=true finetune_rounds=0."
        raise ConfigError("distil: these runs cannot teach this one:", problems, advice)


def unheard(teacher: Member, manifest: Manifest, fold: int) -> list[int]:
    """Return the folds whose networks of a teacher were never trained on a clip that this run's fold holds out."""
    held = set(manifest.train.loc[manifest.train["fold"] == fold, "content_hash"])
    known = teacher.folder.train
    known = known[known["content_hash"].isin(held)]
    everything = teacher.folder.config.data.train_on_all
    return [own for own in teacher.folds if known.empty or not (everything or (known["fold"] != own).any())]

"""What comes before the first fit: every check, the manifest, the spectrograms."""

from __future__ import annotations

import contextlib
import dataclasses
from collections.abc import Sequence
from functools import partial
from typing import NamedTuple

from audiotag.config import TrainConfig
from audiotag.config.schema import check_leaves
from audiotag.console import console, note
from audiotag.data.checking import data_root
from audiotag.data.corrections import write_applied
from audiotag.data.datamodule import cell_clips
from audiotag.data.manifest import Manifest, save_truth
from audiotag.data.manifest_file import manifest_text, write_manifest
from audiotag.data.store import Store, manifest_and_store
from audiotag.data.tables import find
from audiotag.distributed import context
from audiotag.distributed.hardware import set_numerics
from audiotag.errors import AudiotagError, RunError
from audiotag.experiment.checks import check_run
from audiotag.experiment.teachers import check_teachers, find_teachers
from audiotag.experiment.warm_start import WarmStart
from audiotag.features.spectrogram import front_end_of
from audiotag.files import FileLock, csv_text, damage_reported, lines_that_differ, read_json, write_json
from audiotag.inference.members import Member
from audiotag.models.augmentation import check_augmentation
from audiotag.models.loss import build_loss
from audiotag.models.network import check_network
from audiotag.run.folder import AGAIN, RunFolder
from audiotag.tracking.trackers import check_trackers
from audiotag.verification.rules import rule_of


class Experiment(NamedTuple):
    """A run that is ready to be fitted: its configuration, folder, data set, spectrograms, and who teaches it."""

    config: TrainConfig
    folder: RunFolder
    manifest: Manifest
    store: Store
    teachers: Sequence[Member] = ()


def prepare(config: TrainConfig) -> Experiment:
    """Check everything that can be checked before hours of work; make the manifest and the spectrogram store."""
    # Absolute, so that the run can be read from any working folder.
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=str(data_root(config))))
    folder, warm_start = check_run(config)
    set_numerics(config.hardware)  # what is tried on the CPU shares it with the job's other processes
    start = check_joints(config, pretrained=not warm_start.has_round_0)
    check_trackers(config, folder)
    manifest, store = _one_after_another(config, folder, warm_start, start)
    context.assert_same_on_all_ranks(f"The data set of {folder.path}", manifest_text(manifest.frame))
    check_clips_for_ranks(config, manifest)
    return Experiment(config, folder, manifest, store, find_teachers(config, folder))


def check_joints(config: TrainConfig, pretrained: bool = True) -> str | None:
    """Build every class that the configuration names, and hold it to its contract.

    Returns a SHA-256 of the weights that the network starts from, if any; with `pretrained` False they are not asked
    for. Raises ConfigError for a class that cannot be imported, arguments that it does not take, and a contract broken.
    """
    check_leaves(config)
    bands = front_end_of(config.features).bands
    start = check_network(config.model, config.features, bands, pretrained)
    check_augmentation(config.augment, config.features, bands)
    for reduction in ("mean", "none"):  # which one training needs, the number of devices decides
        build_loss(config.training, reduction)
    rule_of(config.verification)
    return start


def check_clips_for_ranks(config: TrainConfig, manifest: Manifest) -> None:
    """Raise AudiotagError if a network would be trained on fewer clips than processes fit it together."""
    round_, everything = min(config.finetune_rounds, 1), config.data.train_on_all
    fewest = min(len(cell_clips(manifest, round_, fold, None, everything).train) for fold in range(config.folds))
    if fewest < context.current().world_size:
        raise AudiotagError(
            f"devices={context.current().world_size}: some fold has only {fewest} clips to train on, and each process "
            f"needs one: set devices={fewest} or less"
        )


def _one_after_another(
    config: TrainConfig, folder: RunFolder, warm_start: WarmStart, start: str | None
) -> tuple[Manifest, Store]:
    """Prepare in one process at a time: the first does the work, the others find it done.

    Data that are refused leave no folder.
    """
    new = [path for path in folder.path.parents if not path.exists()]
    lock = folder.path / ".prepare.lock"
    try:
        with FileLock(lock):
            try:
                return _prepare(config, folder, warm_start, start)
            except AudiotagError:
                if [path.name for path in folder.path.iterdir()] == [lock.name]:
                    lock.unlink()
                    with contextlib.suppress(OSError):  # others may have made something in one meanwhile
                        for path in (folder.path, *new):
                            path.rmdir()
                raise
    except FileNotFoundError as error:
        if folder.path.exists():
            raise
        raise RunError(
            f"{folder.path} was removed by another process, whose data were refused: start the command again"
        ) from error


def _prepare(
    config: TrainConfig, folder: RunFolder, warm_start: WarmStart, start: str | None
) -> tuple[Manifest, Store]:
    folder.refuse_other(config)  # once more: another process may have begun the run since
    if not warm_start.has_round_0:
        refuse_other_start(folder, start)
    manifest, store = manifest_and_store(
        corrections_found(config, folder), partial(_check_data, config, folder, warm_start)
    )
    # Nothing is kept before: data that cannot be trained on may be corrected, and the run begun anew.
    _keep_manifest(folder, manifest)
    if start is not None:
        write_json(folder.start_file, {"sha256": start})
    folder.save(config)
    silent = store.silent(manifest.train).sum()
    if silent:
        note("silent:", f"{silent} clips are silent throughout and kept untrimmed (see summary.json)")
    warm_start.take_over()
    return manifest, store


def _check_data(config: TrainConfig, folder: RunFolder, warm_start: WarmStart, manifest: Manifest) -> None:
    """Refuse data that changed since the run, or the one whose round 0 it takes over, began, or that its teachers were
    trained on; raises RunError.
    """
    warm_start.check_data(manifest)
    check_teachers(find_teachers(config, folder), manifest, config)
    if folder.manifest_file.is_file() and folder.config_file.is_file():
        _refuse_other_corrections(folder, manifest)
        refuse_changed_data(folder, manifest)


def _keep_manifest(folder: RunFolder, manifest: Manifest) -> None:
    """Write manifest, corrections and class list."""
    write_manifest(folder.manifest_file, manifest.frame)
    if manifest.corrections.empty:
        folder.corrections_file.unlink(missing_ok=True)
    else:
        write_applied(folder.corrections_file, manifest.corrections)
    save_truth(manifest, folder.path)
    write_json(folder.path / "classes.json", manifest.classes)


def corrections_found(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """Return the configuration; if the file of corrections is gone, with those that the run has kept."""
    name = config.data.corrections
    if name is None or find(name, data_root(config)).is_file() or not folder.corrections_file.is_file():
        return config
    console.print(f"data.corrections={name} is not there any more: {folder.corrections_file} is used", soft_wrap=True)
    return with_own_corrections(config, folder)


def with_own_corrections(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """Return the configuration with the corrections that the run has kept, if any."""
    kept = str(folder.corrections_file) if folder.corrections_file.is_file() else None
    return dataclasses.replace(config, data=dataclasses.replace(config.data, corrections=kept))


def _refuse_other_corrections(folder: RunFolder, manifest: Manifest) -> None:
    changed = lines_that_differ(csv_text(folder.corrections), csv_text(manifest.corrections))
    if changed:
        raise RunError(
            f"{folder.path}: data.corrections is not what this run began with ({changed} decisions differ from "
            "corrections.csv): give the run another name with run=NAME, or delete the folder"
        )


def refuse_other_start(folder: RunFolder, start: str | None) -> None:
    """Raise RunError if networks start from other weights, by their SHA-256, than those that the run began with."""
    if not (folder.config_file.is_file() and folder.start_file.is_file()):
        return
    if read_json(folder.start_file, AGAIN).get("sha256") != start:
        raise RunError(
            f"{folder.path}: the weights that networks start from are not those that this run began with "
            f"(model.network; {folder.start_file.name}): put them back, or give the run another name with run=NAME"
        )


def refuse_changed_data(folder: RunFolder, manifest: Manifest) -> None:
    """Raise RunError if the data set is not the one that the run began with."""
    folder.check("manifest.csv")
    with damage_reported(folder.manifest_file, AGAIN):
        before = folder.manifest_file.read_text(encoding="utf-8")
    changed = lines_that_differ(before, manifest_text(manifest.frame))
    if changed:
        raise RunError(
            f"{folder.path}: the data set has changed since this run began "
            f"({changed} rows of manifest.csv): give the run another name with run=NAME, or delete the folder"
        )

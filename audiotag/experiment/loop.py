"""The loop: rounds of cells, each round trained on what the one before accepted, and the best round of all."""

from __future__ import annotations

import contextlib
import dataclasses
import time
from collections.abc import Iterator
from functools import partial

from rich.text import Text

from audiotag.config import TrainConfig
from audiotag.console import console, progress
from audiotag.data.datamodule import cell_clips
from audiotag.data.manifest import Manifest, data_root, save_manifest, save_truth
from audiotag.data.sources.csv_table import find
from audiotag.data.store import Store, manifest_and_store
from audiotag.distributed import context
from audiotag.errors import AudiotagError, DiskFullError, RunError
from audiotag.experiment.checks import check_run
from audiotag.experiment.fit import fit_cell
from audiotag.experiment.progress import ProgressDisplay
from audiotag.experiment.scheduler import cells_to_fit, cells_together
from audiotag.experiment.warm_start import WarmStart
from audiotag.files import FileLock, csv_text, damage_reported, write_csv, write_json, write_text
from audiotag.run.folder import AGAIN, Cell, RunFolder
from audiotag.run.ledgers import round_ledger, write_ledger
from audiotag.run.summary import print_summary, write_summary
from audiotag.run.warnings_log import warnings_to
from audiotag.tracking.experiment_runs import check_trackers, track_summary


def run_experiment(config: TrainConfig) -> float | None:
    """Do what is missing of a run: prepare the data, fit every cell, decide every round, choose the best.

    All processes of a job call it. Returns the mean validation loss of the best complete round, None where no round is
    complete yet.
    """
    started_s = time.monotonic()
    # Absolute, so that the run can be read from any working folder.
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=str(data_root(config))))
    folder, start = check_run(config)
    check_trackers(config, folder)
    manifest, store = prepare(config, folder, start)
    context.assert_same_on_all_ranks(f"The data set of {folder.path}", csv_text(manifest.frame))
    check_clips_for_ranks(config, manifest)
    with warnings_to(folder.path / "warnings.log"):
        run_cells(config, folder, manifest, store)
    return _finish(config, folder, manifest, store, started_s) if context.is_job_leader() else None


def check_clips_for_ranks(config: TrainConfig, manifest: Manifest) -> None:
    """Raise AudiotagError where a network would be trained on fewer clips than processes fit it together."""
    round_, everything = min(config.finetune_rounds, 1), config.data.train_on_all
    fewest = min(len(cell_clips(manifest, round_, fold, set(), everything).train) for fold in range(config.folds))
    if fewest < context.current().world_size:
        raise AudiotagError(
            f"devices={context.current().world_size}: some fold has only {fewest} clips to train on, and each process "
            f"needs one: set devices={fewest} or less"
        )


def _finish(config: TrainConfig, folder: RunFolder, manifest: Manifest, store: Store, started_s: float) -> float | None:
    """Write ledger and summary; return the mean validation loss of the best round."""
    # Jobs side by side end together; the last one to write must have seen what the others completed.
    with FileLock(folder.path / ".summary.lock"):
        ledger = write_ledger(folder)
        summary = write_summary(folder, manifest, store, ledger, time.monotonic() - started_s)
    track_summary(config, folder, summary, ledger)
    if config.fold is None or len(summary["rounds"]) > folder.config.finetune_rounds:
        print_summary(summary, folder)
    else:  # a job of a sweep over folds
        console.print(
            f"Complete rounds: {len(summary['rounds'])} of {config.finetune_rounds + 1}. Results: {folder.path}",
            soft_wrap=True,
        )
    best = summary["best_round"]
    return None if best is None else next(r["valid_loss"] for r in summary["rounds"] if r["round"] == best)


def prepare(config: TrainConfig, folder: RunFolder, start: WarmStart) -> tuple[Manifest, Store]:
    """Check everything that can be checked before hours of work; make the manifest and the spectrogram store.

    One process after another: the first does the work, the others find it done. Data that are refused leave no folder.
    """
    new = [place for place in folder.path.parents if not place.exists()]
    lock = folder.path / ".prepare.lock"
    try:
        with FileLock(lock):
            try:
                return _prepared(config, folder, start)
            except AudiotagError:
                if [path.name for path in folder.path.iterdir()] == [lock.name]:
                    lock.unlink()
                    with contextlib.suppress(OSError):  # others may have made something in one meanwhile
                        for place in (folder.path, *new):
                            place.rmdir()
                raise
    except FileNotFoundError as error:
        if folder.path.exists():
            raise
        raise RunError(
            f"{folder.path} was removed by another process, whose data were refused: start the command again"
        ) from error


def _prepared(config: TrainConfig, folder: RunFolder, start: WarmStart) -> tuple[Manifest, Store]:
    folder.refuse_other(config)  # once more: another process may have begun the run since
    manifest, store = manifest_and_store(corrections_found(config, folder), partial(_check_data, folder, start))
    # Nothing is kept before: data that cannot be trained on may be corrected, and the run begun anew.
    _keep_manifest(folder, manifest)
    folder.save(config)
    silent = store.silent(manifest.train)
    if silent.any():
        console.print(
            Text("silent:", "yellow"),
            f"{silent.sum()} clips are silent throughout and kept untrimmed (see summary.json)",
            soft_wrap=True,
        )
    start.take_over()
    return manifest, store


def _check_data(folder: RunFolder, start: WarmStart, manifest: Manifest) -> None:
    """Refuse data that changed since the run, or the one whose round 0 it takes over, began; raises RunError."""
    start.check_data(manifest)
    if folder.manifest_file.is_file() and folder.config_file.is_file():
        _refuse_other_corrections(folder, manifest)
        refuse_changed_data(folder, manifest)


def _keep_manifest(folder: RunFolder, manifest: Manifest) -> None:
    """Write manifest, corrections and class list."""
    save_manifest(manifest, folder.manifest_file)
    if manifest.corrections.empty:
        folder.corrections_file.unlink(missing_ok=True)
    else:
        write_csv(folder.corrections_file, manifest.corrections)
    save_truth(manifest, folder.path)
    write_json(folder.path / "classes.json", manifest.classes)


def corrections_found(config: TrainConfig, folder: RunFolder) -> TrainConfig:
    """Return the configuration; where the file of corrections is gone, with those that the run has kept."""
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
    before, now = (set(csv_text(table).splitlines()) for table in (folder.corrections, manifest.corrections))
    if before != now:
        raise RunError(
            f"{folder.path}: data.corrections is not what this run began with ({len(before ^ now)} decisions differ "
            "from corrections.csv): give the run another name with run=NAME, or delete the folder"
        )


def refuse_changed_data(folder: RunFolder, manifest: Manifest) -> None:
    """Raise RunError where the data set is not the one that the run began with."""
    folder.check("manifest.csv")
    with damage_reported(folder.manifest_file, AGAIN):
        before = folder.manifest_file.read_text(encoding="utf-8")
    changed = len(set(before.splitlines()) ^ set(csv_text(manifest.frame).splitlines()))
    if changed:
        raise RunError(
            f"{folder.path}: the data set has changed since this run began "
            f"({changed} rows of manifest.csv): give the run another name with run=NAME, or delete the folder"
        )


def run_cells(config: TrainConfig, folder: RunFolder, manifest: Manifest, store: Store) -> None:
    """Fit the cells that are asked for and missing, in order, beside other processes that do the same."""
    rounds = range(config.finetune_rounds + 1) if config.round is None else [config.round]
    folds = range(config.folds) if config.fold is None else [config.fold]
    asked = [Cell(r, f) for r in rounds for f in folds if folder.status(Cell(r, f)) is None]
    with progress("%") as bar:
        board = ProgressDisplay(config, folder, manifest, asked, bar)
        cells = cells_to_fit(folder, asked, config.hardware.wait_s, board.look)
        for cell in cells_together(cells):
            accepted = context.broadcast(_accepted_before(folder, cell) if context.is_rank_zero() else set())
            with _failure_noted(folder, cell):
                fit_cell(config, folder, manifest, store, cell, accepted, board.counter(cell))
            board.look()
        board.look()  # others may have completed the last ones


@contextlib.contextmanager
def _failure_noted(folder: RunFolder, cell: Cell) -> Iterator[None]:
    """Leave a note of an error in the cell's folder, for processes that wait for the cell."""
    try:
        yield
    except Exception as error:
        with contextlib.suppress(OSError, DiskFullError):  # the error itself is what matters
            write_text(folder.failure(cell), f"{type(error).__name__}: {error}\n")
        raise


def _accepted_before(folder: RunFolder, cell: Cell) -> set[str]:
    """Return the clips that the round before accepted."""
    if cell.round == 0:
        return set()
    ledger = round_ledger(folder, cell.round - 1, folder.config.verification)
    return set(ledger[ledger["accepted"] == 1]["clip_id"])

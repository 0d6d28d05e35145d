"""The loop: rounds of cells, each round trained on what the one before accepted, and the best round of all."""

from __future__ import annotations

import dataclasses
import logging
import time
from pathlib import Path
from typing import Any

from audiotag.config import TrainConfig
from audiotag.console import console, progress
from audiotag.data.manifest import Manifest, build_manifest, data_root, save_manifest, save_truth
from audiotag.data.store import Store, build_store
from audiotag.errors import RunError
from audiotag.experiment.cells import fit_cell, schedule
from audiotag.experiment.hardware import choose_device
from audiotag.experiment.ledgers import round_ledger, write_ledger
from audiotag.experiment.run_folder import Cell, RunFolder, find_run
from audiotag.experiment.summary import print_summary, write_summary
from audiotag.experiment.tracking import check_trackers, track_summary
from audiotag.experiment.warnings_log import warnings_to
from audiotag.files import csv_text, write_json


def run_experiment(config: TrainConfig) -> float | None:
    """Do what is missing of a run: prepare the data, fit every cell, decide every round, choose the best.

    Returns the mean validation loss of the best complete round, None where no round is complete yet.
    """
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its notes on devices, at every fit
    started_s = time.monotonic()
    choose_device(config.hardware)  # refuses one that is not there
    # Absolute, so that the run can be read from any working folder.
    config = dataclasses.replace(config, data=dataclasses.replace(config.data, root=str(data_root(config))))
    folder = find_run(named(config), config.runs_dir)
    check_trackers(config, folder)
    manifest, store = prepare(config, folder)
    with warnings_to(folder.path / "warnings.log"):
        run_cells(config, folder, manifest, store)
    ledger = write_ledger(folder)
    summary = write_summary(folder, manifest, store, ledger, time.monotonic() - started_s)
    track_summary(config, folder, summary, ledger)
    print_summary(summary, folder)
    best = summary["best_round"]
    return None if best is None else next(r["valid_loss"] for r in summary["rounds"] if r["round"] == best)


def named(config: TrainConfig) -> str:
    """Return the run's name; raises RunError where nobody has given or made one."""
    if config.run is None:
        raise RunError("run=NAME is missing: train.py makes a name from what was chosen, other callers give one")
    return config.run


def prepare(config: TrainConfig, folder: RunFolder) -> tuple[Manifest, Store]:
    """Check everything that can be checked before hours of work; make the manifest and the spectrogram store."""
    if folder.config_file.is_file():
        folder.save(config)  # refuses other settings before any audio is read
    manifest = build_manifest(config)
    _keep_manifest(folder, manifest)
    folder.save(config)
    store = build_store(manifest, config.features, Path(config.cache_dir).absolute(), config.hardware.workers)
    silent = store.silent(manifest.train)
    if silent.any():
        console.print(
            f"[yellow]silent:[/] {silent.sum()} clips are silent throughout and kept untrimmed (see summary.json)",
            soft_wrap=True,
        )
    return manifest, store


def _keep_manifest(folder: RunFolder, manifest: Manifest) -> None:
    """Write the manifest and class list, or refuse data that changed since the run began; raises RunError."""
    text = csv_text(manifest.frame)
    if folder.manifest_file.is_file() and folder.config_file.is_file():
        before = folder.manifest_file.read_text(encoding="utf-8")
        changed = len(set(before.splitlines()) ^ set(text.splitlines()))
        if changed:
            raise RunError(
                f"{folder.path}: the data set has changed since this run began "
                f"({changed} rows of manifest.csv): give the run another name with run=NAME, or delete the folder"
            )
    save_manifest(manifest, folder.manifest_file)
    save_truth(manifest, folder.path / "truth.csv")
    write_json(folder.path / "classes.json", manifest.classes)


def run_cells(config: TrainConfig, folder: RunFolder, manifest: Manifest, store: Store) -> None:
    """Fit the cells that are asked for and missing, in order."""
    rounds = range(config.rounds + 1) if config.round is None else [config.round]
    folds = range(config.folds) if config.fold is None else [config.fold]
    missing = [Cell(r, f) for r in rounds for f in folds if folder.status(Cell(r, f)) is None]
    if not missing:
        return
    work = [_work(config, manifest, cell) for cell in missing]
    with progress() as bar:
        task = bar.add_task("", total=sum(work))
        for i, cell in enumerate(missing):
            bar.update(
                task, description=f"Round {cell.round} of {config.rounds}, fold {cell.fold}", completed=sum(work[:i])
            )
            accepted = _accepted_before(folder, manifest, cell)
            fit_cell(config, folder, manifest, store, cell, accepted, lambda clips: bar.advance(task, clips))
            bar.console.print(_line(cell, folder.status(cell) or {}), soft_wrap=True)


def _work(config: TrainConfig, manifest: Manifest, cell: Cell) -> float:
    """Estimate how many clips a cell passes through the network, for the progress bar."""
    clips = manifest.train
    outside, unverified = clips["fold"] != cell.fold, clips["verified"] == "0"
    # How many labels will be accepted is not known yet: half of them, say.
    n_train = int(outside.sum() - (outside & unverified).sum() / 2 * (cell.round > 0))
    votes = (~outside).sum() * config.verification.excerpts / 3
    return float(schedule(config, cell.round, n_train).epochs * n_train + votes)


def _line(cell: Cell, result: dict[str, Any]) -> str:
    return (
        f"round {cell.round}, fold {cell.fold}: trained on {result['trained_on']} clips, validation accuracy "
        f"{result['valid_accuracy']:.4f}, loss {result['valid_loss']:.4f} (epoch {result['best_epoch']}), "
        f"{result['wall_s']:.0f} s"
    )


def _accepted_before(folder: RunFolder, manifest: Manifest, cell: Cell) -> set[str]:
    """Return the clips that the round before accepted; raises RunError where its cells are not complete."""
    if cell.round == 0:
        return set()
    needed = [Cell(cell.round - 1, f) for f in range(folder.config.folds)]
    missing = [str(other) for other in needed if folder.status(other) is None]
    if missing:
        raise RunError(
            f"{cell} needs the votes of all folds of the round before; missing: {'; '.join(missing)}. "
            "Run these first; in a sweep put round before fold, as in -m 'round=range(0,4)' fold=0,1,2,3"
        )
    ledger = round_ledger(folder, cell.round - 1, folder.config.verification)
    return set(ledger[ledger["accepted"] == 1]["clip_id"])

"""Consensus once more, from the checkpoints of a run: with another number of excerpts, or on other devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from audiotag.config import TrainConfig, VerifyConfig
from audiotag.console import progress
from audiotag.data.datamodule import cell_clips
from audiotag.data.manifest import Manifest
from audiotag.data.store import Store, manifest_and_store
from audiotag.distributed import context
from audiotag.distributed.hardware import set_numerics
from audiotag.experiment.fit import build_data, build_tagger, build_trainer, read_training_clips
from audiotag.experiment.prepare import refuse_changed_data, with_own_corrections
from audiotag.experiment.schedule import schedule
from audiotag.experiment.verify import missing_cells, of_run_here
from audiotag.models.weights import load_weights
from audiotag.run.folder import Cell, RunFolder, find_run
from audiotag.verification.consensus import Consensus


def rescore(config: VerifyConfig) -> None:
    """Score the held-out clips of every complete cell that is asked for and missing, shared out among the ranks.

    Random excerpts are those of the run, so that the same K gives the same posteriors. All processes of a job call it.
    Raises RunError where the data set has changed since the run.
    """
    folder = find_run(config.run, config.runs_dir)
    of_run = with_own_corrections(of_run_here(folder.config, config), folder)
    manifest, store = manifest_and_store(of_run, partial(refuse_changed_data, folder))
    set_numerics(of_run.hardware)
    todo = context.broadcast(missing_cells(folder, config))
    with progress("clips") as bar:
        task = bar.add_task("", total=len(todo) * len(manifest.train) // of_run.folds)
        voted = partial(bar.advance, task, context.current().world_size)
        for cell in todo:
            bar.update(task, description=f"Voting: round {cell.round}, fold {cell.fold}")
            vote_again(of_run, folder, manifest, store, cell, voted)


def vote_again(
    config: TrainConfig, folder: RunFolder, manifest: Manifest, store: Store, cell: Cell, voted: Callable[[], None]
) -> None:
    """Write the posteriors that a complete cell's best network gives, with `config.verification.excerpts` each."""
    trained_on = read_training_clips(folder, cell)
    all_of_cell = cell_clips(manifest, 0, cell.fold, set(), train_on_all=False)
    clips = dataclasses.replace(all_of_cell, train=manifest.train.loc[sorted(trained_on)])
    phase = schedule(config, cell.round, len(clips.train))
    data = build_data(config, clips, manifest.classes, store, cell, phase)
    excerpts = config.verification.excerpts
    where = RunFolder(folder.rescored(excerpts)).cell(cell)
    tagger = build_tagger(config, manifest.classes, cell, folder, phase)
    load_weights(tagger.network, folder.checked(cell, "best.ckpt"), folder.best_epoch(cell))
    consensus = Consensus(where, excerpts, (config.seed, cell.round), voted)
    data.trainer = build_trainer(config, where, phase, [consensus])
    data.setup("predict")
    consensus.vote(data.trainer, tagger, data)

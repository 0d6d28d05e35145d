"""Consensus once more, from the checkpoints of a run: with another number of excerpts, or on other devices."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from functools import partial

from audiotag.config import VerifyConfig
from audiotag.console import progress
from audiotag.data.datamodule import cell_clips
from audiotag.data.store import manifest_and_store
from audiotag.distributed import context
from audiotag.distributed.hardware import set_numerics
from audiotag.experiment.fit import build_data, build_tagger, build_trainer, read_training_clips
from audiotag.experiment.prepare import Experiment, refuse_changed_data, with_own_corrections
from audiotag.experiment.verify import as_of_now, missing_cells
from audiotag.models.weights import load_weights
from audiotag.run.folder import Cell, RunFolder, find_run
from audiotag.verification.consensus import Consensus


def vote_again(config: VerifyConfig) -> None:
    """Score the held-out clips of every complete cell that is asked for and missing, shared out among the ranks.

    Random excerpts are those of the run, so that the same K gives the same posteriors. All processes of a job call it.
    Raises RunError where the data set has changed since the run.
    """
    folder = find_run(config.run, config.runs_dir)
    of_run = with_own_corrections(as_of_now(folder.config, config), folder)
    manifest, store = manifest_and_store(of_run, partial(refuse_changed_data, folder))
    set_numerics(of_run.hardware)
    todo = context.broadcast(missing_cells(folder, config))
    experiment = Experiment(of_run, folder, manifest, store)
    with progress("clips") as bar:
        task = bar.add_task("", total=len(todo) * len(manifest.train) // of_run.folds)
        voted = partial(bar.advance, task, context.current().world_size)
        for cell in todo:
            bar.update(task, description=f"Voting: {cell}")
            _vote(experiment, cell, voted)


def _vote(experiment: Experiment, cell: Cell, voted: Callable[[], None]) -> None:
    """Write the posteriors that a complete cell's best network gives, with `config.verification.excerpts` each."""
    config, folder, manifest, _ = experiment[:4]
    held_out = cell_clips(manifest, 0, cell.fold, None, train_on_all=False)
    trained_on = sorted(read_training_clips(folder, cell))
    clips = dataclasses.replace(held_out, train=manifest.train.loc[trained_on])
    phase = config.training.schedule(cell.round, len(clips.train))
    data, tagger = build_data(experiment, cell, clips, phase), build_tagger(experiment, cell, phase)
    load_weights(tagger.network, folder.checked(cell, "best.ckpt"), folder.best_epoch(cell))
    where = RunFolder(folder.votes_folder(config.verification.excerpts)).cell(cell)
    consensus = Consensus(where, config.verification.excerpts, (config.seed, cell.round), voted)
    data.trainer = build_trainer(config, where, phase, [consensus])
    data.setup("predict")
    consensus.vote(data.trainer, tagger, data)

"""The method (paper section 4), round by round: fit, vote, accept, fit on what was accepted; then choose a round."""

from __future__ import annotations

import dataclasses
import time

import pandas as pd

from audiotag.config import TrainConfig
from audiotag.console import console
from audiotag.data.datamodule import cell_clips
from audiotag.distributed import context
from audiotag.experiment.distil import learn_from
from audiotag.experiment.fit import fit_cell
from audiotag.experiment.prepare import Experiment, prepare
from audiotag.experiment.progress import progress_of_cells
from audiotag.experiment.scheduler import cells_to_fit, on_all_ranks
from audiotag.files import FileLock
from audiotag.run.folder import RunFolder
from audiotag.run.ledgers import keep_round, round_votes, write_ledger
from audiotag.run.summary import print_summary, write_summary
from audiotag.run.warnings_log import warnings_to
from audiotag.tracking.summary import track_summary
from audiotag.verification.consensus import Consensus
from audiotag.verification.ledger import decide_round
from audiotag.verification.rules import rule_of


def run_experiment(config: TrainConfig) -> float | None:
    """Do what is missing of a run; return the mean validation loss of its best round, None if no round is complete.

    All processes of a job call it. A cell is one (round, fold): what others are at work on, or have done, is not done
    again. Raises AudiotagError subclasses for whatever its user can mend.
    """
    started_s = time.monotonic()
    experiment = prepare(config)
    config, folder, manifest, _ = experiment[:4]
    with warnings_to(folder.path / "warnings.log"), progress_of_cells(experiment) as display:
        for cell in on_all_ranks(cells_to_fit(folder, display.cells, config.hardware.wait_s, display.look)):
            accepted = context.broadcast(accept(folder, cell.round - 1) if context.is_rank_zero() else None)
            clips = cell_clips(manifest, cell.round, cell.fold, accepted, config.data.train_on_all)
            clips = dataclasses.replace(clips, targets=learn_from(experiment, cell.fold))
            # A callback: when the fit ends, the cell's best network votes on the clips that its fold holds out.
            seed_key = (config.seed, cell.round)
            consensus = Consensus(folder.cell(cell), config.verification.excerpts, seed_key, display.voted)
            fit_cell(experiment, cell, clips, consensus, display)
            if context.is_rank_zero():
                accept(folder, cell.round)  # once the last fold of the round has voted
    return choose_best_round(experiment, started_s) if context.is_job_leader() else None


def accept(folder: RunFolder, round_: int) -> pd.DataFrame | None:
    """Decide which labels to accept by a round's votes, and keep the decisions in `ledger.csv`; return those.

    They have `label` and, if training weighs them, `weight`, by clip id. Nothing is decided, None, until all folds have
    voted, nor before round 0, which trains on everything.
    """
    if round_ not in folder.complete_rounds() or folder.config.data.train_on_all:
        return None
    verification = folder.config.verification
    votes, rule = round_votes(folder, round_, verification), rule_of(verification)
    ledger = decide_round(round_, votes, folder.train, folder.classes, rule, folder.corrections)
    keep_round(folder, round_, ledger)
    accepted = ledger[ledger["accepted"] == 1].set_index("clip_id")
    weighted = folder.config.training.weights == "p_right"
    return accepted[["label"]].assign(**({"weight": accepted["p_right"].fillna(1.0)} if weighted else {}))


def choose_best_round(experiment: Experiment, started_s: float) -> float | None:
    """Write ledger and summary, whose best round has the lowest mean validation loss; return that loss."""
    config, folder, manifest, store = experiment[:4]
    # Jobs side by side end together; the last one to write must have seen what the others completed.
    with FileLock(folder.path / ".summary.lock"):
        ledger = write_ledger(folder)
        summary = write_summary(folder, manifest, store, ledger, time.monotonic() - started_s)
    track_summary(config, folder, summary, ledger)
    if config.fold is None or len(summary["rounds"]) > folder.config.finetune_rounds:
        print_summary(summary, folder, ledger)
    else:  # a job of a sweep over folds
        complete = f"{len(summary['rounds'])} of {config.finetune_rounds + 1}"
        console.print(f"Complete rounds: {complete}. Results: {folder.path}", soft_wrap=True)
    best = summary["best_round"]
    return None if best is None else next(r["valid_loss"] for r in summary["rounds"] if r["round"] == best)

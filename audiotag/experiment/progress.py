"""What a person sees of the cells: a bar over all the work, and a line per finished cell, whoever finished it."""

from __future__ import annotations

import contextlib
import time
from collections.abc import Iterator
from typing import Any

from rich.progress import Progress

from audiotag.config import TrainConfig
from audiotag.console import progress
from audiotag.data.manifest import Manifest
from audiotag.distributed import context
from audiotag.experiment.prepare import Experiment
from audiotag.run.folder import Cell, RunFolder

LOOK_EVERY_S = 0.5


@contextlib.contextmanager
def progress_of_cells(experiment: Experiment) -> Iterator[ProgressDisplay]:
    """Show in the block how the cells get on that are asked for and not complete yet."""
    config, folder, manifest, _ = experiment[:4]
    rounds = range(config.finetune_rounds + 1) if config.round is None else [config.round]
    folds = range(config.folds) if config.fold is None else [config.fold]
    asked = [Cell(r, f) for r in rounds for f in folds if folder.status(Cell(r, f)) is None]
    with progress("%") as bar:
        display = ProgressDisplay(config, folder, manifest, asked, bar)
        yield display
        display.look()  # others may have completed the last ones


class ProgressDisplay:
    """Shows the cells asked for; what other processes do is read from the run folder."""

    def __init__(self, config: TrainConfig, folder: RunFolder, manifest: Manifest, asked: list[Cell], bar: Progress):
        self.folder, self.cells, self.bar = folder, asked, bar
        # A forward pass is a third of a training step, and every rank votes on its share of the clips.
        self.clips_per_vote = config.verification.excerpts / 3 * context.current().world_size
        self.epochs = {cell: _epochs_and_votes(config, manifest, cell) for cell in asked}
        self.work = {cell: epochs * clips + votes for cell, (epochs, clips, votes) in self.epochs.items()}
        self.done = dict.fromkeys(asked, 0.0)
        self.shown: set[Cell] = set()
        self.own: Cell | None = None
        self.looked_s = 0.0
        self.task = bar.add_task("", total=sum(self.work.values()), visible=bool(asked))

    def begin(self, cell: Cell) -> None:
        """Show that this process works on a cell."""
        self.own = cell
        epochs, clips_per_epoch, _ = self.epochs[cell]
        self.done[cell] = clips_per_epoch * min(epochs, self._epochs_done(cell))  # of a process before this one
        self.bar.update(self.task, description=str(cell).capitalize())

    def advance(self, clips: float, doing: str) -> None:
        """Show that the own cell has passed so many more clips through its network, and what it does."""
        assert self.own is not None
        self.done[self.own] += clips
        self.bar.update(self.task, description=f"{str(self.own).capitalize()}, {doing}")
        if time.monotonic() - self.looked_s > LOOK_EVERY_S:
            self.look()

    def voted(self) -> None:
        """Show that the own cell has voted on one more clip."""
        self.advance(self.clips_per_vote, "voting")

    def look(self) -> None:
        """Show what has come since the last look."""
        self.looked_s = time.monotonic()
        for cell in sorted(self.done.keys() - self.shown):
            result = self.folder.status(cell)
            if result is not None:
                self.shown.add(cell)
                self.done[cell] = self.work[cell]
                self.bar.console.print(_line(cell, result), soft_wrap=True)
            elif cell != self.own:
                epochs, clips, _ = self.epochs[cell]
                self.done[cell] = clips * min(epochs, self._epochs_done(cell))
        self.bar.update(self.task, completed=sum(min(self.done[cell], self.work[cell]) for cell in self.done))

    def _epochs_done(self, cell: Cell) -> int:
        metrics = self.folder.cell(cell) / "metrics.csv"
        return max(0, len(metrics.read_bytes().splitlines()) - 1) if metrics.is_file() else 0


def _epochs_and_votes(config: TrainConfig, manifest: Manifest, cell: Cell) -> tuple[int, int, float]:
    """Estimate a cell's work: epochs, clips per epoch, and what voting on held-out clips costs, in clips."""
    clips = manifest.train
    outside, unverified = clips["fold"] != cell.fold, ~clips["verified"]
    # How many labels will be accepted is not known yet: half of them, say.
    n_train = int(outside.sum() - (outside & unverified).sum() / 2 * (cell.round > 0))
    votes = float((~outside).sum() * config.verification.excerpts / 3)
    return config.training.schedule(cell.round, n_train).epochs, n_train, votes


def _line(cell: Cell, result: dict[str, Any]) -> str:
    return (
        f"{cell}: {result['trained_on']} clips, accuracy {result['valid_accuracy']:.4f}, "
        f"loss {result['valid_loss']:.4f}, best after epoch {result['best_epoch'] + 1}, {result['wall_s']:.0f} s"
    )

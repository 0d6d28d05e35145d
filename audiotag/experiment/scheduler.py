"""Which cell to fit next, and waiting for what other processes fit: they meet in the run folder and nowhere else."""

from __future__ import annotations

import os
import time
from collections.abc import Callable, Iterator
from itertools import groupby

from audiotag.console import console
from audiotag.distributed import context
from audiotag.distributed.processes import SWEEP_STARTED
from audiotag.errors import RunError
from audiotag.files import remove_leftovers
from audiotag.run.folder import Cell, RunFolder, taken

POLL_S = 0.5
SAY_AFTER_S = 5.0  # a round's end is never at the same moment for all
ADVICE = (
    "Start them too, at the same time or before: in a multirun sweep over rounds as well as folds, as in "
    "-m 'round=range(0,4)' fold=0,1,2,3, or give it as many jobs at once as there are folds. "
    "hardware.wait_s= waits longer"
)


def on_all_ranks(cells: Iterator[Cell]) -> Iterator[Cell]:
    """Yield on every rank the cells that rank zero takes from its iterator."""
    while (cell := context.broadcast(next(cells, None) if context.is_rank_zero() else None)) is not None:
        yield cell


def cells_to_fit(folder: RunFolder, asked: list[Cell], wait_s: float, look: Callable[[], None]) -> Iterator[Cell]:
    """Yield cells that are not complete and not in work elsewhere, each locked until the next is asked for.

    A cell of a later round waits for the votes of all folds of the round before. `look` is called while waiting.
    Raises RunError where nobody has worked on what is waited for during `wait_s` seconds, or another process failed.
    """
    waiting = _Waiting(folder, wait_s)
    while pending := [cell for cell in asked if folder.status(cell) is None]:
        for cell in pending:
            if not missing_before(folder, cell):
                with taken(folder, cell) as mine:
                    # Between the look above and the lock, another process may have completed it.
                    if mine and folder.status(cell) is None:
                        remove_leftovers(folder.cell(cell))  # of checkpoints, they are large
                        yield cell
                        waiting = _Waiting(folder, wait_s)
                if mine:
                    break
        else:
            waiting.check(pending[0])
            look()
            time.sleep(POLL_S)


def missing_before(folder: RunFolder, cell: Cell) -> list[Cell]:
    """Return the incomplete cells of the round before, whose votes a cell needs."""
    before = folder.cells(cell.round - 1) if cell.round else []
    return [other for other in before if folder.status(other) is None]


class _Waiting:
    """Knows since when nobody has worked on what a cell needs."""

    def __init__(self, folder: RunFolder, wait_s: float) -> None:
        self.folder, self.wait_s = folder, wait_s
        # What failed in this sweep before this job began, no job of it will do again.
        self.failures_since = float(os.environ.get(SWEEP_STARTED, time.time()))
        self.since_s = self.idle_since_s = time.monotonic()
        self.said = ""

    def check(self, cell: Cell) -> None:
        """Say what is waited for; raises RunError if waiting is in vain."""
        needed = missing_before(self.folder, cell) or [cell]
        if time.monotonic() - self.since_s > SAY_AFTER_S:
            self._say(f"waiting for {_named(needed)}, which other processes are to complete")
        earlier = [cell for round_ in range(needed[0].round + 1) for cell in self.folder.cells(round_)]
        in_work = [other for other in earlier if self._in_work(other)]
        if in_work:
            self.idle_since_s = time.monotonic()
        for other in needed:
            failure = self.folder.failure(other)
            if other not in in_work and failure.is_file() and failure.stat().st_mtime > self.failures_since:
                text = failure.read_text(encoding="utf-8").strip().splitlines()
                raise RunError(f"{cell} needs {other}, which failed in another process: {text[-1]} ({failure})")
        if time.monotonic() - self.idle_since_s > self.wait_s:
            raise RunError(
                f"{cell} needs the votes of all folds of the round before; missing: {_named(needed)}. Nobody has "
                f"worked on them for {self.wait_s:g} s. {ADVICE}"
            )

    def _in_work(self, cell: Cell) -> bool:
        lock = self.folder.cell(cell) / ".lock"
        if self.folder.status(cell) is not None or not lock.is_file():
            return False
        with taken(self.folder, cell) as free:
            return not free

    def _say(self, text: str) -> None:
        if text != self.said:
            console.print(text, soft_wrap=True)
            self.said = text


def _named(cells: list[Cell]) -> str:
    """Name cells, the folds of a round together."""
    rounds = groupby(sorted(cells), key=lambda cell: cell.round)
    named = [(number, [str(cell.fold) for cell in group]) for number, group in rounds]
    return "; ".join(f"round {number}, fold{'s' * (len(folds) > 1)} {', '.join(folds)}" for number, folds in named)

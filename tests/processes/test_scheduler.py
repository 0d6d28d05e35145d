"""Which cell comes next, held by real locks of real processes."""

from __future__ import annotations

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from audiotag.config import TrainConfig
from audiotag.distributed.processes import SWEEP_STARTED
from audiotag.errors import RunError
from audiotag.experiment.scheduler import cells_to_fit
from audiotag.run.folder import Cell, RunFolder


def make_folder(path: Path, folds: int = 2, finetune_rounds: int = 1) -> RunFolder:
    folder = RunFolder(path)
    folder.save(TrainConfig(folds=folds, finetune_rounds=finetune_rounds))
    return folder


def all_cells(folder: RunFolder) -> list[Cell]:
    return [Cell(r, f) for r in range(folder.config.finetune_rounds + 1) for f in range(folder.config.folds)]


def fit(path: Path, wait_s: float, seconds: float, meet: threading.Barrier | None = None) -> list[Cell]:
    """Complete every cell that comes, `seconds` each, the first not before the others `meet`; return them."""
    folder, fitted = RunFolder(path), []
    for cell in cells_to_fit(folder, all_cells(folder), wait_s, lambda: None):
        if meet is not None and not fitted:
            meet.wait()
        time.sleep(seconds)
        folder.finish(cell, {})
        fitted.append(cell)
    return fitted


# What a process does that works on a cell, without what makes it slow to start.
HOLD = """
import filelock, pathlib, sys, time
where, seconds, complete = pathlib.Path(sys.argv[1]), float(sys.argv[2]), sys.argv[3] == "True"
where.mkdir(parents=True, exist_ok=True)
with filelock.FileLock(where / ".lock"):
    print("held", flush=True)
    time.sleep(seconds)
    if complete:
        (where / "failure.txt").unlink(missing_ok=True)
        (where / "status.json").write_text("{}")
"""


@pytest.fixture
def held() -> Iterator[Callable[..., subprocess.Popen[str]]]:
    """Start processes that lock a cell for a while and then complete it, or do not."""
    started = []

    def start(folder: RunFolder, cell: Cell, seconds: float, complete: bool = True) -> subprocess.Popen[str]:
        command = [sys.executable, "-c", HOLD, str(folder.cell(cell)), str(seconds), str(complete)]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True))
        assert started[-1].stdout.readline() == "held\n"
        return started[-1]

    yield start
    for process in started:
        process.kill()
        process.communicate()


def test_scheduler_gives_one_process_all_cells_in_order(tmp_path):
    folder = make_folder(tmp_path)
    assert fit(folder.path, 1, 0) == all_cells(folder)
    assert fit(folder.path, 1, 0) == []


def test_scheduler_shares_cells_among_workers_each_once(tmp_path):
    folder = make_folder(tmp_path, folds=3, finetune_rounds=2)
    both_have_one = threading.Barrier(2, timeout=60)
    with ThreadPoolExecutor(2) as pool:  # a lock held by one thread's file is not free for the other's
        shares = list(pool.map(lambda _: fit(folder.path, 60, 0.02, both_have_one), range(2)))
    assert sorted(shares[0] + shares[1]) == all_cells(folder)


def test_scheduler_waits_for_a_cell_in_work_elsewhere_however_long(tmp_path, held):
    folder = make_folder(tmp_path)
    held(folder, Cell(0, 1), seconds=3)
    assert fit(folder.path, 1, 0) == [Cell(0, 0), Cell(1, 0), Cell(1, 1)]


def test_scheduler_takes_over_a_cell_whose_process_was_killed(tmp_path, held):
    folder = make_folder(tmp_path)
    held(folder, Cell(0, 1), seconds=60).kill()
    assert fit(folder.path, 1, 0) == all_cells(folder)


def test_scheduler_gives_up_on_what_nobody_works_on(tmp_path):
    folder = make_folder(tmp_path, folds=3)
    folder.finish(Cell(0, 1), {})
    started_s = time.monotonic()
    with pytest.raises(RunError, match=r"round 1, fold 0 needs .* missing: round 0, folds 0, 2\. Nobody has worked"):
        list(cells_to_fit(folder, [Cell(1, 0)], 1.5, lambda: None))
    assert time.monotonic() - started_s > 1.5


def test_scheduler_waits_two_rounds_ahead_while_anything_before_is_in_work(tmp_path, held):
    folder = make_folder(tmp_path, finetune_rounds=2)
    other = held(folder, Cell(0, 0), seconds=4, complete=False)
    with pytest.raises(RunError, match="missing: round 1, folds 0, 1"):
        list(cells_to_fit(folder, [Cell(2, 0)], 1, lambda: None))
    assert other.poll() == 0, "it gave up while the other still worked"


def test_scheduler_ends_the_wait_at_a_failure_elsewhere(tmp_path):
    folder = make_folder(tmp_path)
    folder.finish(Cell(0, 0), {})
    cells = cells_to_fit(folder, [Cell(1, 0)], 60, lambda: folder.failure(Cell(0, 1)).write_text("RunError: no luck\n"))
    folder.cell(Cell(0, 1)).mkdir(parents=True)
    started_s = time.monotonic()
    with pytest.raises(RunError, match=r"needs round 0, fold 1, which failed .* no luck"):
        next(cells)
    assert time.monotonic() - started_s < 30


def test_scheduler_ends_the_wait_of_later_jobs_at_a_failure_in_the_same_sweep(tmp_path, monkeypatch):
    folder = make_folder(tmp_path)
    monkeypatch.setenv(SWEEP_STARTED, str(time.time()))
    folder.cell(Cell(0, 1)).mkdir(parents=True)
    folder.failure(Cell(0, 1)).write_text("RunError: of the job before\n")
    started_s = time.monotonic()
    with pytest.raises(RunError, match="of the job before"):
        next(cells_to_fit(folder, [Cell(1, 0)], 60, lambda: None))
    assert time.monotonic() - started_s < 30


def test_scheduler_does_not_end_the_wait_at_an_old_failure(tmp_path, held):
    folder = make_folder(tmp_path)
    folder.finish(Cell(0, 0), {})
    folder.cell(Cell(0, 1)).mkdir(parents=True)
    folder.failure(Cell(0, 1)).write_text("RunError: of an earlier job\n")
    os.utime(folder.failure(Cell(0, 1)), (1e9, 1e9))
    held(folder, Cell(0, 1), seconds=2)
    assert next(cells_to_fit(folder, [Cell(1, 0)], 60, lambda: None)) == Cell(1, 0)
    assert not folder.failure(Cell(0, 1)).exists(), "a complete cell has not failed"

"""How a process ended in words, what a job's tree inherits, and what is removed of killed ones."""

from __future__ import annotations

import os
import signal

import filelock

from audiotag.distributed.launch import is_rank
from audiotag.distributed.processes import describe
from audiotag.distributed.supervisor import environment_of_ranks
from audiotag.experiment.scheduler import cells_to_fit
from audiotag.run.folder import Cell, RunFolder
from tests.conftest import TOP


def test_process_end_is_described_in_words():
    assert describe(3) == "it ended with exit code 3"
    assert describe(-signal.SIGSEGV) == "it was ended by SIGSEGV"
    assert describe(128 + signal.SIGTERM) == "it was ended by SIGTERM"
    assert describe(255) == "it ended with exit code 255"


def test_rank_variables_are_neither_believed_nor_passed_on(monkeypatch):
    left_over = {"RANK": "1", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "MASTER_PORT": "1"}
    assert not is_rank(left_over)
    assert is_rank({**left_over, "TORCHELASTIC_RUN_ID": "none"})
    for name, value in {**left_over, "TORCHELASTIC_RUN_ID": "none", "TORCHELASTIC_USE_AGENT_STORE": "True"}.items():
        monkeypatch.setenv(name, value)
    monkeypatch.setenv("PYTHONPATH", f"mine{os.pathsep}{TOP}")
    environment = environment_of_ranks()
    assert not [name for name in environment if name in left_over or name.startswith("TORCHELASTIC")]
    assert environment["PYTHONPATH"] == os.pathsep.join([str(TOP), "mine"])


def test_cell_leftovers_are_removed_by_who_holds_the_cell_alone(tmp_path):
    folder = RunFolder(tmp_path)
    leftovers = []
    for fold in (0, 1):
        leftovers.append(folder.cell(Cell(0, fold)) / ".last.ckpt.1-abc.tmp")
        leftovers[fold].parent.mkdir(parents=True)
        leftovers[fold].touch()
        leftovers[fold].with_name("last.ckpt").touch()
    with filelock.FileLock(leftovers[0].with_name(".lock")):
        cell = next(cells_to_fit(folder, [Cell(0, 0), Cell(0, 1)], 1, lambda: None))
        assert cell == Cell(0, 1)
        assert [leftover.exists() for leftover in leftovers] == [True, False]
        assert all(leftover.with_name("last.ckpt").exists() for leftover in leftovers)

"""Real runs of the programs, made once per test session."""

from __future__ import annotations

import json
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import pytest

import audiotag  # noqa: F401 - before PyTorch: it sets how its threads wait

# A shell that starts the tests in its background has them ignore SIGINT, and so would the programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

TOP = Path(__file__).resolve().parent.parent
SMALL = ("experiment=smoke", "folds=2", "rounds=1")


def copy_to_change(run: Path, copy: Path) -> Path:
    """Copy a run without its checksums, as those made before there were any, so that a test may change its files."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("last.ckpt", "predict"))
    for file in copy.glob("round*/fold*/status.json"):
        status = json.loads(file.read_text())
        del status["sha256"]
        file.write_text(json.dumps(status))
    return copy


@pytest.fixture(scope="session")
def work_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose cache holds the embedded data and its spectrograms after the first run."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture(scope="session")
def program(work_folder: Path):
    """Call one of the programs as a person does: program("train.py", "experiment=smoke"); returns its output."""

    def call(name: str, *arguments: str, expected: int = 0) -> str:
        command = [sys.executable, str(TOP / name), *arguments]
        done = subprocess.run(command, cwd=work_folder, capture_output=True, text=True, timeout=600)
        output = done.stdout + done.stderr
        assert done.returncode == expected, f"{name} {arguments} exited with {done.returncode}:\n{output}"
        return output

    return call


@pytest.fixture(scope="session")
def small_run(work_folder: Path, program) -> Path:
    """The folder of a finished run of four cells, `SMALL`, made by one process."""
    program("train.py", *SMALL, "run=small")
    return work_folder / "runs" / "small"


@pytest.fixture(scope="session")
def smoke_run(work_folder: Path, program) -> Path:
    """The folder of a finished, unbroken run of experiment=smoke, with its report."""
    program("train.py", "experiment=smoke", "run=smoke", "report=true")
    return work_folder / "runs" / "smoke"

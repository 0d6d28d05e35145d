"""Real runs of the programs, made once per test session."""

from __future__ import annotations

import difflib
import json
import multiprocessing.process
import os
import shutil
import signal
import subprocess
import sys
from collections.abc import Callable, Generator
from pathlib import Path
from typing import Any, NoReturn

import filelock
import pytest
import soundfile

import audiotag  # before PyTorch: it sets how its threads wait
from tests.browser import chromium
from tests.clips import tune
from tests.programs import run_program, run_ranks

if "PYTEST_XDIST_WORKER" in os.environ:  # tests side by side: threads that spin would take each other's core
    os.environ.setdefault("OMP_NUM_THREADS", "1")

# A shell that starts the tests in its background has them ignore SIGINT, and so would the programs that they start.
signal.signal(signal.SIGINT, signal.default_int_handler)

TOP = Path(__file__).resolve().parent.parent
SMALL = ("experiment=smoke", "folds=2", "finetune_rounds=1")

FAST = ("unit", "configs", "golden")
# The files that take longest, in the order in which they begin: the last ones of all processes end at about the same
# time. The first three make a run each that the others share.
LONGEST = [
    "integration/test_faults.py", "integration/test_devices.py", "integration/test_predict.py",
    "integration/test_export.py", "integration/test_backbones.py", "integration/test_desk.py",
    "integration/test_report.py", "integration/test_tracking.py", "integration/test_ensemble.py",
    "integration/test_notebooks.py", "processes/test_launch.py", "integration/test_review.py",
    "configs/test_configs.py", "integration/test_extend.py", "integration/test_export_folder.py",
    "integration/test_loop.py", "integration/test_verify.py", "integration/test_sweeps.py",
    "integration/test_export_web.py", "integration/test_live_page.py", "integration/test_live.py",
    "integration/test_embedding.py", "integration/test_malformed.py", "processes/test_scheduler.py",
    "integration/test_api.py", "integration/test_download.py", "unit/test_promise.py",
]  # fmt: skip


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    order = {TOP / "tests" / name: number for number, name in enumerate(LONGEST)}
    items.sort(key=lambda item: order.get(item.path, len(order)))


@pytest.hookimpl(wrapper=True)
def pytest_runtest_protocol(item: pytest.Item) -> Generator[None, object, object]:
    """Let no test of the fast folders, nor a fixture of theirs, start a process or fit a network."""
    if item.path.relative_to(TOP / "tests").parts[0] not in FAST:
        return (yield)

    def refuse(what: str) -> Callable[..., NoReturn]:
        return lambda *_, **__: pytest.fail(f"{what}: such a test belongs to tests/processes or tests/integration")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(subprocess.Popen, "__init__", refuse("it starts a program"))
        patch.setattr(os, "fork", refuse("it forks"))
        patch.setattr(multiprocessing.process.BaseProcess, "start", refuse("it starts a process"))
        if "pytorch_lightning" in sys.modules:
            patch.setattr(sys.modules["pytorch_lightning"].Trainer, "fit", refuse("it fits a network"))
        return (yield)


def copy_to_change(run: Path, copy: Path) -> Path:
    """Copy a run without its checksums, as those made before there were any, so that a test may change its files."""
    shutil.copytree(run, copy, ignore=shutil.ignore_patterns("last.ckpt", "predict"))
    for file in copy.glob("round*/fold*/status.json"):
        status = json.loads(file.read_text())
        del status["sha256"]
        file.write_text(json.dumps(status))
    return copy


@pytest.fixture
def looked_up(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """The names to which the nearest known one is looked up, which takes as long as there are known ones."""
    names: list[str] = []
    find = difflib.get_close_matches
    monkeypatch.setattr(
        difflib, "get_close_matches", lambda name, *more, **how: names.append(name) or find(name, *more, **how)
    )
    return names


@pytest.fixture(scope="session")
def work_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A working folder whose cache holds the embedded data and its spectrograms after the first run."""
    return tmp_path_factory.mktemp("work")


@pytest.fixture
def in_work_folder(work_folder: Path, monkeypatch: pytest.MonkeyPatch) -> Generator[None, None, None]:
    """Be in the working folder, and compute on one thread: equal to the bit."""
    import torch

    monkeypatch.chdir(work_folder)
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(before)


@pytest.fixture(scope="session")
def program(work_folder: Path):
    """Call one of the programs as a person does: program("train.py", "experiment=smoke"); returns its output."""

    def call(name: str, *arguments: str, expected: int = 0) -> str:
        code, output = run_program(name, [*arguments], work_folder)
        assert code == expected, f"{name} {arguments} exited with {code}:\n{output}"
        return output

    return call


@pytest.fixture(scope="session")
def made_run(work_folder: Path, tmp_path_factory: pytest.TempPathFactory, program):
    """Return a run of the working folder, made by train.py; of processes that test side by side, one makes it."""

    def train(name: str, *arguments: str, ranks: int) -> None:
        if ranks:
            run_ranks("train.py", [*arguments, f"run={name}"], work_folder, ranks)
        else:
            program("train.py", *arguments, f"run={name}")

    def make(name: str, *arguments: str, ranks: int = 0) -> Path:
        if "PYTEST_XDIST_WORKER" not in os.environ:
            train(name, *arguments, ranks=ranks)
            return work_folder / "runs" / name
        shared = tmp_path_factory.getbasetemp().parent / "shared"
        shared.mkdir(exist_ok=True)
        with filelock.FileLock(shared / f"{name}.lock"):
            if not (shared / name).is_dir():
                train(name, *arguments, ranks=ranks)
                for part in (f"runs/{name}", "cache"):
                    shutil.copytree(work_folder / part, shared / name / part)
            else:
                shutil.copytree(shared / name, work_folder, dirs_exist_ok=True)
        return work_folder / "runs" / name

    return make


@pytest.fixture(scope="session")
def small_run(made_run) -> Path:
    """The folder of a finished run of four cells, `SMALL`, made by one process."""
    return made_run("small", *SMALL)


@pytest.fixture(scope="session")
def tagger(small_run: Path) -> audiotag.Tagger:
    """The tagger of the small run."""
    return audiotag.load(small_run)


@pytest.fixture(scope="session")
def v2_run(made_run) -> Path:
    """Round 0 of the small run with the other front end."""
    return made_run("small-v2", *SMALL, "features=v2", "finetune_rounds=0")


@pytest.fixture(scope="session")
def two_ranks(made_run) -> Path:
    """The same, fitted by the two ranks of one job."""
    return made_run("ranks", *SMALL, ranks=2)


@pytest.fixture(scope="session")
def smoke_run(made_run) -> Path:
    """The folder of a finished, unbroken run of experiment=smoke, with its report."""
    return made_run("smoke", "experiment=smoke", "report=true")


@pytest.fixture(scope="module")
def listening_browser(tmp_path_factory: pytest.TempPathFactory) -> Generator[Any, None, None]:
    """Chromium, whose microphone hears a tune over and over."""
    microphone = tmp_path_factory.mktemp("microphone") / "tune.wav"
    soundfile.write(microphone, tune(0, 4.0), 44_100, subtype="PCM_16")
    with chromium(microphone) as browser:
        yield browser

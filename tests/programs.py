"""The programs as a person starts them, in processes of their own, forked from one that has imported PyTorch already.

To import it, and what stands beside it, takes longer than most of what the tests have a program do.
"""

from __future__ import annotations

import contextlib
import importlib
import multiprocessing
import os
import runpy
import socket
import sys
import tempfile
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

from tests.clips import TOP

FORKING = multiprocessing.get_context("forkserver")
# What the programs import as soon as they work. Importing starts no thread, with which forking would not be safe.
FORKING.set_forkserver_preload(
    [
        "audiotag",  # before PyTorch: it sets how its threads wait
        "audiotag.distributed.worker",
        "audiotag.experiment.vote_again",
        "audiotag.inference.results",
        "audiotag.report.write",
        "audiotag.compare",
    ]
)
# As torchrun starts a job.
OF_TORCHRUN = {"RANK": "0", "WORLD_SIZE": "1", "LOCAL_RANK": "0", "LOCAL_WORLD_SIZE": "1", "TORCHELASTIC_RUN_ID": "1"}


def run_program(
    name: str,
    arguments: list[str],
    folder: Path,
    within_s: float = 600,
    before: Callable[[], None] | None = None,
) -> tuple[int, str]:
    """Run a program, `train.py` or `-m audiotag.show`, in a folder; return its exit code and what it printed.

    `before` is called in its process first. What is done at exit is not done: joblib's jobs would be waited for.
    """
    with started(name, arguments, folder, before) as (process, screen):
        process.join(within_s)
        if process.exitcode is None:
            process.kill()
            process.join()
        return int(process.exitcode or 0), screen()


def import_from(packages: Path) -> None:
    """Let what this process has not imported yet be found in a folder, in place of what is installed."""
    sys.path[:] = [path for path in sys.path if not path.endswith("site-packages")] + [str(packages)]
    importlib.invalidate_caches()


def run_ranks(name: str, arguments: list[str], folder: Path, size: int = 2, **variables: str) -> list[str]:
    """Run a program, or `-c CODE`, as the ranks of one job as torchrun starts them; return what each printed.

    Raises AssertionError if one fails.
    """
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    shared = {"WORLD_SIZE": size, "LOCAL_WORLD_SIZE": size, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
    with contextlib.ExitStack() as running:
        ranks = []
        for rank in range(size):
            own = {**OF_TORCHRUN, **shared, "RANK": rank, "LOCAL_RANK": rank}
            words = {key: str(value) for key, value in own.items()}
            ranks.append(running.enter_context(started(name, arguments, folder, **words, **variables)))
        for process, _ in ranks:
            process.join(300)
        outputs = [screen() for _, screen in ranks]
        assert [process.exitcode for process, _ in ranks] == [0] * size, outputs
    return outputs


@contextlib.contextmanager
def started(
    name: str, arguments: list[str], folder: Path, before: Callable[[], None] | None = None, **variables: str
) -> Iterator[tuple[BaseProcess, Callable[[], str]]]:
    """Start a program, or `-c CODE`; yield its process, killed after the block, and what returns what it printed."""
    with tempfile.TemporaryDirectory() as place:
        screen = Path(place) / "screen"
        screen.touch()
        environment = {**os.environ, **variables}
        process = FORKING.Process(target=_become, args=(name, arguments, folder, environment, screen, before))
        process.start()
        try:
            yield process, lambda: screen.read_text(encoding="utf-8", errors="replace")
        finally:
            process.kill()
            process.join()


def _become(
    name: str,
    arguments: list[str],
    folder: Path,
    environment: dict[str, str],
    screen: Path,
    before: Callable[[], None] | None,
) -> None:
    """Turn this process into the program."""
    with open(screen, "ab") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    os.chdir(folder)
    os.environ.clear()
    os.environ.update(environment)
    sys.argv = [name, *arguments]
    if before is not None:
        before()
    if name.startswith("-c "):
        exec(name.removeprefix("-c "), {"__name__": "__main__"})
    elif name.startswith("-m "):
        sys.modules.pop(name.removeprefix("-m "), None)  # runpy warns of what is imported already
        runpy.run_module(name.removeprefix("-m "), run_name="__main__", alter_sys=True)
    else:
        runpy.run_path(str(TOP / name), run_name="__main__")

"""A job starts its work in a process tree of its own, passes on signals, and takes over its result or its error.

The job itself, a Hydra task, never becomes a rank: Hydra replays command lines, and whole sweeps, in processes that
Lightning would start. A job that torchrun or SLURM has started several times is a rank already, and starts nothing.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator, Mapping
from pathlib import Path
from types import FrameType
from typing import Any

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

import audiotag
from audiotag.config.schema import to_dict
from audiotag.distributed.processes import describe, end_at_once_by, python
from audiotag.errors import AudiotagError, WorkError

RANK_VARIABLES = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "ROLE_RANK"}
RANK_VARIABLES |= {"ROLE_WORLD_SIZE", "GROUP_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
END_WITHIN_S = 20.0  # what the tree has to end after a signal, before it is killed


def launch(task: str, config: Any, check: Callable[[], object]) -> Any:
    """Run a task of `audiotag.distributed.tasks` and return its result.

    `check` refuses at once what can be refused without PyTorch. Ranks leave that to the task, in which they have met:
    otherwise those on other machines would wait for the one that has refused. Raises AudiotagError with the message of
    an error made by the user, WorkError with the traceback of any other.
    """
    if _is_rank(os.environ):
        _refuse_sweep()
        end_at_once_by(signal.SIGTERM)  # before PyTorch starts threads
        from audiotag.distributed import tasks  # here: a job that only launches needs no torch

        return tasks.run_as_rank(task, config)
    check()
    return _in_own_session({"task": task, "config": to_dict(config)})


def leads() -> bool:
    """Say whether this job does what is to be done once, such as speaking to its user: of ranks only the first."""
    number = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    return not _is_rank(os.environ) or number == "0"


def in_sweep() -> bool:
    """Say whether this is a job of a sweep, at whose end a table shows what all of them made."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def _is_rank(environment: Mapping[str, str]) -> bool:
    """Say whether torchrun, or srun with several tasks, has started this job as one process of several."""
    # RANK and WORLD_SIZE alone may be left over from whatever started this job.
    in_torchrun = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"} <= environment.keys()
    return in_torchrun or int(environment.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _refuse_sweep() -> None:
    """Raise AudiotagError for `torchrun train.py -m`: every rank would replay the sweep by itself."""
    if in_sweep() and "SUBMITIT_EXECUTOR" not in os.environ:
        raise AudiotagError(
            "-m under torchrun or srun would run the whole sweep in every process: start the multirun without it; each "
            "job uses devices=N by itself"
        )


def _in_own_session(work: dict[str, Any]) -> Any:
    reading, writing = os.pipe()
    with _signals_raise():
        command = python("audiotag.distributed.supervisor", str(os.getpid()), str(writing))
        tree = subprocess.Popen(
            command, stdin=subprocess.PIPE, pass_fds=[writing], start_new_session=True, env=child_environment()
        )
        try:
            os.close(writing)
            assert tree.stdin is not None
            with contextlib.suppress(BrokenPipeError):  # it ended early; its exit says why
                tree.stdin.write(json.dumps(work).encode())
                tree.stdin.close()
            with os.fdopen(reading, encoding="utf-8") as outcome:
                told = outcome.read()  # until the tree closes it
            os.waitid(os.P_PID, tree.pid, os.WEXITED | os.WNOWAIT)
        finally:
            _end(tree)
    return _result(told, tree.returncode)


def _result(told: str, code: int) -> Any:
    outcome = json.loads(told) if told else {}
    if "result" in outcome and code == 0:
        return outcome["result"]
    if "problem" in outcome:
        raise AudiotagError(outcome["problem"])
    raise WorkError(outcome.get("failure", f"The process that watches over this job failed: {describe(code)}"), code)


def child_environment() -> dict[str, str]:
    """Return the environment of a process tree: no rank of its parent, this very package."""
    environment = {name: value for name, value in os.environ.items() if not _of_a_rank(name)}
    here = str(Path(audiotag.__file__).resolve().parent.parent)
    others = [path for path in environment.get("PYTHONPATH", "").split(os.pathsep) if path and path != here]
    return {**environment, "PYTHONPATH": os.pathsep.join([here, *others])}


def _of_a_rank(name: str) -> bool:
    return name in RANK_VARIABLES or name.startswith("TORCHELASTIC_")


@contextlib.contextmanager
def _signals_raise() -> Iterator[None]:
    """Let SIGTERM and SIGHUP raise SystemExit in the block, unless somebody else, such as submitit, handles them."""
    if threading.current_thread() is not threading.main_thread():
        yield
        return

    def leave(number: int, _: FrameType | None) -> None:
        sys.exit(128 + number)

    mine = [number for number in (signal.SIGTERM, signal.SIGHUP) if signal.getsignal(number) == signal.SIG_DFL]
    for number in mine:
        signal.signal(number, leave)
    try:
        yield
    finally:
        for number in mine:
            signal.signal(number, signal.SIG_DFL)


def _end(tree: subprocess.Popen[bytes]) -> None:
    """Leave no process of the tree: ask it to end, then kill what is left of its session."""
    try:
        if not _ends_within(tree, 0):
            tree.terminate()
            _ends_within(tree, END_WITHIN_S)
    finally:
        # It is not reaped yet, so that the number cannot be another group's.
        with contextlib.suppress(ProcessLookupError):
            os.killpg(tree.pid, signal.SIGKILL)
        tree.wait()


def _ends_within(tree: subprocess.Popen[bytes], seconds: float) -> bool:
    deadline_s = time.monotonic() + seconds
    while os.waitid(os.P_PID, tree.pid, os.WEXITED | os.WNOWAIT | os.WNOHANG) is None:
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(0.02)
    return True

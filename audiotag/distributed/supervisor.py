"""A job on several devices: starts a process per device, watches them, and ends all when one fails or the job ends.

The job itself, a Hydra task, never becomes a rank: Hydra replays command lines, and whole sweeps, in processes that
Lightning would start.
"""

from __future__ import annotations

import contextlib
import json
import os
import pickle
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import audiotag
from audiotag.distributed.processes import STORE_FD, describe, python
from audiotag.errors import AudiotagError, WorkError

RANK_VARIABLES = {"RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE", "NODE_RANK", "GROUP_RANK", "ROLE_RANK"}
RANK_VARIABLES |= {"ROLE_WORLD_SIZE", "GROUP_WORLD_SIZE", "MASTER_ADDR", "MASTER_PORT"}
POLL_S = 0.05
OTHERS_END_S = 1.0  # what ranks have to end by themselves after one failed: another's error may be the cause
DYING_S = 0.25  # what a killed process may be seen alive for after its sockets have closed, on a busy machine
LAST_WORDS_S = 10.0  # what they have after SIGTERM, at which all but trackers of runs end at once
KILLED_WITHIN_S = 8.0  # a process in the middle of a disk's or driver's operation ends after it


@dataclass
class Rank:
    """One process of the job; `pipe` is where it reports its result or its error before it ends."""

    number: int
    process: subprocess.Popen[bytes]
    pipe: int
    output: bytes = b""
    code: int | None = None
    """Its exit code, once it has ended. It is not reaped before the end, so that no other process gets its number."""
    alive_s: float = field(default_factory=time.monotonic)
    """When it was last seen alive."""

    def give(self, work: bytes) -> None:
        """Hand over the work; where the process ended early, its exit says why."""
        assert self.process.stdin is not None
        with contextlib.suppress(BrokenPipeError), self.process.stdin:
            self.process.stdin.write(work)

    def ended(self) -> bool:
        """Return whether it is gone; until then, read its report, for a full pipe would hold it up."""
        now_s = time.monotonic()
        end = os.waitid(os.P_PID, self.process.pid, os.WEXITED | os.WNOHANG | os.WNOWAIT)
        if end is None:
            self.alive_s = now_s
        else:
            self.code = end.si_status if end.si_code == os.CLD_EXITED else -end.si_status
        with contextlib.suppress(BlockingIOError):
            while part := os.read(self.pipe, 1 << 16):
                self.output += part
        return end is not None

    def report(self) -> dict[str, Any]:
        """Return what it has reported; nothing, where it was killed before it had written all."""
        return dict(json.loads(self.output)) if self.output.endswith(b"\n") else {}


def supervise(work: str, config: Any, devices: int, apart: bool, gpus: list[str]) -> Any:
    """Do the work in a process for each of the devices, and return rank zero's result.

    Raises AudiotagError with the message of an error made by the user, WorkError with the traceback of any other.
    """
    ranks: list[Rank] = []
    try:
        for rank in _start(devices, apart, gpus):
            ranks.append(rank)  # one by one: what is started is known, whatever comes between
            rank.give(pickle.dumps(sys.path) + pickle.dumps((work, config, apart)))
        failed = _first_failed(ranks)
    finally:
        _end(ranks)
    if failed is None:
        return ranks[0].report().get("result")
    report, code = failed.report(), failed.code or 0
    if "problem" in report:
        raise AudiotagError(report["problem"])
    why = f"\n{report['traceback']}" if "traceback" in report else describe(code)
    raise WorkError(f"rank {failed.number} of {len(ranks)} failed: {why}", code)


def stale_variables() -> list[str]:
    """Return the variables of the environment that make a rank; those of whatever started this job concern nobody."""
    return [name for name in os.environ if name in RANK_VARIABLES or name.startswith("TORCHELASTIC_")]


def _start(count: int, apart: bool, gpus: list[str]) -> Iterator[Rank]:
    """Start a process per device; they meet at a socket that is open before any of them looks for it."""
    with socket.create_server(("127.0.0.1", 0), backlog=max(128, count)) as meeting:
        shared = {**environment_of_ranks(), "WORLD_SIZE": str(count), "LOCAL_WORLD_SIZE": str(count)}
        shared |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(meeting.getsockname()[1])}
        for number in range(count):
            own = {"RANK": str(number), "LOCAL_RANK": str(number)}
            if gpus:
                own["CUDA_VISIBLE_DEVICES"] = gpus[number] if apart else ",".join(gpus)
            if number == 0:
                own[STORE_FD] = str(meeting.fileno())
            yield _rank(number, shared | own, [meeting.fileno()] if number == 0 else [])


def environment_of_ranks() -> dict[str, str]:
    """Return the environment of a job's processes: no rank of whatever started the job, this very package."""
    here = str(Path(audiotag.__file__).resolve().parent.parent)
    others = [path for path in os.environ.get("PYTHONPATH", "").split(os.pathsep) if path and path != here]
    kept = {name: value for name, value in os.environ.items() if name not in stale_variables()}
    return {**kept, "PYTHONPATH": os.pathsep.join([here, *others])}


def _rank(number: int, environment: dict[str, str], inherited: list[int]) -> Rank:
    reading, writing = os.pipe()
    command = python("audiotag.distributed.worker", str(os.getpid()), str(writing))
    # In a session of its own: Ctrl-C at a terminal comes to the job alone, and what it starts can be ended with it.
    process = subprocess.Popen(
        command, stdin=subprocess.PIPE, pass_fds=[writing, *inherited], env=environment, start_new_session=True
    )
    os.close(writing)
    os.set_blocking(reading, False)
    return Rank(number, process, reading)


def _first_failed(ranks: list[Rank]) -> Rank | None:
    """Wait until all have ended well, or one has not; return the one that failed first, the cause of the others."""
    while True:
        ended = [rank for rank in ranks if rank.ended()]  # asked once a turn: one may fail between two questions
        if any(rank.code for rank in ended):
            break
        if len(ended) == len(ranks):
            return None
        time.sleep(POLL_S)
    _end_within(ranks, OTHERS_END_S)
    failed = [rank for rank in ranks if rank.code]
    return min(failed, key=_failed_at_s)


def _failed_at_s(rank: Rank) -> float:
    """Return when it failed: as it says itself or, of a killed one, a little before it was last seen alive.

    Others may lose it, and say so, while it is still seen: its sockets close before it is gone.
    """
    return rank.report().get("at_s", rank.alive_s - (DYING_S if rank.code == -signal.SIGKILL else 0))


def _end_within(ranks: list[Rank], seconds: float) -> bool:
    deadline_s = time.monotonic() + seconds
    while [rank for rank in ranks if not rank.ended()]:  # asks each one, whose report is read on the way
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def _end(ranks: list[Rank]) -> None:
    """Leave none of the processes, nor of theirs. Killing them is safe: every file is whole or absent at any time."""
    try:
        for rank in ranks:
            if not rank.ended():
                os.kill(rank.process.pid, signal.SIGTERM)
        _end_within(ranks, LAST_WORDS_S)
    finally:
        for rank in ranks:
            with contextlib.suppress(ProcessLookupError):
                os.killpg(rank.process.pid, signal.SIGKILL)
        if _end_within(ranks, KILLED_WITHIN_S):
            for rank in ranks:
                rank.process.wait()
                os.close(rank.pipe)

"""The head of a job's process tree: starts a process per device, watches them, and ends all when one fails.

Started by `audiotag.distributed.launch` in a session of its own: `supervise PARENT_ID OUTCOME_FD`, the work on stdin.
"""

from __future__ import annotations

import contextlib
import json
import os
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from types import FrameType
from typing import Any

from audiotag.distributed.gpu_locks import claimed, for_processes, gpus, locks_folder
from audiotag.distributed.processes import STORE_FD, describe, end_with, python
from audiotag.errors import AudiotagError

POLL_S = 0.05
OTHERS_END_S = 1.0  # what ranks have to end by themselves after one failed: another's error may be the cause
LAST_WORDS_S = 10.0  # what they have after SIGTERM, at which all but trackers of runs end at once
KILLED_WITHIN_S = 8.0  # a process in the middle of a disk's or driver's operation ends after it


@dataclass
class Rank:
    """One process of the job; `pipe` is where it says its result or its error before it ends."""

    number: int
    process: subprocess.Popen[bytes]
    pipe: int
    heard: bytes = b""
    alive_s: float = field(default_factory=time.monotonic)
    """When it was last seen alive."""

    def ended(self) -> bool:
        """Say whether it is gone; until then, take in what it says, for a full pipe would hold it up."""
        now_s = time.monotonic()
        ended = self.process.poll() is not None
        if not ended:
            self.alive_s = now_s
        with contextlib.suppress(BlockingIOError):
            while said := os.read(self.pipe, 1 << 16):
                self.heard += said
        return ended

    def told(self) -> dict[str, Any]:
        """Return what it has said; nothing, where it was killed before it had said all."""
        return dict(json.loads(self.heard)) if self.heard.endswith(b"\n") else {}


def main() -> None:
    """Do the work that stands on stdin, and say on the outcome pipe how it ended."""
    parent_id, outcome_fd = map(int, sys.argv[1:3])
    os.set_inheritable(outcome_fd, False)
    end_with(parent_id, signal.SIGTERM)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, _leave)
    work = json.loads(sys.stdin.buffer.read())
    try:
        outcome, code = _supervised(work)
    except AudiotagError as error:
        outcome, code = {"problem": str(error)}, error.exit_code
    with os.fdopen(outcome_fd, "w", encoding="utf-8") as pipe:
        json.dump(outcome, pipe)
    sys.exit(code)


def _leave(number: int, _: FrameType | None) -> None:
    signal.signal(number, signal.SIG_IGN)  # once is enough
    sys.exit(128 + number)


def _supervised(work: dict[str, Any]) -> tuple[dict[str, Any], int]:
    with _devices(work["config"]) as names:
        ranks: list[Rank] = []
        try:
            for rank in _start(work, names):
                ranks.append(rank)  # one by one: what is started is known, whatever comes between
            failed = _first_failed(ranks)
        finally:
            _end(ranks)
        return _outcome(ranks, failed)


@contextlib.contextmanager
def _devices(config: dict[str, Any]) -> Iterator[list[str]]:
    """Yield the GPU of each process of this job, none on a CPU."""
    hardware, wanted = config["hardware"], config["devices"]
    available = gpus(hardware["accelerator"])
    if available and not hardware["share_devices"]:
        with claimed(wanted, available, locks_folder(), _say_waiting) as names:
            yield names
    else:
        yield for_processes(wanted, available, config.get("parallel") == "folds")


def _say_waiting(names: list[str]) -> None:
    print(f"waiting for GPUs: {', '.join(names)} are used by other runs (hardware.share_devices=true shares them)")
    sys.stdout.flush()


def _start(work: dict[str, Any], names: list[str]) -> Iterator[Rank]:
    """Start a process per device; they meet at a socket that is open before any of them looks for it."""
    count = work["config"]["devices"]
    with socket.create_server(("127.0.0.1", 0), backlog=max(128, count)) as meeting:
        for number in range(count):
            environment = {**os.environ, "RANK": str(number), "WORLD_SIZE": str(count)}
            environment |= {"LOCAL_RANK": str(number), "LOCAL_WORLD_SIZE": str(count)}
            environment |= {"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(meeting.getsockname()[1])}
            if names:
                apart = work["config"].get("parallel") == "folds"
                environment["CUDA_VISIBLE_DEVICES"] = names[number] if apart else ",".join(names)
            inherited = []
            if number == 0:
                environment[STORE_FD] = str(meeting.fileno())
                inherited = [meeting.fileno()]
            yield _rank(number, work, environment, inherited)


def _rank(number: int, work: dict[str, Any], environment: dict[str, str], inherited: list[int]) -> Rank:
    reading, writing = os.pipe()
    command = python("audiotag.distributed.worker", str(os.getpid()), str(writing))
    process = subprocess.Popen(command, stdin=subprocess.PIPE, pass_fds=[writing, *inherited], env=environment)
    os.close(writing)
    os.set_blocking(reading, False)
    assert process.stdin is not None
    with contextlib.suppress(BrokenPipeError):  # it ended early; its exit says why
        process.stdin.write(json.dumps(work).encode())
        process.stdin.close()
    return Rank(number, process, reading)


def _first_failed(ranks: list[Rank]) -> Rank | None:
    """Wait until all have ended well, or one has not; return the one that failed first, the cause of the others."""
    while True:
        ended = [rank for rank in ranks if rank.ended()]  # asked once a turn: one may fail between two questions
        if any(rank.process.returncode for rank in ended):
            break
        if len(ended) == len(ranks):
            return None
        time.sleep(POLL_S)
    _ended_within(ranks, OTHERS_END_S)
    failed = [rank for rank in ranks if rank.process.returncode]
    # One that was killed could not say when; the others noticed it later than it was last seen alive.
    return min(failed, key=lambda rank: rank.told().get("at_s", rank.alive_s))


def _ended_within(ranks: list[Rank], seconds: float) -> bool:
    deadline_s = time.monotonic() + seconds
    while [rank for rank in ranks if not rank.ended()]:
        if time.monotonic() >= deadline_s:
            return False
        time.sleep(POLL_S)
    return True


def _end(ranks: list[Rank]) -> None:
    """Leave none of the processes. Killing them is safe: every file is whole or absent at any time."""
    for number, seconds in ((signal.SIGTERM, LAST_WORDS_S), (signal.SIGKILL, KILLED_WITHIN_S)):
        for rank in ranks:
            if not rank.ended():
                rank.process.send_signal(number)
        if _ended_within(ranks, seconds):
            return


def _outcome(ranks: list[Rank], failed: Rank | None) -> tuple[dict[str, Any], int]:
    if failed is None:
        return {"result": ranks[0].told().get("result")}, 0
    code, told = failed.process.returncode, failed.told()
    if "problem" in told:
        return {"problem": told["problem"]}, code
    why = told.get("traceback", describe(code))
    return {"failure": f"rank {failed.number} of {len(ranks)} failed: {why}"}, code if code > 0 else 128 - code


if __name__ == "__main__":
    main()

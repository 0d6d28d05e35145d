"""A job under observation: its processes, found by a mark in their environment, and how it ends."""

from __future__ import annotations

import contextlib
import os
import signal
import subprocess
import sys
import time
import uuid
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from tests.conftest import TOP

END_WITHIN_S = 30.0
MARK = "AUDIOTAG_TEST_MARK"  # in the environment of a process and of all that it starts
ROLES = {"train.py": "job", "predict.py": "job", "audiotag.distributed.worker": "rank"}


@dataclass(frozen=True)
class Process:
    """A running process: its number, its command line and its environment."""

    number: int
    words: list[str]
    environment: list[str]


def marked(mark: str) -> list[Process]:
    """Return the running processes that inherited a mark."""
    found = []
    for folder in Path("/proc").glob("[0-9]*"):
        with contextlib.suppress(FileNotFoundError, ProcessLookupError, PermissionError):  # gone, or another user's
            environment, words = (
                (folder / name).read_bytes().decode(errors="replace") for name in ("environ", "cmdline")
            )
            if f"{MARK}={mark}" in environment.split("\0"):
                found.append(Process(int(folder.name), words.split("\0"), environment.split("\0")))
    return found


def left_behind(mark: str, within_s: float) -> list[Process]:
    """Return the processes that inherited a mark, once they had time to end."""
    deadline_s = time.monotonic() + within_s
    while (found := marked(mark)) and time.monotonic() < deadline_s:
        time.sleep(0.1)
    return found


class Job:
    """A started program. Its processes are "job", "rank 0", "rank 1" and others, by their number."""

    def __init__(
        self, arguments: list[str], folder: Path, fault: str = "", program: str = "train.py", **variables: str
    ) -> None:
        self.mark = uuid.uuid4().hex
        self.struck, self.screen = folder / f"{self.mark}.struck", folder / f"{self.mark}.screen"
        environment = {**os.environ, **variables, MARK: self.mark}
        environment["PYTHONPATH"] = os.pathsep.join([str(TOP / "tests" / "faults"), str(TOP)])
        if fault:
            environment["AUDIOTAG_TEST_FAULT"] = f"{fault},mark={self.struck}"
        self.sessions: set[int] = set()
        self.started, self.struck_at = time.time(), 0.0
        command = [sys.executable, str(TOP / program), *arguments]
        # Into a file: a process that is left over would keep a pipe open.
        with open(self.screen, "wb") as screen:
            self.process = subprocess.Popen(
                command, cwd=folder, env=environment, stdout=screen, stderr=screen, start_new_session=True
            )
        self.sessions.add(self.process.pid)

    def __enter__(self) -> Job:
        return self

    def __exit__(self, *_: object) -> None:
        for number in self.processes().values():  # after a failed assertion
            with contextlib.suppress(ProcessLookupError):
                os.kill(number, signal.SIGKILL)
        self.process.wait()

    def processes(self) -> dict[str, int]:
        """Return the numbers of the running processes."""
        found = {}
        for process in marked(self.mark):
            roles = (ROLES[Path(word).name] for word in process.words if Path(word).name in ROLES)
            role = next(roles, str(process.number))
            rank = next((entry[5:] for entry in process.environment if entry.startswith("RANK=")), "")
            found[f"rank {rank}" if role == "rank" else role] = process.number
        return found

    def wait_until(self, condition: Callable[[], bool], seconds: float = 300) -> None:
        """Wait for a state that the job brings about."""
        deadline_s = time.monotonic() + seconds
        while True:
            ended = self.process.poll() is not None  # asked first: what it did last still counts
            if condition():
                return
            assert not ended, f"the job ended before what was waited for:\n{self.output()}"
            assert time.monotonic() < deadline_s, f"not within {seconds} s:\n{self.output()}"
            time.sleep(0.005)

    def send(self, number: int, role: str) -> None:
        """Send a signal to one of the processes; to the "terminal": to all that Ctrl-C at the job's reaches."""
        processes = self.processes()
        for name in processes:
            if name.startswith("rank"):
                self.sessions.add(processes[name])  # each one begins its own
        self.struck_at = time.time()
        if role == "terminal":
            os.killpg(self.process.pid, number)
        elif role == "job":
            self.process.send_signal(number)  # which may have ended of the signal before
        else:
            os.kill(processes[role], number)

    def end(self, seconds: float = END_WITHIN_S) -> tuple[int, str, float]:
        """Wait until it ends; return the exit code, what stands on the screen, and the seconds since the fault.

        No process may be left, a moment later.
        """
        if not self.struck_at:
            self.wait_until(lambda: self.process.poll() is not None or self.struck.exists())
            self.struck_at = self.struck.stat().st_mtime if self.struck.exists() else time.time()
        code = self.process.wait(seconds)
        # Of a killed job, the others end after it.
        deadline_s = time.monotonic() + (seconds if code == -signal.SIGKILL else 2)
        while left := {**self.processes(), **self._in_sessions()}:
            assert time.monotonic() < deadline_s, f"left over: {left}\n{self.output()}"
            time.sleep(0.02)
        return code, self.output(), time.time() - self.struck_at

    def _in_sessions(self) -> dict[str, int]:
        """Return what is left of the sessions of job and ranks, with zombies but for those that the system reaps."""
        found = {}
        for stat in Path("/proc").glob("[0-9]*/stat"):
            with contextlib.suppress(FileNotFoundError, ProcessLookupError):
                state, parent, _, session = stat.read_text().rpartition(")")[2].split()[:4]
                if int(session) in self.sessions and (state, parent) != ("Z", "1"):
                    found[f"{state} {stat.parent.name} of session {session}"] = int(stat.parent.name)
        return found

    def output(self) -> str:
        """Return what stands on the screen."""
        return self.screen.read_text(encoding="utf-8", errors="replace")

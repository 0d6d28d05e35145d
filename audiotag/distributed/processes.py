"""How processes begin and end: what they are told, with whom they end, and how that is said in words."""

from __future__ import annotations

import contextlib
import ctypes
import os
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator

PR_SET_PDEATHSIG = 1
# Names of environment variables by which one process tells those that it starts:
STORE_FD = "AUDIOTAG_STORE_FD"  # the socket, open already, at which a job's ranks meet
SWEEP_STARTED = "AUDIOTAG_SWEEP_STARTED"  # when the sweep began that this job is one of, in seconds

_last_words: list[Callable[[], None]] = []


def end_with(parent_id: int, number: int) -> None:
    """Send this process a signal when its parent is gone; exits at once where it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent_id:  # it went before the line above
            sys.exit(128 + signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent_id, number), daemon=True).start()


@contextlib.contextmanager
def last_words(say: Callable[[], None]) -> Iterator[None]:
    """Have something done, in seconds, if the signal of `end_at_once_by` ends this process inside the block."""
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as this process was run: -O, -W and the like are handed on."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # as multiprocessing does
    return [sys.executable, *flags, *(() if "-P" in flags else ("-P",)), "-m", module, *arguments]


def end_at_once_by(number: int) -> None:
    """Let a signal end this process, inside a collective too, after its last words; before any thread is started.

    Blocked in every thread and waited for in one of its own, it never reaches the handler that Lightning installs, in
    which ranks would wait for each other.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})

    def wait() -> None:
        signal.sigwait({number})
        try:
            for say in reversed(_last_words):
                say()
        finally:
            os._exit(128 + number)

    threading.Thread(target=wait, daemon=True).start()


def describe(code: int) -> str:
    """Say in words how a process ended; negative codes, and those above 128, are signals."""
    number = -code if code < 0 else code - 128
    if number not in list(signal.Signals):
        return f"it ended with exit code {code}"
    name = signal.Signals(number).name
    return f"it was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _watch(parent_id: int, number: int) -> None:
    while os.getppid() == parent_id:
        time.sleep(0.5)
    os.kill(os.getpid(), number)

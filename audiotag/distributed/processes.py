"""How processes begin and end: what they inherit, which signals end them, and how that is said in words."""

from __future__ import annotations

import contextlib
import ctypes
import gc
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Callable, Iterator, Mapping
from types import FrameType
from typing import Any

PR_SET_PDEATHSIG = 1
# Names of environment variables by which one process tells those that it starts:
STORE_FD = "AUDIOTAG_STORE_FD"  # the socket, open already, at which a job's ranks meet
SWEEP_STARTED = "AUDIOTAG_SWEEP_STARTED"  # when the sweep began that this job is one of, in seconds
ENDS_WITHIN_S = 25.0  # what a job has to end after a signal; the supervisor needs 18 s at most
ENDS_AT_ONCE_S = 1.0  # and after a second one

_last_words: list[Callable[[], None]] = []


def end_with(parent_id: int, number: int) -> None:
    """Send this process a signal when its parent is gone; exits at once if it is gone already."""
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, number)
    if os.getppid() != parent_id:  # it went before the line above
        sys.exit(128 + signal.SIGKILL)


@contextlib.contextmanager
def last_words(say: Callable[[], None]) -> Iterator[None]:
    """Have something done, in seconds, if the signal of `end_at_once_by` ends this process inside the block."""
    _last_words.append(say)
    try:
        yield
    finally:
        _last_words.remove(say)


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


@contextlib.contextmanager
def ended_by_signals() -> Iterator[None]:
    """Let SIGINT, SIGTERM and SIGHUP end the block by an exception, at once by a second one.

    The block ends by SystemExit, which Lightning passes on; after it, that of SIGINT is a KeyboardInterrupt. Signals
    that somebody else handles, such as submitit, stay theirs, and all do in a thread. The process ends by itself where
    the exception got lost, in a destructor for example, or the way out hangs.
    """
    received: list[int] = []
    timers: list[threading.Timer] = []

    def end(number: int, _: FrameType | None) -> None:
        received.append(number)
        if len(received) <= 2:
            seconds = ENDS_WITHIN_S if len(received) == 1 else ENDS_AT_ONCE_S
            timers.append(threading.Timer(seconds, os._exit, [128 + number]))
            timers[-1].daemon = True
            timers[-1].start()
            sys.exit(128 + number)

    before: dict[signal.Signals, Any] = {}
    try:
        if threading.current_thread() is threading.main_thread():
            for one in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
                if signal.getsignal(one) in (signal.SIG_DFL, signal.default_int_handler):
                    before[one] = signal.signal(one, end)
        yield
    finally:
        for one, handler in before.items():
            signal.signal(one, handler)
        for timer in timers:
            timer.cancel()
        if received:
            raise KeyboardInterrupt if received[0] == signal.SIGINT else SystemExit(128 + received[0]) from None


@contextlib.contextmanager
def importing_pytorch() -> Iterator[None]:
    """Look for no garbage in the block, in which PyTorch is imported for the first time, nor in what is there after it.

    A sixth of the time of that import went into looking through its million objects again and again; and whenever a
    quarter as many had been made, training stood still for as long as it takes once.
    """
    if "torch" in sys.modules or not gc.isenabled():
        yield
        return
    gc.disable()
    try:
        yield
        gc.freeze()
    finally:
        gc.enable()


@contextlib.contextmanager
def environment(settings: Mapping[str, str | None]) -> Iterator[None]:
    """Set variables of the environment, None removes one; they are as before at the end."""
    before = {name: os.environ.get(name) for name in settings}
    try:
        _set_all(settings)
        yield
    finally:
        _set_all(before)


def _set_all(settings: Mapping[str, str | None]) -> None:
    for name, value in settings.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


def python(module: str, *arguments: str) -> list[str]:
    """Return the command that runs a module as this process was run: -O, -W and the like are handed on."""
    flags: list[str] = subprocess._args_from_interpreter_flags()  # type: ignore[attr-defined] # as multiprocessing does
    return [sys.executable, *flags, *(() if "-P" in flags else ("-P",)), "-m", module, *arguments]


def describe(code: int) -> str:
    """Return in words how a process ended; negative codes, and those above 128, are signals."""
    number = -code if code < 0 else code - 128
    if number not in list(signal.Signals):
        return f"it ended with exit code {code}"
    name = signal.Signals(number).name
    return f"it was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")

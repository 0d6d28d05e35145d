"""How processes end: with the one that started them, and in words."""

from __future__ import annotations

import ctypes
import os
import signal
import sys
import threading
import time

PR_SET_PDEATHSIG = 1


def end_with(parent_id: int, number: int) -> None:
    """Send this process a signal when its parent is gone; exits at once where it is gone already."""
    if sys.platform == "linux":
        ctypes.CDLL(None, use_errno=True).prctl(PR_SET_PDEATHSIG, number)
        if os.getppid() != parent_id:  # it went before the line above
            sys.exit(128 + signal.SIGKILL)
    else:
        threading.Thread(target=_watch, args=(parent_id, number), daemon=True).start()


def end_at_once_by(number: int) -> None:
    """Let a signal end this process at once, inside a collective too; to be called before any thread is started.

    Blocked in every thread and waited for in one of its own, it never reaches the handler that Lightning installs, in
    which ranks would wait for each other.
    """
    signal.pthread_sigmask(signal.SIG_BLOCK, {number})

    def wait() -> None:
        signal.sigwait({number})
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

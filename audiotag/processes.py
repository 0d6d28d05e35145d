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


def describe(code: int) -> str:
    """Say in words how a process ended; negative codes are signals."""
    if code >= 0:
        return f"it ended with exit code {code}"
    name = signal.Signals(-code).name
    return f"it was ended by {name}" + (" (out of memory?)" if name == "SIGKILL" else "")


def _watch(parent_id: int, number: int) -> None:
    while os.getppid() == parent_id:
        time.sleep(0.5)
    os.kill(os.getpid(), number)

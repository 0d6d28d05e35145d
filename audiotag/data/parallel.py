"""Work spread over processes, in order, with a progress bar."""

from __future__ import annotations

import contextlib
import multiprocessing
import os
import signal
import sys
import threading
from collections import deque
from collections.abc import Callable, Generator, Iterator, Sequence
from concurrent.futures import Future, ProcessPoolExecutor
from concurrent.futures.process import BrokenProcessPool
from itertools import islice
from types import ModuleType
from typing import TypeVar

from audiotag.console import progress
from audiotag.errors import AudiotagError

Item = TypeVar("Item")
Result = TypeVar("Result")


def worker_count(workers: int | None) -> int:
    """Return the number of processes asked for; None means one per core."""
    return len(os.sched_getaffinity(0)) if workers is None else workers


def parallel_map(
    work: Callable[[Item], Result], items: Sequence[Item], workers: int | None, what: str | None, unit: str = "files"
) -> Generator[Result, None, None]:
    """Yield work(item) for every item, in order, computed by `workers` processes (0: in this one).

    Shows a bar called `what` that counts `unit`; None: the caller has one of its own.
    Raises what work raises, and AudiotagError if a process ends of itself.
    """
    count = min(worker_count(workers), len(items) // 8)  # starting a process costs more than a few clips
    results = map(work, items) if count < 1 else _pooled(work, items, count)
    if what is None or not items:
        yield from results
        return
    with progress(unit) as bar:
        yield from bar.track(results, total=len(items), description=what)


def _pooled(work: Callable[[Item], Result], items: Sequence[Item], count: int) -> Iterator[Result]:
    context = multiprocessing.get_context("spawn")  # forking a process that has used threads may dead-lock
    if multiprocessing.get_start_method(allow_none=True) == "loky":
        # A job of Hydra's joblib launcher: a spawned process is told that default, and does not know it.
        multiprocessing.set_start_method("spawn", force=True)
    waiting, pending = iter(items), deque[Future[Result]]()
    with _starting():
        pool = ProcessPoolExecutor(count, mp_context=context, initializer=_end_with_parent)

    def submit(most: int) -> None:
        with _starting():
            pending.extend(pool.submit(work, item) for item in islice(waiting, most))

    with pool:
        submit(4 * count)
        try:
            while pending:
                done = pending.popleft()
                submit(1)
                yield done.result()
        except BrokenProcessPool as error:
            advice = "out of memory? Set hardware.workers= lower"
            raise AudiotagError(f"A process that reads audio ended without an answer ({advice})") from error
        finally:
            pool.shutdown(cancel_futures=True)


@contextlib.contextmanager
def _starting() -> Iterator[None]:
    """Let processes started in the block leave Ctrl-C to this one, and not run its script again, as Python has them."""
    main, mask = sys.modules["__main__"], signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGINT})
    sys.modules["__main__"] = ModuleType("__main__")
    try:
        yield
    finally:
        sys.modules["__main__"] = main
        signal.pthread_sigmask(signal.SIG_SETMASK, mask)  # Python's resource tracker unblocks signals


def _end_with_parent() -> None:
    """Let a worker end when its parent was killed; it would wait for work for ever."""
    parent = multiprocessing.parent_process()
    assert parent is not None
    # A rank has SIGTERM blocked, which is inherited; the pool ends its processes by it.
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGTERM})

    def watch() -> None:
        parent.join()
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()

"""Between the sound that comes and the networks that label it: what waits is bounded, and what is late is dropped."""

from __future__ import annotations

import threading
import time
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass

import numpy as np

from audiotag.errors import AudiotagError
from audiotag.features.trimming import Wave

HELD_S = 1.0  # sound that waits at most
PATIENCE_S = 5.0  # for a device that gives nothing


@dataclass(frozen=True)
class Block:
    """Consecutive mono samples (samples,) of a stream; `begin` counts those before them, dropped ones too.

    `arrived_s` says when the last of them was there, by time.monotonic().
    """

    wave: Wave
    begin: int
    arrived_s: float
    overflows: int = 0
    """How often a device lost sound before them, nobody knows how much."""


class Feed:
    """Samples on their way from the thread that captures them to the one that labels them.

    At most `held_s` seconds wait; of more, the oldest are dropped. So whoever labels is never later than that, however
    slow, and what waits never grows. Iterating takes everything that waits at once, until the sound ends; raises what
    `end` was given, and AudiotagError if nothing comes for `PATIENCE_S`, unless `waits`.
    """

    def __init__(self, sample_rate_hz: int, held_s: float = HELD_S, waits: bool = True) -> None:
        self._most, self._waits = max(1, round(held_s * sample_rate_hz)), waits
        self._waiting: deque[Wave] = deque()
        self._n_waiting = self._n_put = self._overflows = 0
        self._arrived_s = 0.0
        self._ended = False
        self._error: Exception | None = None
        self._changed = threading.Condition()
        self.stopped = False

    def put(self, wave: Wave, overflow: bool = False) -> None:
        """Add samples (samples,) that have just come, after an `overflow` if the device lost some before them."""
        with self._changed:
            self._overflows += overflow
            self._waiting.append(wave[-self._most :])
            self._n_put += len(wave)
            self._n_waiting += len(self._waiting[-1])
            while self._n_waiting > self._most:
                self._n_waiting -= len(self._waiting.popleft())
            self._arrived_s = time.monotonic()
            self._changed.notify()

    def lose(self, n: int) -> None:
        """Take note that the next `n` samples never come; what still waits is dropped with them."""
        with self._changed:
            self._waiting.clear()
            self._n_waiting, self._n_put = 0, self._n_put + n

    def end(self, error: Exception | None = None) -> None:
        """Say that no more samples come, perhaps because of an error."""
        with self._changed:
            self._ended, self._error = True, error
            self._changed.notify()

    def __iter__(self) -> Iterator[Block]:
        while (block := self._take()) is not None:
            yield block

    def _take(self) -> Block | None:
        with self._changed:
            # In short waits: Ctrl-C would not end a long one on every system.
            patience = PATIENCE_S
            while not self._waiting and not self._ended:
                self._changed.wait(0.1)
                patience -= 0.1
                if patience < 0 and not self._waits:
                    raise AudiotagError(f"no sound has come for {PATIENCE_S:g} s: is the device still connected?")
            if not self._waiting:
                if self._error is not None:
                    raise self._error
                return None
            wave = np.concatenate(list(self._waiting))
            self._waiting.clear()
            overflows, self._overflows, self._n_waiting = self._overflows, 0, 0
            return Block(wave, self._n_put - len(wave), self._arrived_s, overflows)


def capture(blocks: Iterable[Wave], feed: Feed, rate_hz: int | None) -> threading.Thread:
    """Start a thread that gives the samples of `blocks` to a feed, with a rate no faster than they would sound."""

    def run() -> None:
        begin_s, n = time.monotonic(), 0
        try:
            for wave in blocks:
                n += len(wave)
                while not feed.stopped and rate_hz is not None:
                    early_s = begin_s + n / rate_hz - time.monotonic()
                    if early_s <= 0:
                        break
                    time.sleep(min(early_s, 0.1))
                if feed.stopped:
                    return
                feed.put(wave)
        except Exception as error:  # noqa: BLE001 - raised again where the feed is read
            feed.end(error)
        else:
            feed.end()

    thread = threading.Thread(target=run, name="capture", daemon=True)
    thread.start()
    return thread


def in_step(blocks: Iterable[Wave], now: Callable[[], float] = time.monotonic) -> Iterator[Block]:
    """Yield samples as blocks as fast as they are taken: the sender waits, and nothing is dropped."""
    n = 0
    for wave in blocks:
        yield Block(wave, n, now())
        n += len(wave)

"""What trimming keeps of a recording: one rule, for waves in memory and for files in blocks.

Source: the writeup's SoX command, and for the window and the roundings SoX 14.4.2.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import chain
from typing import Any

import numpy as np
from numpy.typing import NDArray

Wave = NDArray[np.float32]
Blocks = Iterable[Wave]

PEAK = 10 ** (-0.1 / 20)  # writeup: norm -0.1 (dB of full scale)
SILENCE_THRESHOLD = 0.0015  # writeup: silence ... 0.15%, of full scale
SILENCE_HOLD_S = 0.025  # writeup: silence 1 0.025
SILENCE_WINDOWS_PER_S = 50  # SoX's own: the root mean square is over 1/50 s
PIECE_SAMPLES = 1 << 13  # measured at a time: most recordings are loud soon from either end
LEVEL_STEPS = 1 << 24  # per full scale, in measuring loudness; keeps every sum of squares in 64 bits


def trimming_settings() -> dict[str, Any]:
    """Every number that determines what is kept, and its gain."""
    return {
        "peak": PEAK,
        "threshold": SILENCE_THRESHOLD,
        "hold_s": SILENCE_HOLD_S,
        "windows_per_s": SILENCE_WINDOWS_PER_S,
        "level_steps": LEVEL_STEPS,
    }


@dataclass(frozen=True)
class Survey:
    """What one pass over all samples tells: how many, the largest magnitude, and where it stands last."""

    n_samples: int
    peak: float
    peak_at: int


@dataclass(frozen=True)
class Kept:
    """The samples to keep, [start, stop), and the factor to scale them by (None: leave them as they are)."""

    start: int
    stop: int
    gain: float | None
    silent: bool


def survey(blocks: Blocks) -> Survey:
    n_samples, peak, peak_at = 0, 0.0, 0
    for block in blocks:
        highest = max(float(block.max(initial=0)), -float(block.min(initial=0)))
        if highest >= peak and highest > 0:
            peak, peak_at = highest, n_samples + int(np.flatnonzero(np.abs(block) == highest)[-1])
        n_samples += len(block)
    return Survey(n_samples, peak, peak_at)


def find_kept(read: Callable[[], Blocks], rate_hz: int, found: Survey) -> Kept:
    """Find what trimming keeps of the samples that each call of `read` gives anew.

    The rule of SoX: scale to the peak; drop samples until the root mean square over the last window stays above the
    threshold for the hold time, keeping that time; scale what is left to the peak; the same from the other end. Blocks
    in a list are really read from there, no further than it takes; others can only be read to their end.
    """
    if found.peak == 0:
        return Kept(0, found.n_samples, gain=None, silent=True)
    untrimmed = Kept(0, found.n_samples, gain=PEAK / found.peak, silent=True)
    # Zeros in front make the first window end at the first sample; zeros behind make the last one begin at the last.
    zeros = np.zeros(_window_samples(rate_hz) - 1, np.float32)
    first = next(_loud_stretches(chain([zeros], read()), rate_hz, PEAK / found.peak), None)
    if first is None:
        return untrimmed
    start = first[0]
    peak = found.peak if found.peak_at >= start else survey(between(read(), start)).peak
    blocks, gain = read(), PEAK / peak
    if isinstance(blocks, list):
        backward = between((block[::-1] for block in reversed(blocks)), 0, found.n_samples - start)
        ends = (found.n_samples - begin for begin, _ in _loud_stretches(chain([zeros], backward), rate_hz, gain))
        stop = next(ends, None)
    else:
        ends = (start + end + 1 for _, end in _loud_stretches(chain(between(blocks, start), [zeros]), rate_hz, gain))
        stop = next(iter(deque(ends, maxlen=1)), None)
    return untrimmed if stop is None else Kept(start, stop, gain, silent=False)


def _loud_stretches(blocks: Blocks, rate_hz: int, gain: float) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each stretch of windows loud for the hold time, by the windows' first samples.

    A stretch that goes on into the next block is given again, longer. Levels are whole numbers and their sums exact
    (differences survive even a wrap-around of the running sum), so nothing depends on where blocks begin.
    """
    window = _window_samples(rate_hz)
    hold = int(rate_hz * SILENCE_HOLD_S + 0.5)  # rounded half up, as SoX does
    limit = int(window * (SILENCE_THRESHOLD * LEVEL_STEPS) ** 2)
    squares = np.zeros(0, np.uint64)
    quiet, position = -1, 0  # the last window that was not loud, and the first of the next block
    for block in chain.from_iterable(map(_pieces, blocks)):
        levels = np.rint(np.abs(block).astype(np.float64) * (gain * LEVEL_STEPS)).astype(np.uint64)
        squares = np.concatenate((squares, levels * levels))
        if len(squares) < window:
            continue
        sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(squares)))
        loud = sums[window:] - sums[:-window] > limit
        squares = squares[len(loud) :]

        quiets = np.concatenate(([quiet], position + np.flatnonzero(~loud)))
        position += len(loud)
        for k in np.flatnonzero(np.diff(quiets, append=position) > hold):
            end = quiets[k + 1] if k + 1 < len(quiets) else position
            yield int(quiets[k]) + 1, int(end) - 1
        quiet = int(quiets[-1])


def _pieces(block: Wave) -> Iterator[Wave]:
    return (block[at : at + PIECE_SAMPLES] for at in range(0, len(block), PIECE_SAMPLES))


def _window_samples(rate_hz: int) -> int:
    return rate_hz // SILENCE_WINDOWS_PER_S  # rounded down, as SoX does


def between(blocks: Blocks, start: int, stop: int | None = None) -> Iterator[Wave]:
    """Yield samples [start, stop) of a sequence of blocks, and read no block beyond."""
    position = 0
    for block in blocks:
        piece = block[max(0, start - position) : None if stop is None else stop - position]
        position += len(block)
        if len(piece):
            yield piece
        if stop is not None and position >= stop:
            return


def scaled(wave: Wave, gain: float | None) -> Wave:
    return wave if gain is None else (wave * np.float64(gain)).astype(np.float32)

"""Which frames of a recording the networks hear, and how those are cut from its spectrogram as it comes.

Shapes: F bands, T frames, N windows.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from audiotag.config import Features

Frames = NDArray[np.float16]  # (frames, F), as the spectrogram store holds them


@dataclass(frozen=True)
class WindowSpec:
    """How recordings of any length are heard.

    `excerpts` 0: whole, in windows of `features.clip_frames`. N: N evenly spaced excerpts of `features.excerpt_frames`.
    `cut`: nothing after the first `features.clip_frames` is heard (paper section 2: 3,000 frames).
    """

    features: Features
    excerpts: int = 0
    cut: bool = False


@dataclass(frozen=True)
class Windows:
    """Windows of `length` frames from frame `starts` (N,) on, in order; `weights` (N,) sum to 1."""

    starts: NDArray[np.int64]
    weights: NDArray[np.float64]
    length: int


def place_windows(n_frames: int, spec: WindowSpec) -> Windows:
    """Place the windows in a recording of `n_frames`, which is repeated where a window reaches beyond its end.

    Whole: a recording of at most clip_frames is one window, repeated to clip_frames, as in validation. In a longer one
    window follows window; the last is moved back to end with the recording, and counts only for the frames that the
    one before did not hold, so that every frame counts once and no window holds anything but consecutive sound.

    Excerpts: from the first frame to the last of the recording, or of its repetition to clip_frames, as in
    verification, but evenly spaced instead of at random; a single one lies in the middle.
    """
    clip_frames = spec.features.clip_frames
    used = min(n_frames, clip_frames) if spec.cut else n_frames
    if spec.excerpts > 0:
        length = spec.features.excerpt_frames
        last = max(used, clip_frames) - length
        return _evenly(last / 2, last / 2, 1, length) if spec.excerpts == 1 else _evenly(0, last, spec.excerpts, length)
    begins = np.arange(0, max(used, 1), clip_frames)
    starts = np.clip(begins, 0, max(used - clip_frames, 0))
    return Windows(starts, np.diff(np.append(begins, used)) / used, clip_frames)


def covering_windows(n_frames: int, length: int, overlap: int, most: int) -> Windows:
    """Place evenly spaced windows of `length` frames that cover a recording of `n_frames`, from its first to its last.

    `overlap` of them hold each moment, or as many as `most` windows allow, but never less than one.
    """
    last = max(n_frames - length, 0)
    return _evenly(0, last, max(min(-(-last * overlap // length) + 1, most), -(-last // length) + 1), length)


def _evenly(first: float, last: float, count: int, length: int) -> Windows:
    starts = np.rint(np.linspace(first, last, count)).astype(np.int64)
    return Windows(starts, np.full(count, 1 / count), length)


def cut_windows(pieces: Iterable[Frames], n_frames: int, windows: Windows) -> Iterator[Frames]:
    """Yield the windows (length, F) of a spectrogram (T, F) that comes in pieces (frames, F), holding little of it.

    At most a window and a piece are held, or, of a recording that must be repeated, the recording.
    """
    if n_frames < windows.starts[-1] + windows.length:
        whole = np.concatenate(list(pieces))
        for start in windows.starts:
            yield whole[np.arange(start, start + windows.length) % n_frames]
        return
    coming = iter(pieces)
    held, begin = next(coming), 0  # the frames from `begin` on
    for start in windows.starts:
        while begin + len(held) < start + windows.length:
            skipped = min(start - begin, len(held))
            held, begin = np.concatenate((held[skipped:], next(coming))), begin + skipped
        yield held[start - begin : start - begin + windows.length]

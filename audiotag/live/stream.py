"""Sliding windows over sound that comes in blocks: a frame is computed once, and a window labelled when it is whole.

Shapes: K networks, B windows, F bands, T frames, C classes.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator, Sequence

import numpy as np
import soxr
from numpy.typing import NDArray

from audiotag.config import Features
from audiotag.features.audio import RESAMPLING_QUALITY, checked_wave
from audiotag.features.spectrogram import as_seen, front_end_of
from audiotag.features.streaming import Reference, frame_stream
from audiotag.features.trimming import Wave
from audiotag.inference.labelling import Key
from audiotag.inference.load import Answering
from audiotag.inference.segments import check_windows
from audiotag.inference.spectrograms import Frames
from audiotag.inference.window import Window

LONGEST_S = 2  # of sound taken at once: an hour in one block takes no more memory than an hour of blocks
AT_ONCE = 16  # windows in a pass of the networks, where many are due


class LiveStream:
    """Windows of `window_frames` frames, one every `every_frames`, over sound that comes in blocks; from `Tagger.live`.

    Both count frames of the first run's front end; those of other front ends are windows of the same time. Left out, a
    window is as long as a training excerpt. Nothing is trimmed and nothing repeated: the networks hear the frames as
    they come, relative to `reference`. `skipped` counts windows that `push` was told not to wait for.

        with tagger.live(44_100, window_frames=256, every_frames=10) as stream:
            for block in blocks:  # arrays (samples,)
                for window in stream.push(block):
                    print(window.begin_s, window.label)

    Raises AudiotagError if a network does not take windows so short.
    """

    def __init__(
        self,
        tagger: Answering,
        classes: Sequence[str],
        sample_rate_hz: int,
        window_frames: int | None,
        every_frames: int,
        reference: Reference,
    ) -> None:
        checked_wave(np.zeros(0, np.float32), sample_rate_hz)
        features = tagger.groups[0][0].features
        self._seen = as_seen(features)
        self.sample_rate_hz, self.classes, self.skipped = sample_rate_hz, classes, 0
        self.window_frames = tagger.window_frames if window_frames is None else window_frames
        self.every_frames, self._reference, self._tagger = every_frames, reference, tagger
        if self.window_frames < 1 or every_frames < 1:
            raise ValueError(f"window_frames={window_frames} and every_frames={every_frames} must be 1 or more")
        self.frames_per_second = front_end_of(features).frames_per_second
        check_windows(tagger, self.window_s)
        self.restart(0.0)

    @property
    def window_s(self) -> float:
        """Seconds of a window."""
        return self.window_frames / self.frames_per_second

    def __enter__(self) -> LiveStream:
        return self

    def __exit__(self, *_: object) -> None:
        for ear in self._all:
            ear.close()

    def restart(self, at_s: float) -> None:
        """Begin anew with a sample at `at_s` seconds, after a gap: no window holds sound from both of its sides."""
        self._from_s, self._next, self._heard_s, self._ended = at_s, 0, 0.0, False  # `_next`: number of the next window
        self._ears = [
            Ear(spec.features, self.sample_rate_hz, self.window_s, self._reference) for spec, _ in self._tagger.groups
        ]
        self._eye, self._all = self._ears[0], self._ears
        if self._seen != self._tagger.groups[0][0].features:
            self._eye = Ear(self._seen, self.sample_rate_hz, self.window_s, self._reference)
            self._all = [*self._ears, self._eye]

    def push(self, block: NDArray[np.floating], newest: bool = False) -> list[Window]:
        """Take the next samples, and return the windows that they complete; `newest`: the last of them alone.

        Raises TypeError and ValueError as `Tagger.posteriors` does.
        """
        wave = checked_wave(block, self.sample_rate_hz)
        if len(wave) > LONGEST_S * self.sample_rate_hz and not newest:
            pieces = np.array_split(wave, math.ceil(len(wave) / (LONGEST_S * self.sample_rate_hz)))
            return [window for piece in pieces for window in self.push(piece)]
        for ear in self._all:
            ear.push(wave)
        due = []
        while all(ear.holds(self._begin_s(self._next)) for ear in self._ears):
            due.append(self._begin_s(self._next))
            self._next += 1
        if newest and len(due) > 1:
            self.skipped += len(due) - 1
            due = due[-1:]
        windows = self._label(due)
        # The last window may yet be one that ends here.
        needed_s = min(self._begin_s(self._next), self._end_s - self.window_s)
        for ear in self._all:
            ear.forget(needed_s)
        return windows

    def finish(self) -> list[Window]:
        """Return the windows of the samples at the end: what no window has held yet ends the last one.

        Sound shorter than a window is repeated to fill one, as recordings are.
        """
        if self._ended:
            return []
        self._ended = True
        for ear in self._all:
            ear.finish()
        windows = self.push(np.zeros(0, np.float32))
        if self._end_s > self._heard_s + 1e-9:
            windows += self._label([max(self._end_s - self.window_s, 0.0)])
        return windows

    def over(self, blocks: Iterable[NDArray[np.floating]]) -> Iterator[Window]:
        """Yield the windows of all blocks, and the last one."""
        for block in blocks:
            yield from self.push(block)
        yield from self.finish()

    def new_frames(self) -> Frames:
        """Return the frames (T, F) that came since the last call, as a window of the first run holds them.

        Of a front end whose bands are no frequencies, they are those by which recordings are shown instead.
        """
        return self._eye.new_frames()

    @property
    def _end_s(self) -> float:
        """How much all have heard."""
        return min(ear.end_s for ear in self._ears)

    def _begin_s(self, number: int) -> float:
        return number * self.every_frames / self.frames_per_second

    def _label(self, begins_s: Sequence[float]) -> list[Window]:
        """Return the windows that begin at these times, counted from the last restart."""
        if not begins_s:
            return []
        answers: list[dict[Key, NDArray[np.float64]]] = [{} for _ in begins_s]
        for ear, (_, networks) in zip(self._ears, self._tagger.groups, strict=True):
            keys = list(networks.by_key)
            cut = [ear.window(begin_s) for begin_s in begins_s]
            posteriors = np.concatenate(list(networks.each(cut, AT_ONCE, keys)), axis=1)  # (K, B, C)
            for number, own in enumerate(answers):
                own |= dict(zip(keys, posteriors[:, number], strict=True))
        fused = self._tagger.fuse(answers).posteriors
        ends_s = [min(begin_s + self.window_s, self._end_s) for begin_s in begins_s]
        self._heard_s = ends_s[-1]
        return [
            Window(self._from_s + begin_s, self._from_s + end_s, posterior, self.classes)
            for begin_s, end_s, posterior in zip(begins_s, ends_s, fused, strict=True)
        ]


class Ear:
    """What networks of equal features hear of a stream: its frames at their own rate, and windows of them.

    Times are in seconds from the beginning of the stream.
    """

    def __init__(self, features: Features, sample_rate_hz: int, window_s: float, reference: Reference) -> None:
        front_end = front_end_of(features)
        self._rate = front_end.frames_per_second
        self._length = round(window_s * self._rate)
        self._frames = frame_stream(front_end, features.trim, reference)
        self._none: Frames = np.zeros((0, front_end.bands), np.float16)
        self._shown = 0
        self._resampler = None
        if sample_rate_hz != front_end.sample_rate_hz:
            rates = sample_rate_hz, front_end.sample_rate_hz
            self._resampler = soxr.ResampleStream(*rates, 1, "float32", RESAMPLING_QUALITY)

    @property
    def end_s(self) -> float:
        """How much has been heard."""
        return self._frames.end / self._rate

    def push(self, wave: Wave) -> None:
        """Take the next samples (samples,)."""
        self._frames.push(wave if self._resampler is None else self._resampler.resample_chunk(wave))

    def finish(self) -> None:
        """Take note that no more samples come."""
        if self._resampler is not None:
            self._frames.push(self._resampler.resample_chunk(np.zeros(0, np.float32), last=True))
            self._resampler = None
        self._frames.finish()

    def close(self) -> None:
        """Let go of the resampler, which complains of being left when the program is interrupted."""
        self._resampler = None

    def holds(self, begin_s: float) -> bool:
        """Return whether the window that begins then is whole."""
        return round(begin_s * self._rate) + self._length <= self._frames.end

    def window(self, begin_s: float) -> Frames:
        """Return the window's frames (T, F), of a stream that ended too soon repeated to its length."""
        begin, end = round(begin_s * self._rate), self._frames.end
        if end - begin >= self._length:
            return self._frames.window(begin, self._length)
        begin = max(min(begin, end - self._length), 0)
        length = min(self._length, end - begin)
        return self._frames.window(begin, length)[np.arange(self._length) % length]

    def new_frames(self) -> Frames:
        """Return the frames (T, F) that came since the last call, as many as a window has at most."""
        end = self._frames.end
        begin = max(end - self._length, self._frames.begin)
        new = self._frames.window(begin, end - begin)[max(self._shown - begin, 0) :] if end > begin else self._none
        self._shown = end
        return new

    def forget(self, before_s: float) -> None:
        """Let go of the frames before then."""
        self._frames.forget(max(math.floor(before_s * self._rate), 0))

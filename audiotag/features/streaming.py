"""Spectrograms of sound that is still coming: each frame is measured once, and related to a level when it is looked at.

A recording's spectrogram is relative to its loudest moment, of which a stream knows only the past. What takes its place
is a `ReferenceLevel`. Shapes: F bands, T frames.
"""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from numpy.typing import NDArray

from audiotag.config import ReferenceLevel
from audiotag.errors import ConfigError
from audiotag.features.spectrogram import FourierFrontEnd, Framing, FrontEnd, Level, Measured
from audiotag.features.trimming import PEAK, Wave

Reference = ReferenceLevel | Level  # settings, or a level that is known, such as that of a recording


class FrameStream(Protocol):
    """Frames (T, F), in half precision as the spectrogram store holds them, of samples that come in blocks."""

    begin: int
    """The first frame that is still held."""
    end: int
    """How many frames have come."""

    def push(self, wave: Wave) -> None:
        """Take the next samples (samples,), at the front end's rate."""

    def finish(self) -> None:
        """Take note that no more samples come."""

    def window(self, begin: int, length: int) -> NDArray[np.float16]:
        """Return the frames (length, F) from `begin` on."""

    def forget(self, before: int) -> None:
        """Let go of the frames before this one."""


def frame_stream(front_end: FrontEnd, trimmed: bool, reference: Reference) -> FrameStream:
    """Return a stream of a front end's frames; `trimmed`: of a run that trims its recordings, and so scales them.

    A front end that is no FourierFrontEnd can only take each window by itself, as a recording of its own: raises
    ConfigError for another reference.
    """
    if isinstance(front_end, FourierFrontEnd):
        return MeasuredFrames(front_end, trimmed, reference)
    if isinstance(reference, Level) or reference.level != "window":
        name = f"{type(front_end).__module__}.{type(front_end).__qualname__}"
        advice = "only a FourierFrontEnd relates frames to another level: set reference.level=window"
        raise ConfigError("The front end cannot follow a stream so:", [f"{name}: {advice}"])
    return WindowsAlone(front_end, trimmed)


class MeasuredFrames:
    """The frames of a FourierFrontEnd, measured once, as they come."""

    def __init__(self, front_end: FourierFrontEnd, trimmed: bool, reference: Reference) -> None:
        self._front_end, self._trimmed, self._reference = front_end, trimmed, reference
        self._framing = Framing(front_end)
        self._lasting: torch.Tensor | None = None  # (X, frames), from frame `begin` on
        self._peaks = self._magnitudes = torch.zeros(0)  # (frames,), the last ones, as far as the reference looks back
        self.begin = self.end = 0

    @torch.inference_mode()
    def push(self, wave: Wave) -> None:
        """Take the next samples (samples,), at the front end's rate."""
        if len(wave) and (segment := self._framing.push(wave)) is not None:
            self._add(self._front_end.measure(segment))

    @torch.inference_mode()
    def finish(self) -> None:
        """Take note that no more samples come: the last frames are those of the end of a recording."""
        if self._framing.n_samples and (segment := self._framing.finish()) is not None:
            self._add(self._front_end.measure(segment))

    def _add(self, measured: Measured) -> None:
        lasting = measured.lasting
        self._lasting = lasting if self._lasting is None else torch.cat((self._lasting, lasting), dim=1)
        self._peaks = torch.cat((self._peaks, measured.peaks))
        self._magnitudes = torch.cat((self._magnitudes, measured.magnitudes))
        self.end += lasting.shape[1]

    @torch.inference_mode()
    def window(self, begin: int, length: int) -> NDArray[np.float16]:
        """Return the frames (length, F) from `begin` on, relative to the level that is their reference."""
        assert self._lasting is not None, "no frame has come yet"
        assert self.begin <= begin <= begin + length <= self.end, "frames that have not come, or are forgotten"
        level = self.level(begin, length)
        gain = PEAK / level.peak if self._trimmed and level.peak > 0 else 1.0
        frames = self._front_end.relate(self._lasting[:, begin - self.begin :][:, :length], level, gain)
        return frames.half().T.contiguous().numpy()

    def level(self, begin: int, length: int) -> Level:
        """Return the level that a window is relative to."""
        if isinstance(self._reference, Level):
            return self._reference
        if self._reference.level == "fixed":
            return sine_level(self._reference.dbfs, self._front_end)
        end = begin + length
        since = max(end - self._memory_frames(length), 0)
        first = self.end - len(self._peaks)  # the first frame whose level is known
        heard = slice(max(since - first, 0), end - first)
        floor = sine_level(self._reference.floor_dbfs, self._front_end)
        peak, magnitude = float(self._peaks[heard].amax()), float(self._magnitudes[heard].amax())
        return Level(max(peak, floor.peak), max(magnitude, floor.magnitude))

    def forget(self, before: int) -> None:
        """Let go of the frames before this one, and of levels that no later window looks back to."""
        if self._lasting is not None and before > self.begin:
            self._lasting = self._lasting[:, before - self.begin :].clone()
            self.begin = min(before, self.end)
        known = self._memory_frames(0) + self.end - self.begin
        self._peaks, self._magnitudes = self._peaks[-known:].clone(), self._magnitudes[-known:].clone()

    def _memory_frames(self, length: int) -> int:
        if isinstance(self._reference, Level) or self._reference.level != "running":
            return length
        return max(length, round(self._reference.memory_s * self._front_end.frames_per_second))


class WindowsAlone:
    """The frames of any front end, computed anew for each window, which is heard as a recording of its own."""

    def __init__(self, front_end: FrontEnd, trimmed: bool) -> None:
        self._front_end, self._trimmed, self._hop = front_end, trimmed, front_end.hop_samples
        self._held = np.zeros(0, np.float32)  # samples, from frame `begin` on
        self._ahead = next(n for n in range(1_000) if front_end.n_frames((1_000 + n) * self._hop) >= 1_000)
        self.begin = self.end = 0

    def push(self, wave: Wave) -> None:
        """Take the next samples (samples,), at the front end's rate."""
        self._held = np.concatenate((self._held, wave))
        self.end = self.begin + max(len(self._held) // self._hop - self._ahead, 0)

    def finish(self) -> None:
        """Take note that no more samples come: less than a hop of them is left out."""

    @torch.inference_mode()
    def window(self, begin: int, length: int) -> NDArray[np.float16]:
        """Return the frames (length, F) of the samples from `begin` on."""
        wave = self._held[(begin - self.begin) * self._hop :][: (length + self._ahead) * self._hop]
        peak = float(np.abs(wave).max())
        wave = wave * np.float32(PEAK / peak) if self._trimmed and peak > 0 else wave
        frames = self._front_end(torch.from_numpy(wave)[None])[0][:, :length]
        return frames.half().T.contiguous().numpy()

    def forget(self, before: int) -> None:
        """Let go of the samples before this frame."""
        if before > self.begin:
            self._held = self._held[(before - self.begin) * self._hop :].copy()
            self.begin = before


def sine_level(dbfs: float, front_end: FourierFrontEnd) -> Level:
    """Return the level of a sine whose peak is so many decibels relative to full scale."""
    peak = 10 ** (dbfs / 20)
    return Level(peak, peak * float(front_end.window.sum()) / 2)

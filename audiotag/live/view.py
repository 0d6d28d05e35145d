"""What a person sees of a live stream in a terminal: pictures made of what was heard, without any terminal.

Shapes: F bands, T frames, C classes.
"""

from __future__ import annotations

import functools
import itertools
import math
import textwrap
from collections import deque
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from rich.cells import set_cell_size
from rich.color import Color
from rich.style import Style
from rich.text import Text

from audiotag.features.trimming import Wave

COLUMN_S = 0.05  # of sound in a column of the spectrogram
INFERNO = np.array([(0, 0, 4), (66, 10, 104), (147, 38, 103), (221, 81, 58), (252, 165, 10), (252, 255, 164)])
COLOURS = 32
SHADES = " ░▒▓█"  # where there is no colour
SILENCE_DBFS = -96.0  # shown as the lowest


class Smoothed:
    """Posteriors (C,) that forget: after `smoothing_s` seconds 37 % of what was heard is left."""

    def __init__(self, smoothing_s: float) -> None:
        self._smoothing_s = smoothing_s
        self._mean: NDArray[np.float64] | None = None
        self._at_s = 0.0

    def add(self, posteriors: NDArray[np.float64], at_s: float) -> NDArray[np.float64]:
        """Take what is heard at `at_s`, and return the mean so far."""
        if self._mean is None or self._smoothing_s == 0:
            self._mean = posteriors
        else:
            kept = math.exp(-(at_s - self._at_s) / self._smoothing_s)
            self._mean = kept * self._mean + (1 - kept) * posteriors
        self._at_s = at_s
        return self._mean


class Scroll:
    """The last columns of a spectrogram that runs by: of each stretch of frames the loudest moment of every band."""

    def __init__(self, frames_per_second: float, most: int = 512) -> None:
        self._step = max(1, round(COLUMN_S * frames_per_second))
        self._columns: deque[NDArray[np.floating]] = deque(maxlen=most)
        self._rest: NDArray[np.floating] | None = None

    def add(self, frames: NDArray[np.floating]) -> None:
        """Take the next frames (T, F)."""
        frames = frames if self._rest is None else np.concatenate((self._rest, frames))
        whole = len(frames) - len(frames) % self._step
        for begin in range(0, whole, self._step):
            self._columns.append(frames[begin : begin + self._step].max(axis=0))
        self._rest = frames[whole:]

    def picture(self, width: int, rows: int) -> NDArray[np.float64]:
        """Return the last columns as (rows, at most width), the highest band above, 0 (quiet) to 1 (loud)."""
        if not self._columns:
            return np.zeros((rows, 0))
        columns = np.array([*self._columns][-width:], np.float64).T  # (F, width)
        edges = np.linspace(0, len(columns), min(rows, len(columns)) + 1).round().astype(int)
        bands = np.stack([columns[a:b].max(axis=0) for a, b in itertools.pairwise(edges)])[::-1]
        low, high = np.percentile(bands, (10, 99.5))
        return np.clip((bands - low) / max(high - low, 1e-9), 0, 1)


@dataclass
class Meter:
    """How loud the last samples were, in decibels relative to full scale."""

    peak_dbfs: float = SILENCE_DBFS
    rms_dbfs: float = SILENCE_DBFS

    def add(self, wave: Wave) -> None:
        """Take the next samples (samples,)."""
        if len(wave):
            self.peak_dbfs = _dbfs(float(np.abs(wave).max()))
            self.rms_dbfs = _dbfs(float(np.sqrt(np.square(wave, dtype=np.float64).mean())))


def _dbfs(level: float) -> float:
    return max(20 * math.log10(level), SILENCE_DBFS) if level > 0 else SILENCE_DBFS


def spectrogram_text(picture: NDArray[np.float64], colour: bool) -> Text:
    """Draw a picture (rows, width) of 0 to 1: two rows a line, in colours or else in shades."""
    rows = picture if len(picture) % 2 == 0 else np.concatenate((np.zeros((1, picture.shape[1])), picture))
    if not colour:
        steps = (rows.reshape(len(rows) // 2, 2, -1).max(axis=1) * (len(SHADES) - 1)).round().astype(int)
        return Text("\n".join("".join(SHADES[step] for step in line) for line in steps))
    steps = (rows * (COLOURS - 1)).round().astype(int)
    text = Text()
    for number, (upper, lower) in enumerate(zip(steps[::2], steps[1::2], strict=True)):
        text.append("\n" if number else "")
        for above, below in zip(upper.tolist(), lower.tolist(), strict=True):
            text.append("▀", _style(above, below))
    return text


@functools.cache
def _style(above: int, below: int) -> Style:
    return Style(color=_colour(above), bgcolor=_colour(below))


def _colour(step: int) -> Color:
    at = step / (COLOURS - 1) * (len(INFERNO) - 1)
    red, green, blue = (float(np.interp(at, range(len(INFERNO)), INFERNO[:, part])) for part in range(3))
    return Color.from_rgb(red, green, blue)


def bars_text(labels: Sequence[str], posteriors: NDArray[np.float64], top: int, width: int) -> Text:
    """Draw a bar for each of the `top` most probable labels, the first one strongest."""
    order = np.argsort(-posteriors, kind="stable")[:top]
    room = max(8, min(max(len(labels[i]) for i in order), width // 3))
    length = max(4, width - room - 8)
    text = Text()
    for rank, i in enumerate(order):
        text.append("\n" if rank else "")
        text.append(set_cell_size(labels[i], room) + " ", "bold" if rank == 0 else "")
        text.append(_bar(posteriors[i], length), "green" if rank == 0 else "cyan")
        text.append(f" {posteriors[i]:.3f}")
    return text


def meter_text(meter: Meter, width: int) -> Text:
    """Draw the level, and where its peak is near full scale, say so."""
    length = max(4, width - 9 - 17)
    share = 1 - meter.rms_dbfs / SILENCE_DBFS
    style = "red" if meter.peak_dbfs > -1 else "yellow" if meter.peak_dbfs > -6 else "green"
    text = Text(set_cell_size("Level", 8) + " ")
    text.append(_bar(share, length), style)
    return text.append(f" {meter.rms_dbfs:4.0f}, {meter.peak_dbfs:4.0f} dBFS")


def _bar(share: float, length: int) -> str:
    eighths = round(min(max(share, 0.0), 1.0) * length * 8)
    full, rest = divmod(eighths, 8)
    return ("█" * full + ("▏▎▍▌▋▊▉"[rest - 1] if rest else "")).ljust(length)


@dataclass
class Scene:
    """All that is shown of a stream at a moment; `posteriors` (C,) are the smoothed ones, None before the first."""

    labels: Sequence[str]
    top: int
    scroll: Scroll
    meter: Meter
    posteriors: NDArray[np.float64] | None = None
    status: str = ""

    def draw(self, width: int, height: int, colour: bool) -> Text:
        """Return the picture, at most `height` lines of `width` cells."""
        status = textwrap.wrap(self.status, max(width, 20))
        lines = max(2, min(16, height - self.top - len(status) - 3))
        parts = [spectrogram_text(self.scroll.picture(width, 2 * lines), colour)]
        if self.posteriors is None:
            parts.append(Text("listening", "dim"))
        else:
            parts.append(bars_text(self.labels, self.posteriors, self.top, width))
        parts += [meter_text(self.meter, width), *(Text(line, "dim") for line in status)]
        return Text("\n", no_wrap=True, overflow="crop").join(parts)

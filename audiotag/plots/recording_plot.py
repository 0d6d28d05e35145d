"""A picture of a recording: its waveform, its spectrogram, and what networks hear in it, over one axis of seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from audiotag.plots.figures import BLUE, GREY, plain

MOST_COLUMNS = 2000  # of the picture, or up to twice as many: longer recordings are drawn by their extremes
TICKS_HZ = (100, 200, 500, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True, eq=False)
class PosteriorTrack:
    """Posteriors (C,) of the classes along time: (N, C) of windows that begin and end at seconds (N,)."""

    posteriors: NDArray[np.float64]
    begins_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]
    classes: list[str]
    title: str


@dataclass(frozen=True, eq=False)
class RecordingData:
    """What is drawn: the wave as it lies on disk, which part of it trimming keeps, and that part's spectrogram.

    Both in columns: `lowest` and `highest` (N,) are the wave's extremes, every `wave_step_s`; `spectrogram` (F, N), the
    loudest every `step_s`, has bands that peak at `center_hz` (F,).
    """

    title: str
    lowest: NDArray[np.float32]
    highest: NDArray[np.float32]
    wave_step_s: float
    length_s: float
    kept_s: tuple[float, float]
    spectrogram: NDArray[np.float32]
    step_s: float
    center_hz: NDArray[np.float64]
    front_end: str


def step_of(n: int) -> int:
    """Return how many of `n` values along time make a column."""
    return max(1, n // MOST_COLUMNS)


class ColumnMaxima:
    """The largest of every `step_of(n)` of `n` values (n, ...) along time, which come in pieces."""

    def __init__(self, n: int) -> None:
        self.step, self._n_columns, self._at = step_of(n), -(-n // step_of(n)), 0
        self._largest: NDArray[np.float32] | None = None

    def add(self, piece: NDArray[np.floating]) -> None:
        """Take the next values (m, ...), m at least 1."""
        if self._largest is None:
            self._largest = np.full((self._n_columns, *piece.shape[1:]), -np.inf, np.float32)
        first, last = self._at // self.step, (self._at + len(piece) - 1) // self.step
        begins = np.maximum(np.arange(first, last + 1) * self.step - self._at, 0)
        found = self._largest[first : last + 1]
        np.maximum(found, np.maximum.reduceat(piece, begins, axis=0), out=found)
        self._at += len(piece)

    @property
    def largest(self) -> NDArray[np.float32]:
        """The columns (N, ...), once all values have come."""
        assert self._largest is not None
        return self._largest


def draw_recording(recording: RecordingData, track: PosteriorTrack | None = None, top: int = 5) -> Figure:
    """Draw the waveform, its trimmed margins shaded, the spectrogram, and, if given, the `top` classes along time."""
    heights = [1, 2, 0.3 + 0.22 * top] if track else [1, 2]
    figure = Figure(figsize=(9, 1.8 * sum(heights)), dpi=120, layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_wave(axes[0], recording)
    axes[0].set_title(plain(recording.title), fontsize=9)
    image = _draw_spectrogram(axes[1], recording)
    figure.colorbar(image, ax=axes[1], label=f"front end {recording.front_end}", pad=0.01)
    if track:
        mesh = _draw_posteriors(axes[2], track, top)
        figure.colorbar(mesh, ax=axes[2], label="posterior", pad=0.01)
    axes[-1].set_xlabel("time, s")
    axes[0].set_xlim(0, recording.length_s)
    return figure


def _draw_wave(axes: Axes, recording: RecordingData) -> None:
    length_s = recording.length_s
    times = np.arange(len(recording.highest)) * recording.wave_step_s
    if np.array_equal(recording.lowest, recording.highest):
        axes.plot(times, recording.highest, color=BLUE, linewidth=0.7)
    else:
        axes.fill_between(times, recording.lowest, recording.highest, color=BLUE, linewidth=0.3)
    margins = [(0.0, recording.kept_s[0]), (recording.kept_s[1], length_s)]
    for begin, end in margins:
        if end > begin:
            axes.axvspan(begin, end, color=GREY, alpha=0.35, linewidth=0, label="trimmed")
    trimmed_s = sum(end - begin for begin, end in margins)
    axes.annotate(
        f"trimmed: {trimmed_s:.3f} s of {length_s:.3f} s", (0.995, 0.96), xycoords="axes fraction", ha="right",
        va="top", fontsize=7,
    )  # fmt: skip
    limit = max(float(recording.highest.max()), -float(recording.lowest.min()), 1e-3)
    axes.set(ylabel="amplitude", ylim=(-1.05 * limit, 1.05 * limit))


def _draw_spectrogram(axes: Axes, recording: RecordingData):  # type: ignore[no-untyped-def] # matplotlib's AxesImage
    bands, columns = recording.spectrogram.shape
    begin = recording.kept_s[0]
    extent = (begin, begin + columns * recording.step_s, -0.5, bands - 0.5)
    image = axes.imshow(
        recording.spectrogram, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest"
    )
    center = recording.center_hz
    places = dict(zip(TICKS_HZ, np.interp(TICKS_HZ, center, np.arange(bands)), strict=True))
    ticks: list[int] = []
    for hz in TICKS_HZ:  # the lowest bands are narrow: their names would lie on each other
        if center[0] <= hz <= center[-1] and (not ticks or places[hz] - places[ticks[-1]] > bands / 20):
            ticks.append(hz)
    axes.set_yticks([places[hz] for hz in ticks], [f"{hz:,}" for hz in ticks])
    axes.set_ylabel("frequency, Hz")
    return image


def _draw_posteriors(axes: Axes, track: PosteriorTrack, top: int):  # type: ignore[no-untyped-def] # matplotlib's QuadMesh
    best = np.argsort(-track.posteriors.max(axis=0), kind="stable")[:top]
    # Windows overlap: each is drawn from the middle between its centre and the one's before to that of the one after.
    centres = (track.begins_s + track.ends_s) / 2
    edges = np.concatenate(([track.begins_s[0]], (centres[1:] + centres[:-1]) / 2, [track.ends_s[-1]]))
    columns = ColumnMaxima(len(centres))
    columns.add(track.posteriors[:, best])
    drawn = np.append(edges[:-1][:: columns.step], edges[-1])
    mesh = axes.pcolormesh(drawn, np.arange(len(best) + 1) - 0.5, columns.largest.T, cmap="cividis", vmin=0, vmax=1)
    axes.set_yticks(range(len(best)), [plain(track.classes[i]) for i in best], fontsize=7)
    axes.invert_yaxis()  # the first at the top
    pooled = f"; a column is the highest of {columns.step}" if columns.step > 1 else ""
    axes.set_title(plain(track.title) + pooled, fontsize=8)
    return mesh

"""A picture of a recording: its waveform, its spectrogram, and what networks hear in it, over one axis of seconds."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from numpy.typing import NDArray

from audiotag.evaluation.plots import BLUE, GREY

COLUMNS = 2000  # of the picture: longer recordings are drawn by their extremes
TICKS_HZ = (100, 200, 500, 1000, 2000, 5000, 10_000)


@dataclass(frozen=True, eq=False)
class Heard:
    """Posteriors (C,) of the classes along time: (N, C) of windows that begin and end at seconds (N,)."""

    posteriors: NDArray[np.float64]
    begins_s: NDArray[np.float64]
    ends_s: NDArray[np.float64]
    classes: list[str]
    title: str


@dataclass(frozen=True, eq=False)
class Picture:
    """What is drawn: the wave (N,) as it lies on disk, which part of it trimming keeps, and that part's spectrogram.

    `spectrogram` (F, T) has a frame every `hop_s`, and bands that peak at `center_hz` (F,).
    """

    title: str
    wave: NDArray[np.float32]
    rate_hz: int
    kept_s: tuple[float, float]
    spectrogram: NDArray[np.float32]
    hop_s: float
    center_hz: NDArray[np.float64]
    front_end: str


def draw_recording(picture: Picture, heard: Heard | None = None, top: int = 5) -> Figure:
    """Draw the waveform, its trimmed margins shaded, the spectrogram, and, if given, the `top` classes along time."""
    heights = [1, 2, 0.3 + 0.22 * top] if heard else [1, 2]
    figure = Figure(figsize=(9, 1.8 * sum(heights)), dpi=120, layout="constrained")
    axes = figure.subplots(len(heights), 1, sharex=True, height_ratios=heights)
    _draw_wave(axes[0], picture)
    axes[0].set_title(picture.title.replace("$", r"\$"), fontsize=9)
    image = _draw_spectrogram(axes[1], picture)
    figure.colorbar(image, ax=axes[1], label=f"front end {picture.front_end}", pad=0.01)
    if heard:
        mesh = _draw_posteriors(axes[2], heard, top)
        figure.colorbar(mesh, ax=axes[2], label="posterior", pad=0.01)
    axes[-1].set_xlabel("time, s")
    axes[0].set_xlim(0, len(picture.wave) / picture.rate_hz)
    return figure


def _draw_wave(axes: Axes, picture: Picture) -> None:
    length_s = len(picture.wave) / picture.rate_hz
    step = max(1, len(picture.wave) // COLUMNS)
    padded = np.pad(picture.wave, (0, -len(picture.wave) % step), mode="edge").reshape(-1, step)
    times = np.arange(len(padded)) * step / picture.rate_hz
    if step == 1:
        axes.plot(times, padded[:, 0], color=BLUE, linewidth=0.7)
    else:
        axes.fill_between(times, padded.min(axis=1), padded.max(axis=1), color=BLUE, linewidth=0.3)
    margins = [(0.0, picture.kept_s[0]), (picture.kept_s[1], length_s)]
    for begin, end in margins:
        if end > begin:
            axes.axvspan(begin, end, color=GREY, alpha=0.35, linewidth=0, label="trimmed")
    trimmed_s = sum(end - begin for begin, end in margins)
    axes.annotate(
        f"trimmed: {trimmed_s:.3f} s of {length_s:.3f} s", (0.995, 0.96), xycoords="axes fraction", ha="right",
        va="top", fontsize=7,
    )  # fmt: skip
    limit = max(float(np.abs(picture.wave).max()), 1e-3)
    axes.set(ylabel="amplitude", ylim=(-1.05 * limit, 1.05 * limit))


def _draw_spectrogram(axes: Axes, picture: Picture):  # type: ignore[no-untyped-def] # matplotlib's AxesImage
    bands, frames = picture.spectrogram.shape
    step = max(1, frames // COLUMNS)
    padded = np.pad(picture.spectrogram, ((0, 0), (0, -frames % step)), mode="edge")
    columns = padded.reshape(bands, -1, step).max(axis=2)
    begin = picture.kept_s[0]
    extent = (begin, begin + frames * picture.hop_s, -0.5, bands - 0.5)
    image = axes.imshow(columns, origin="lower", aspect="auto", extent=extent, cmap="magma", interpolation="nearest")
    center = picture.center_hz
    places = dict(zip(TICKS_HZ, np.interp(TICKS_HZ, center, np.arange(bands)), strict=True))
    ticks: list[int] = []
    for hz in TICKS_HZ:  # the lowest bands are narrow: their names would lie on each other
        if center[0] <= hz <= center[-1] and (not ticks or places[hz] - places[ticks[-1]] > bands / 20):
            ticks.append(hz)
    axes.set_yticks([places[hz] for hz in ticks], [f"{hz:,}" for hz in ticks])
    axes.set_ylabel("frequency, Hz")
    return image


def _draw_posteriors(axes: Axes, heard: Heard, top: int):  # type: ignore[no-untyped-def] # matplotlib's QuadMesh
    best = np.argsort(-heard.posteriors.max(axis=0), kind="stable")[:top]
    # Windows overlap: each is drawn from the middle between its centre and the one's before to that of the one after.
    centres = (heard.begins_s + heard.ends_s) / 2
    edges = np.concatenate(([heard.begins_s[0]], (centres[1:] + centres[:-1]) / 2, [heard.ends_s[-1]]))
    mesh = axes.pcolormesh(
        edges, np.arange(len(best) + 1) - 0.5, heard.posteriors[:, best].T, cmap="cividis", vmin=0, vmax=1
    )
    axes.set_yticks(range(len(best)), [heard.classes[i].replace("$", r"\$") for i in best], fontsize=7)
    axes.invert_yaxis()  # the first at the top
    axes.set_title(heard.title.replace("$", r"\$"), fontsize=8)
    return mesh

"""Pictures of results, each returned as a Figure; no screen is needed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix as count_confusions

from audiotag.files import replacing

# Of Okabe and Ito (2008), told apart by colour-blind people too.
BLUE, ORANGE, GREEN, GREY = "#0072B2", "#D55E00", "#009E73", "#999999"
DARK, LIGHT = "#111111", "#fefefe"  # on coloured cells, whatever the colours of the page around them


def save_png(path: Path, figure: Figure, **options: Any) -> None:
    """Write a picture, whole or not at all, that says which program made it."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "audiotag"}, **options)


def confusion_matrix(
    labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str], title: str = ""
) -> Figure:
    """Draw how many clips of each label (row) were taken for which class (column); colours are shares of a row."""
    counts = count_confusions(list(labels), list(predicted), labels=list(classes))
    shares = counts / np.maximum(counts.sum(axis=1, keepdims=True), 1)
    side = max(4.0, 1.8 + 0.27 * len(classes))
    figure = Figure(figsize=(side + 0.8, side), dpi=120, layout="constrained")
    axes = figure.subplots()
    image = axes.imshow(shares, cmap="cividis", vmin=0, vmax=1)
    bar = figure.colorbar(image, ax=axes, label="share of the label's clips", fraction=0.046)
    if bar.solids is not None:
        bar.solids.set_rasterized(True)  # 256 cells
    # Anchored at the axis, wherever the letters of a viewer's own font end.
    beside: dict[str, Any] = {"rotation": 90, "rotation_mode": "anchor", "ha": "right", "va": "center"}
    axes.set_xticks(range(len(classes)), _plain(classes), fontsize=8, **beside)
    axes.set_yticks(range(len(classes)), _plain(classes), fontsize=8)
    axes.set(xlabel="predicted", ylabel="label")
    axes.set_title(title, fontsize=9)
    for row, column in zip(*counts.nonzero(), strict=True):
        shade = DARK if shares[row, column] > 0.5 else LIGHT
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=shade)
    return figure


def curves_over_rounds(rounds: Sequence[dict[str, Any]], across: int = 4) -> Figure:
    """Draw what `summary.json` says of each round: accuracy, loss, what was accepted, and how much of it was right.

    At most `across` panels stand side by side.
    """
    known = any(r["precision"] is not None or r["recall"] is not None for r in rounds)
    panels = 4 if known else 3
    across = min(across, panels)
    down = -(-panels // across)
    figure = Figure(figsize=(2.35 * across, 3.2 * down), dpi=120, layout="constrained")
    accuracy, loss, accepted, *right = figure.subplots(down, across, squeeze=False).flat
    for axes in right[panels - 3 :]:
        axes.remove()
    right = right[: panels - 3]
    numbers = [r["round"] for r in rounds]
    mean = np.array([r["valid_accuracy"] for r in rounds])
    deviation = np.array([r["valid_accuracy_std"] for r in rounds])
    accuracy.fill_between(numbers, mean - deviation, mean + deviation, color=BLUE, alpha=0.2, linewidth=0)
    _line(accuracy, rounds, "valid_accuracy", BLUE, "mean ± deviation over folds")
    _line(loss, rounds, "valid_loss", BLUE, "mean over folds")
    _line(accepted, rounds, "considered", GREY, "considered")
    _line(accepted, rounds, "accepted", GREEN, "accepted")
    accepted.set_ylim(bottom=0)
    for axes in right:
        _line(axes, rounds, "precision", GREEN, "precision")
        _line(axes, rounds, "recall", ORANGE, "recall", marker="s")
        axes.set_ylim(0, 1.02)
    titles = ("Validation accuracy", "Validation loss", "Unverified clips", "Accepted against truth")
    for axes, title in zip((accuracy, loss, accepted, *right), titles, strict=False):
        axes.set_title(title, fontsize=10, pad=20)
        # Between title and curves, where it covers nothing.
        axes.legend(
            fontsize=8,
            frameon=False,
            ncols=2,
            columnspacing=1,
            handlelength=1.5,
            loc="lower center",
            bbox_to_anchor=(0.5, 0.98),
            borderpad=0.2,
        )
        axes.set_xlabel("round")
        mark_rounds(axes, numbers, 8)
        axes.grid(alpha=0.3)
    return figure


def mark_rounds(axes: Axes, rounds: Sequence[int], most: int) -> None:
    """Let an axis have room for all rounds, one too, and at most so many marks."""
    first, last = min(rounds), max(rounds)
    axes.set_xlim(first - 0.1 * max(last - first, 5), last + 0.1 * max(last - first, 5))
    axes.set_xticks(range(first, last + 1, -(-(last - first + 1) // most)))


def _line(axes: Axes, rounds: Sequence[dict[str, Any]], name: str, colour: str, label: str, marker: str = "o") -> None:
    known = [(r["round"], r[name]) for r in rounds if r[name] is not None]
    if known:
        axes.plot(*zip(*known, strict=True), marker=marker, markersize=4, color=colour, label=label)


def _plain(names: Sequence[str]) -> list[str]:
    """Keep matplotlib from reading a dollar sign as the begin of a formula."""
    return [name.replace("$", r"\$") for name in names]

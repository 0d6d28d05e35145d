"""Pictures of results, each returned as a Figure; no screen is needed."""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix as count_confusions

from audiotag.files import replacing

# Of Okabe and Ito (2008), which colour-blind people can tell apart.
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
    names = [plain(name) for name in classes]
    axes.set_xticks(range(len(classes)), names, fontsize=8, **beside)
    axes.set_yticks(range(len(classes)), names, fontsize=8)
    axes.set(xlabel="predicted", ylabel="label")
    axes.set_title(title, fontsize=9)
    for row, column in zip(*counts.nonzero(), strict=True):
        shade = DARK if shares[row, column] > 0.5 else LIGHT
        axes.text(column, row, str(counts[row, column]), ha="center", va="center", fontsize=8, color=shade)
    return figure


# Of each panel the lines: column of the rounds' table, label, colour, marker.
ROUND_PANELS = {
    "Validation accuracy": [("valid_accuracy", "mean ± deviation over folds", BLUE, "o")],
    "Validation loss": [("valid_loss", "mean over folds", BLUE, "o")],
    "Unverified clips": [("considered", "considered", GREY, "o"), ("accepted", "accepted", GREEN, "o")],
    "Accepted against truth": [("precision", "precision", GREEN, "o"), ("recall", "recall", ORANGE, "s")],
}


def curves_over_rounds(rounds: Sequence[dict[str, Any]], across: int = 4) -> Figure:
    """Draw what `summary.json` says of each round: accuracy, loss, what was accepted, and how much of it was right.

    At most `across` panels stand side by side; the last one is left out where the truth is not known.
    """
    table = pd.DataFrame(rounds).set_index("round")
    panels = list(ROUND_PANELS) if table[["precision", "recall"]].notna().any(axis=None) else list(ROUND_PANELS)[:3]
    across = min(across, len(panels))
    down = -(-len(panels) // across)
    figure = Figure(figsize=(2.35 * across, 3.2 * down), dpi=120, layout="constrained")
    grid = figure.subplots(down, across, squeeze=False).ravel()
    for axes, title in itertools.zip_longest(grid, panels):
        if title is None:
            axes.remove()
            continue
        for name, label, colour, marker in ROUND_PANELS[title]:
            known = table[name].dropna()
            if len(known):
                axes.plot(known.index, known, marker=marker, markersize=4, color=colour, label=label)
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
        mark_rounds(axes, list(table.index), 8)
        axes.grid(alpha=0.3)
    accuracy, _, accepted, *right = grid
    mean, deviation = table["valid_accuracy"], table["valid_accuracy_std"]
    accuracy.fill_between(table.index, mean - deviation, mean + deviation, color=BLUE, alpha=0.2, linewidth=0)
    accepted.set_ylim(bottom=0)
    for axes in right[: len(panels) - 3]:
        axes.set_ylim(0, 1.02)
    return figure


def mark_rounds(axes: Axes, rounds: Sequence[int], most: int) -> None:
    """Let an axis have room for all rounds, one too, and at most so many marks."""
    first, last = min(rounds), max(rounds)
    axes.set_xlim(first - 0.1 * max(last - first, 5), last + 0.1 * max(last - first, 5))
    axes.set_xticks(range(first, last + 1, -(-(last - first + 1) // most)))


def plain(text: str) -> str:
    """Keep matplotlib from reading a dollar sign as the begin of a formula."""
    return text.replace("$", r"\$")

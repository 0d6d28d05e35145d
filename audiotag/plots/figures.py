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
NO_CLASS = "(no class)"  # the column of predictions outside the class list, in confusion tables
DARK, LIGHT = "#111111", "#fefefe"  # on coloured cells, whatever the colours of the page around them


def save_png(path: Path, figure: Figure, **options: Any) -> None:
    """Write a picture, whole or not at all, that says which program made it."""
    with replacing(path) as temporary:
        figure.savefig(temporary, format="png", metadata={"Software": "audiotag"}, **options)


def f1_bars(per_class: pd.DataFrame, title: str = "") -> Figure:
    """Draw F1 of each class (columns label, count, f1), in the order of the table, with their mean.

    A class without clips has no bar, and is not part of the mean.
    """
    present = per_class[per_class["count"] > 0]
    figure = Figure(figsize=(5.5, max(2.2, 1.2 + 0.22 * len(per_class))), dpi=120, layout="constrained")
    axes = figure.subplots()
    there = [place for place, count in enumerate(per_class["count"]) if count]
    axes.barh(there, present["f1"], color=BLUE, height=0.7)
    for place, (f1, count) in enumerate(zip(per_class["f1"], per_class["count"], strict=True)):
        axes.text(1.02, place, f"{f1:.3f}" if count else "no clips", va="center", fontsize=7)
    mean = float(present["f1"].mean())
    axes.axvline(mean, color=ORANGE, linestyle="--", linewidth=1.2, label=f"mean of the classes: {mean:.3f}")
    axes.set_yticks(range(len(per_class)), [plain(name) for name in per_class["label"]], fontsize=7)
    axes.set(xlim=(0, 1.14), ylim=(len(per_class) - 0.4, -0.6), xlabel="F1")  # the first class at the top
    axes.set_xticks([0, 0.2, 0.4, 0.6, 0.8, 1])
    axes.grid(axis="x", alpha=0.3)
    axes.set_axisbelow(True)
    axes.set_title(title, fontsize=9)
    figure.legend(loc="outside lower center", fontsize=7, frameon=False)
    return figure


def confusion_table(labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> pd.DataFrame:
    """Count how many clips of each label (row) were taken for which class (column); the first column names the row.

    If a prediction is not in the class list, the last column, NO_CLASS, counts those.
    """
    known = set(classes)
    named = [name if name in known else NO_CLASS for name in predicted]
    columns = [*classes, *([NO_CLASS] if NO_CLASS in named else [])]
    table = pd.DataFrame(count_confusions(list(labels), named, labels=columns)[: len(classes)], columns=columns)
    table.insert(0, "label", list(classes), allow_duplicates=True)  # a class may be called label, too
    return table


def confusion_matrix(
    labels: Sequence[str], predicted: Sequence[str], classes: Sequence[str], title: str = ""
) -> Figure:
    """Draw what `confusion_table` counts; colours are shares of a row."""
    table = confusion_table(labels, predicted, classes).iloc[:, 1:]
    counts = table.to_numpy()
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
    names = [plain(str(name)) for name in table.columns]
    axes.set_xticks(range(len(names)), names, fontsize=8, **beside)
    axes.set_yticks(range(len(classes)), names[: len(classes)], fontsize=8)
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

"""Figures of a report, each drawn from a table of `audiotag.report.tables` and returned as a Figure.

All are narrow, so that their letters can be read on a phone, and legends stand outside of what is drawn.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np
import pandas as pd
from matplotlib.artist import Artist
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.patches import Patch
from matplotlib.ticker import MaxNLocator

from audiotag.plots.figures import BLUE, GREEN, GREY, ORANGE, mark_rounds
from audiotag.report.tables import REASONS
from audiotag.verification.rules import ACCEPTED, BELOW, DIFFERS, FULL, ISSUE, RELABELLED

WIDTH_INCHES = 4.7
PANEL_INCHES = 1.2  # height of one class's panel
ACROSS = 3  # panels side by side
NAME_LETTERS = 18  # of a class's name above its panel
LETTERS, SMALL = 9, 8  # points; a phone shows a point as a pixel
# Of every reason colour and hatching: neither is needed to tell them apart by the other.
LOOKS = {
    ACCEPTED: (GREEN, ""),
    RELABELLED: (ORANGE, "\\\\\\\\"),
    FULL: (BLUE, "////"),
    BELOW: ("#F0E442", "...."),
    ISSUE: ("#CC79A7", "++++"),
    DIFFERS: ("#cccccc", "xxxx"),
}
OTHER_LOOK = ("white", "")
OUTLINE: dict[str, Any] = {"edgecolor": "black", "linewidth": 0.3, "hatch_linewidth": 0.4}


def learning_curves(means: pd.DataFrame) -> Figure:
    """Draw loss and accuracy over all epochs, mean and deviation over folds, of `epoch_means`; rounds have borders."""
    figure = Figure(figsize=(WIDTH_INCHES, 4.6), dpi=200, layout="constrained")
    loss, accuracy = figure.subplots(2, 1, sharex=True)
    for axes, name, colour, label, line in (
        (loss, "train_loss", ORANGE, "training", "--"),
        (loss, "valid_loss", BLUE, "validation", "-"),
        (accuracy, "valid_accuracy", BLUE, "validation", "-"),
    ):
        middle, deviation = means[name], means[f"{name}_std"]
        marker = "." if len(means) < 60 else ""  # a curve of one epoch would be invisible without
        axes.fill_between(means["passed"], middle - deviation, middle + deviation, color=colour, alpha=0.2, linewidth=0)
        axes.plot(means["passed"], middle, color=colour, linestyle=line, marker=marker, linewidth=1.2, label=label)
    for axes, title in ((loss, "Loss"), (accuracy, "Validation accuracy")):
        _borders(axes, means)
        axes.set_title(title, fontsize=10, pad=14)
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=LETTERS)
    figure.legend(
        *loss.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=LETTERS, frameon=False
    )
    accuracy.set_xlabel("epochs since the beginning; above: round", fontsize=LETTERS)
    accuracy.xaxis.set_major_locator(MaxNLocator(integer=True))
    return figure


def _borders(axes: Axes, means: pd.DataFrame) -> None:
    """Draw where rounds begin, with their numbers above."""
    begin = 0.5
    for round_, last in means.groupby("round")["passed"].max().items():
        if begin > 1:
            axes.axvline(begin, color="black", linewidth=0.7, linestyle=":")
        middle = (begin + last + 0.5) / 2
        axes.text(
            middle, 1.01, str(round_), transform=axes.get_xaxis_transform(), ha="center", va="bottom", fontsize=SMALL
        )
        begin = last + 0.5


def accepted_per_round(counts: pd.DataFrame, cap: int | None) -> Figure:
    """Draw a panel per class of `reasons_per_class`: unverified and accepted clips over rounds, and the cap."""
    classes = list(dict.fromkeys(counts["label"]))
    figure, panels = _panels(classes, "clips", "round")
    top = counts["unverified"].max()
    for label, axes in zip(classes, panels, strict=True):
        rows = counts[counts["label"] == label]
        axes.plot(rows["round"], rows["unverified"], color=GREY, marker="s", markersize=2.5, linewidth=1)
        axes.plot(rows["round"], rows[ACCEPTED], color=GREEN, marker="o", markersize=3.5, linewidth=1.4)
        if cap is not None and cap <= top:
            axes.axhline(cap, color=ORANGE, linestyle="--", linewidth=1.1)
        axes.set_ylim(0, 1.12 * max(top, 1))
        mark_rounds(axes, rows["round"].tolist(), 4)
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
        axes.grid(alpha=0.3)
    drawn = [("accepted", GREEN, "o", "-"), ("unverified", GREY, "s", "-")]
    drawn += [("cap", ORANGE, "", "--")] if cap is not None and cap <= top else []
    handles = [
        panels[0].plot([], [], color=colour, marker=marker, markersize=4, linestyle=line, label=name)[0]
        for name, colour, marker, line in drawn
    ]
    figure.legend(handles=handles, loc="upper center", ncols=3, fontsize=LETTERS, frameon=False)
    return figure


def consensus_histograms(counts: pd.DataFrame, classes: Sequence[str], threshold: float | None) -> Figure:
    """Draw a panel per class of `consensus_counts`: clips by the posterior of their label, stacked by reason."""
    figure, panels = _panels(classes, "clips", "posterior of the given label")
    borders = [name for name in counts.columns if name not in ("label", "reason", "clips")]
    edges = np.linspace(0, 1, len(borders) + 1)
    for label, axes in zip(classes, panels, strict=True):
        floor = np.zeros(len(borders))
        for row in counts[counts["label"] == label].to_dict("records"):
            top = floor + np.array([row[name] for name in borders])
            colour, hatch = LOOKS.get(row["reason"], OTHER_LOOK)
            axes.stairs(top, edges, baseline=floor, fill=True, facecolor=colour, hatch=hatch, **OUTLINE)
            floor = top
        if threshold is not None:
            axes.axvline(threshold, color="black", linestyle="--", linewidth=1)
        axes.set_xlim(0, 1)
        axes.set_ylim(0, 1.1 * max(floor.max(), 1))  # each panel its own: classes differ by orders of magnitude
        axes.set_xticks([0, 0.5, 1], ["0", "0.5", "1"])
        axes.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    seen = [reason for reason in REASONS if (counts["reason"] == reason).any()]
    handles: list[Artist] = [
        Patch(facecolor=LOOKS[reason][0], hatch=LOOKS[reason][1], **OUTLINE, label=reason) for reason in seen
    ]
    if threshold is not None:
        handles += panels[0].plot([], [], color="black", linestyle="--", linewidth=1, label=f"threshold {threshold:g}")
    figure.legend(handles=handles, loc="upper center", ncols=3, fontsize=LETTERS, frameon=False)
    return figure


def _panels(classes: Sequence[str], vertical: str, horizontal: str) -> tuple[Figure, list[Axes]]:
    """Return a figure with a small panel per class, named above it, and room for a legend at the top."""
    down = -(-len(classes) // ACROSS)
    head, foot = 0.66, 0.42  # inches
    height = head + foot + down * PANEL_INCHES
    figure = Figure(figsize=(WIDTH_INCHES, height), dpi=200)
    figure.subplots_adjust(0.105, foot / height, 0.985, 1 - head / height, wspace=0.28, hspace=0.42)
    grid = list(figure.subplots(down, ACROSS, squeeze=False).flat)
    for axes, name in zip(grid, classes, strict=False):
        short = name if len(name) <= NAME_LETTERS else name[: NAME_LETTERS - 1] + "…"
        axes.set_title(short, fontsize=SMALL, pad=3, parse_math=False)
        axes.tick_params(labelsize=SMALL, pad=1.5, length=2)
    for axes in grid[len(classes) :]:
        axes.remove()
    figure.supxlabel(horizontal, fontsize=LETTERS, y=0.1 / height)
    figure.supylabel(vertical, fontsize=LETTERS, x=0.005)
    return figure, grid[: len(classes)]


def promise_chart(sets: pd.DataFrame, precision: float | None) -> Figure:
    """Draw the precision of the sets of `promised_precision` over their size: bound, expected, and real where known."""
    figure = Figure(figsize=(WIDTH_INCHES, 3.4), dpi=200, layout="constrained")
    axes = figure.subplots()
    looks = [
        ("low", BLUE, "o", "-", "at least (promised)"),
        ("expected", GREY, "s", "--", "expected"),
        ("precision", GREEN, "^", ":", "real (data.truth)"),
    ]
    for name, colour, marker, line, label in looks:
        if sets[name].notna().any():
            axes.plot(
                sets["labels"], sets[name], color=colour, marker=marker, linestyle=line, markersize=5, label=label
            )
    if precision is not None:
        axes.axhline(precision, color=ORANGE, linewidth=1, linestyle="--", label=f"asked for: {precision:g}")
    axes.set_xlim(left=0)
    axes.set_ylim(top=1.01)
    axes.set_xlabel("labels that the networks agree with, surest first", fontsize=LETTERS)
    axes.set_ylabel("share that is right", fontsize=LETTERS)
    axes.grid(alpha=0.3)
    axes.tick_params(labelsize=LETTERS)
    axes.xaxis.set_major_locator(MaxNLocator(6, integer=True))
    figure.legend(
        *axes.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=LETTERS, frameon=False
    )
    return figure


def reliability_diagram(curves: dict[str, pd.DataFrame]) -> Figure:
    """Draw accuracy over confidence, a curve per entry of `Reliability.bins`, and how many clips each bin holds."""
    figure = Figure(figsize=(WIDTH_INCHES, 5.2), dpi=200, layout="constrained")
    accuracy, clips = figure.subplots(2, 1, sharex=True, height_ratios=[3, 1])
    accuracy.plot(
        [0, 1], [0, 1], color="black", linestyle=":", linewidth=1, label="as often right as it says", zorder=1
    )
    looks = [(BLUE, "o", "-", ""), (ORANGE, "s", "--", "////")]
    for i, ((name, bins), (colour, marker, line, hatch)) in enumerate(zip(curves.items(), looks, strict=False)):
        held = bins[bins["clips"] > 0]
        accuracy.plot(
            held["confidence"], held["accuracy"], color=colour, marker=marker, markersize=5, linestyle=line, label=name
        )
        width = (bins["to"] - bins["above"]) * 0.9 / len(curves)
        left = bins["above"] + 0.05 * (bins["to"] - bins["above"]) + i * width
        clips.bar(left, bins["clips"], width, align="edge", facecolor=colour, hatch=hatch, **OUTLINE)
    accuracy.set(xlim=(0, 1), ylim=(0, 1.03))
    accuracy.set_ylabel("share that is right", fontsize=LETTERS)
    clips.set_xlabel("confidence: posterior of the predicted class", fontsize=LETTERS)
    clips.set_ylabel("clips", fontsize=LETTERS)
    clips.yaxis.set_major_locator(MaxNLocator(3, integer=True))
    for axes in (accuracy, clips):
        axes.grid(alpha=0.3)
        axes.tick_params(labelsize=LETTERS)
    figure.legend(
        *accuracy.get_legend_handles_labels(), loc="outside upper center", ncols=2, fontsize=LETTERS, frameon=False
    )
    return figure

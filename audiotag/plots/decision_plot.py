"""What a rule accepts, and how much of it is right, against the setting that was varied."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib import colormaps
from matplotlib.axes import Axes
from matplotlib.figure import Figure
from matplotlib.ticker import MaxNLocator

from audiotag.plots.figures import save_png

PANELS = {"accepted": "Labels accepted", "precision": "Precision", "recall": "Recall"}
NUMBERS = {"threshold": "Threshold on the consensus", "cap": "Most labels accepted per class"}
NUMBERS |= {"rule.precision": "Precision asked for", "confidence": "Confidence of the promise"}
MARKERS = "osD^vP*X<>h"  # a marker per round, so that colour is not needed to tell them apart


def plot_decisions(decisions: pd.DataFrame, folder: Path, best_round: int | None) -> Path:
    """Draw a panel each for accepted, precision and recall, a line or a row of points per round; return the PNG.

    Over threshold or cap where only that differs, else over the decisions by name.
    """
    number = _varied_number(decisions)
    panels = [name for name in PANELS if decisions[name].notna().any()]
    names = list(dict.fromkeys(decisions["decision"]))
    height = 3.6 if number else 1.6 + 0.55 * len(names)
    beside = 1.4 if number else 1.4 + 0.08 * max(map(len, names))  # the legend, and the names
    figure = Figure(figsize=(beside + 3.2 * len(panels), max(height, 2.8)), layout="constrained")
    figure.suptitle(folder.parent.name)
    axes = figure.subplots(1, len(panels), sharey=number is None, squeeze=False)[0]
    rounds = sorted(decisions["round"].unique())
    for panel, axis in zip(panels, axes, strict=True):
        for i, round_ in enumerate(rounds):
            rows = decisions[decisions["round"] == round_]
            label = f"round {round_}" + (" (best)" if round_ == best_round else "")
            look: dict[str, Any] = {
                "color": _colour(i, len(rounds)),
                "marker": MARKERS[i % len(MARKERS)],
                "label": label,
            }
            if number:
                rows = rows.assign(x=_numbers(rows, number)).sort_values("x")
                axis.plot(rows["x"], rows[panel], markersize=5, **look)
            else:  # rounds side by side, not on top of each other
                places = rows["decision"].map(names.index) + 0.5 * ((i + 0.5) / len(rounds) - 0.5)
                axis.plot(rows[panel], places, linestyle="none", markersize=7, **look)
        _finish(axis, panel, number, names)
    handles, labels = axes[0].get_legend_handles_labels()
    figure.legend(handles, labels, loc="outside right upper", frameon=False)
    path = folder / f"by_{(number or 'decision').removeprefix('rule.')}.png"
    save_png(path, figure, dpi=150)
    return path


def _varied_number(decisions: pd.DataFrame) -> str | None:
    """Return threshold or cap where the decisions differ in just that, and it is a number in all of them."""
    settings = decisions.loc[:, "rule":"round"].columns[:-1]
    varied = [name for name in settings if decisions[name].nunique(dropna=False) > 1]
    numeric = len(varied) == 1 and varied[0] in NUMBERS and _numbers(decisions, varied[0]).notna().all()
    return varied[0] if numeric else None


def _numbers(rows: pd.DataFrame, name: str) -> pd.Series:
    values = pd.to_numeric(rows[name])
    return values.fillna(0.0) if name == "threshold" else values  # no threshold: everything above 0


def _colour(i: int, count: int) -> tuple[float, ...]:
    """Return a colour in the order of rounds that colour-blind people can tell apart; the palest end is left out."""
    return tuple(colormaps["viridis"](0.85 * i / max(count - 1, 1)))


def _finish(axis: Axes, panel: str, number: str | None, names: list[str]) -> None:
    """Set title, ticks and limits; points at 0 and 1 are seen whole."""
    axis.set_title(PANELS[panel])
    axis.grid(alpha=0.3)
    values, set_limits = (axis.yaxis, axis.set_ylim) if number else (axis.xaxis, axis.set_xlim)
    if panel == "accepted":
        values.set_major_locator(MaxNLocator(5, integer=True))
        top = max(values.get_data_interval()[1], 1)
    else:
        top = 1
    set_limits(-0.05 * top, 1.05 * top)
    if number:
        axis.set_xlabel(NUMBERS[number])
    else:
        axis.set_yticks(range(len(names)), names)
        axis.set_ylim(len(names) - 0.5, -0.5)  # the first at the top

"""Per class: bars of F1, as in the writeup's figure, and counts of what was taken for what."""

from __future__ import annotations

from collections.abc import Sequence

import pandas as pd
from matplotlib.figure import Figure
from sklearn.metrics import confusion_matrix as count_confusions

from audiotag.plots.figures import BLUE, ORANGE, plain

NO_CLASS = "(no class)"  # the column of predictions outside the class list, in confusion tables


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

    If a prediction is not in the class list, the last column counts those.
    """
    named = as_classes(predicted, classes)
    columns = [*classes, *([NO_CLASS] if NO_CLASS in named else [])]
    counts = count_confusions(list(labels), named, labels=columns)[: len(classes)]
    table = pd.DataFrame(counts, columns=columns)
    table.insert(0, "label", list(classes), allow_duplicates=True)  # a class may be called label, too
    return table


def as_classes(predicted: Sequence[str], classes: Sequence[str]) -> list[str]:
    """Return the predictions, with NO_CLASS for what is not in the class list."""
    known = set(classes)
    return [name if name in known else NO_CLASS for name in predicted]

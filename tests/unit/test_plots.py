"""Pictures: what is drawn is what was counted, for any number of classes and rounds, without a screen."""

from __future__ import annotations

import io

import numpy as np
import pytest
from matplotlib.figure import Figure
from PIL import Image

from audiotag.plots.figures import confusion_matrix, curves_over_rounds

CLASSES = ["Bark", "Cello", "Gong"]
LABELS = ["Bark", "Bark", "Bark", "Cello", "Cello"]
PREDICTED = ["Bark", "Bark", "Cello", "Cello", "Gong"]


def png(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


def test_confusion_matrix_shows_counts_and_shares_of_the_label():
    figure = confusion_matrix(LABELS, PREDICTED, CLASSES, "held out")
    axes = figure.axes[0]
    counts = {tuple(reversed(text.get_position())): int(text.get_text()) for text in axes.texts}
    pairs = [(CLASSES.index(a), CLASSES.index(b)) for a, b in zip(LABELS, PREDICTED, strict=True)]
    assert counts == {pair: pairs.count(pair) for pair in set(pairs)}
    shares = np.asarray(axes.images[0].get_array())
    for row, label in enumerate(CLASSES):
        total = LABELS.count(label)
        expected = [pairs.count((row, column)) / total if total else 0 for column in range(len(CLASSES))]
        assert shares[row] == pytest.approx(expected)
    for ticks in (axes.get_xticklabels(), axes.get_yticklabels()):
        assert [tick.get_text() for tick in ticks] == CLASSES
    assert (axes.get_xlabel(), axes.get_ylabel(), axes.get_title()) == ("predicted", "label", "held out")


def test_confusion_matrix_takes_a_dollar_for_no_formula():
    png(confusion_matrix(["a$b", "c$"], ["c$", "a$b"], ["a$b", "c$", r"$\frac{"]))


def rounds(known: bool) -> list[dict[str, float | None]]:
    return [
        {
            "round": r, "valid_accuracy": 0.8 + r / 50, "valid_accuracy_std": 0.01, "valid_loss": 1 / (r + 1),
            "considered": 100, "accepted": 40 + r,
            "precision": 0.9 if known and r else None, "recall": 0.3 if known else None,
        }
        for r in range(4)
    ]  # fmt: skip


def test_curves_can_be_drawn_of_one_round():
    assert len(png(curves_over_rounds(rounds(known=False)[:1])).getcolors(1 << 20) or ()) > 10

"""Pictures of a report, drawn: nothing touches, and nothing is covered."""

from __future__ import annotations

import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox

from audiotag.plots.figures import curves_over_rounds
from audiotag.report.figures import (
    accepted_per_round,
    consensus_histograms,
    learning_curves,
    reliability_diagram,
)
from audiotag.report.tables import (
    consensus_counts,
    epoch_means,
    reasons_per_class,
    reliability,
)


def test_consensus_histograms_of_41_odd_classes_do_not_touch():
    classes = [f"Acoustic_guitar_or_fiddle_{i:02d}" for i in range(38)] + ["<b>", "a$b^{2", "Käuzchen"]
    ledger = pd.DataFrame({"round": 0, "label": classes, "posterior": 0.5, "reason": "accepted"})
    figure = consensus_histograms(consensus_counts(ledger, classes), classes, None)
    figure.draw_without_rendering()
    titles = [axes.title.get_window_extent() for axes in figure.axes]
    boxes = [*titles, *(axes.get_tightbbox() for axes in figure.axes)]
    assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in boxes)
    assert not any(a.overlaps(b) for a, b in itertools.combinations(titles, 2))
    assert figure.legends[0].get_window_extent().y0 > max(title.y1 for title in titles)


def boxes(figure: Figure) -> tuple[list[Bbox], list[Bbox]]:
    """Return where a figure's legends stand, and where its panels."""
    figure.draw_without_rendering()
    legends = [legend.get_window_extent() for legend in figure.legends]
    legends += [legend.get_window_extent() for axes in figure.axes if (legend := axes.get_legend())]
    return legends, [axes.get_window_extent() for axes in figure.axes]


@pytest.mark.parametrize(("rounds", "classes"), [(1, 1), (11, 41)])
def test_legends_cover_nothing(rounds, classes):
    names = [f"Acoustic_guitar_{i:02d}" for i in range(classes)]
    reasons = ["accepted", "below threshold", "label differs", "class is full"]
    rows = itertools.product(range(rounds), names, reasons)
    ledger = pd.DataFrame(rows, columns=["round", "label", "reason"]).assign(posterior=0.97)
    metrics = pd.DataFrame(itertools.product(range(rounds), [0, 1], range(2)), columns=["round", "fold", "epoch"])
    metrics = metrics.assign(train_loss=2.0, valid_loss=1.0, valid_accuracy=0.5)
    bins = reliability(np.array([[0.82, 0.18], [0.60, 0.40]]), np.array([0, 0])).bins
    values = {"valid_accuracy": 0.8, "valid_accuracy_std": 0.1, "valid_loss": 1.0, "considered": 9, "accepted": 8}
    figures = [{"round": r, **values, "precision": 1.0, "recall": 1.0} for r in range(rounds)]
    for figure in (
        accepted_per_round(reasons_per_class(ledger, names), cap=1),
        consensus_histograms(consensus_counts(ledger, names), names, 0.95),
        learning_curves(epoch_means(metrics)),
        reliability_diagram({"consensus": bins, "calibrated": bins}),
        curves_over_rounds(figures, across=2),
    ):
        legends, panels = boxes(figure)
        assert legends
        assert not [panel for panel in panels for legend in legends if legend.overlaps(panel)]
        assert all(figure.bbox.x0 <= box.x0 and box.x1 <= figure.bbox.x1 for box in legends)

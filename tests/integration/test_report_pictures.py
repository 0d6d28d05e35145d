"""Pictures of a report, drawn: nothing touches, and nothing is covered."""

from __future__ import annotations

import io
import itertools

import numpy as np
import pandas as pd
import pytest
from matplotlib.figure import Figure
from matplotlib.transforms import Bbox
from PIL import Image

from audiotag.plots.figures import confusion_matrix, curves_over_rounds
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


def png(figure: Figure) -> Image.Image:
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png")
    return Image.open(buffer).convert("RGB")


@pytest.mark.parametrize("classes", [2, 41])
def test_confusion_matrix_names_never_overlap_and_are_not_cut_off(classes):
    names = [f"Acoustic_guitar_{i:02d}" for i in range(classes)]
    figure = confusion_matrix(names, names, names, "Verified clips, held out, round 10")
    figure.draw_without_rendering()
    boxes = [tick.get_window_extent() for tick in figure.axes[0].get_yticklabels()]
    assert all(below.y1 <= above.y0 for above, below in itertools.pairwise(boxes))
    page = figure.bbox
    for box in [*boxes, figure.axes[0].title.get_window_extent()]:
        assert page.x0 <= box.x0 <= box.x1 <= page.x1


def rounds(known: bool) -> list[dict[str, float | None]]:
    return [
        {
            "round": r, "valid_accuracy": 0.8 + r / 50, "valid_accuracy_std": 0.01, "valid_loss": 1 / (r + 1),
            "considered": 100, "accepted": 40 + r,
            "precision": 0.9 if known and r else None, "recall": 0.3 if known else None,
        }
        for r in range(4)
    ]  # fmt: skip


def test_curves_draw_each_figure_over_the_rounds_where_it_is_known():
    figure = curves_over_rounds(rounds(known=True))
    drawn = {line.get_label(): list(zip(*line.get_data(), strict=True)) for axes in figure.axes for line in axes.lines}
    names = {"accepted": "accepted", "considered": "considered", "precision": "precision", "recall": "recall"}
    for label, name in names.items():
        assert drawn[label] == [(r["round"], r[name]) for r in rounds(known=True) if r[name] is not None]
    accuracy, loss = (figure.axes[i].lines[0].get_ydata() for i in range(2))
    assert list(accuracy) == [r["valid_accuracy"] for r in rounds(known=True)]
    assert list(loss) == [r["valid_loss"] for r in rounds(known=True)]
    assert png(figure).width > png(curves_over_rounds(rounds(known=False))).width

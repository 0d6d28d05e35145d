"""Numbers and figures of a report on small tables worked out by hand."""

from __future__ import annotations

import numpy as np
import pandas as pd
import pytest
from matplotlib.patches import StepPatch

from audiotag.report.figures import (
    accepted_per_round,
    consensus_histograms,
    learning_curves,
    reliability_diagram,
)
from audiotag.report.review import REVIEW_COLUMNS, disagreements, write_review
from audiotag.report.rounding import counted, decimals, posterior
from audiotag.report.tables import (
    confusions,
    consensus_counts,
    epoch_means,
    reasons_per_class,
    reliability,
)

LEDGER = pd.DataFrame(
    [
        (0, 0, "a", "Bark", "Bark", 0.97, 1, "accepted", 0.98),
        (0, 0, "b", "Bark", "Gong", 0.02, 0, "label differs", 0.1),
        (0, 1, "c", "Gong", "Gong", 0.60, 0, "below threshold", 0.7),
        (0, 1, "d", "Gong", "Bark", 0.05, 0, "label differs", 0.1),
        (0, 1, "e", "Gong", "Bark", 0.30, 0, "label differs", 0.4),
        (1, 0, "a", "Bark", "Bark", 1.00, 1, "accepted", 0.99),
    ],
    columns=["round", "fold", "clip_id", "label", "predicted", "posterior", "accepted", "reason", "p_right"],
)
FIRST = LEDGER[LEDGER["round"] == 0]
CLASSES = ["Bark", "Cello", "Gong"]


def test_expected_calibration_error_is_the_mean_gap_of_the_bins():
    # Bin (0.8, 0.9]: two clips, confidences 0.82 and 0.9, one right. Bin (0.5, 0.6]: one clip of 0.6, right.
    posteriors = np.array([[0.82, 0.18], [0.10, 0.90], [0.60, 0.40]])
    measured = reliability(posteriors, np.array([0, 0, 0]))
    held = measured.bins[measured.bins["clips"] > 0]
    assert held[["above", "to", "clips", "confidence", "accuracy"]].to_numpy() == pytest.approx(
        np.array([[0.5, 0.6, 1, 0.6, 1.0], [0.8, 0.9, 2, 0.86, 0.5]])
    )
    assert measured.error == pytest.approx((1 * 0.4 + 2 * 0.36) / 3)
    assert measured.bins["clips"].sum() == 3
    assert measured.bins["accuracy"].isna().sum() == 8


def test_learning_curves_are_means_and_deviations_over_the_folds_that_got_so_far():
    names = ["round", "fold", "epoch", "train_loss", "valid_loss", "valid_accuracy"]
    metrics = pd.DataFrame(
        [(0, 0, 0, 3, 2, 0.2), (0, 1, 0, 5, 4, 0.6), (0, 1, 1, 1, 1, 0.8), (1, 0, 0, 2, 3, 0.9), (1, 1, 0, 2, 3, 0.9)],
        columns=names,
    )
    means = epoch_means(metrics)
    assert means["passed"].tolist() == [1, 2, 3]
    assert means["folds"].tolist() == [2, 1, 2]
    assert means["valid_loss"].tolist() == [3, 1, 3]
    assert means["valid_accuracy_std"].tolist() == pytest.approx([0.2, 0, 0])
    loss, accuracy = learning_curves(means).axes
    drawn = {line.get_label(): list(line.get_ydata()) for line in loss.lines}
    assert drawn["validation"] == [3, 1, 3]
    assert drawn["training"] == [4, 1, 2]
    assert [text.get_text() for text in accuracy.texts] == ["0", "1"]


def test_acceptance_counts_every_class_and_round_and_draws_the_cap():
    counts = reasons_per_class(LEDGER, CLASSES)
    assert counts[["label", "round", "unverified", "accepted", "label differs"]].to_numpy().tolist() == [
        ["Bark", 0, 2, 1, 1], ["Bark", 1, 1, 1, 0], ["Cello", 0, 0, 0, 0], ["Cello", 1, 0, 0, 0],
        ["Gong", 0, 3, 0, 2], ["Gong", 1, 0, 0, 0],
    ]  # fmt: skip
    figure = accepted_per_round(counts, cap=2)
    lines = {tuple(line.get_ydata()) for line in figure.axes[0].lines}
    assert {(2, 1), (1, 1), (2, 2)} <= lines, "unverified, accepted and cap of Bark"
    assert "cap" in {text.get_text() for text in figure.legends[0].get_texts()}
    assert "cap" not in {text.get_text() for text in accepted_per_round(counts, cap=9).legends[0].get_texts()}


def test_consensus_counts_are_stacked_by_reason():
    counts = consensus_counts(FIRST, CLASSES)
    rows = counts.set_index(["label", "reason"])
    assert rows.at[("Bark", "accepted"), "0.95"] == 1
    assert rows.at[("Gong", "label differs"), "0.05"] == 1
    assert rows.at[("Gong", "label differs"), "0.30"] == 1
    assert rows.at[("Gong", "below threshold"), "0.60"] == 1
    assert counts["clips"].sum() == counts.iloc[:, 3:].to_numpy().sum() == len(FIRST)
    figure = consensus_histograms(counts, CLASSES, 0.95)
    drawn = [patch for patch in figure.axes[2].patches if isinstance(patch, StepPatch)]
    assert [np.sum(patch.get_data().values - patch.get_data().baseline) for patch in drawn] == [1, 2]
    assert [text.get_text() for text in figure.legends[0].get_texts()][-1] == "threshold 0.95"


def test_rounds_are_marked_by_whole_numbers():
    for rounds in (1, 2, 11):
        ledger = pd.DataFrame({"round": range(rounds), "label": "Bark", "reason": "accepted"})
        marks = accepted_per_round(reasons_per_class(ledger, ["Bark"]), None).axes[0].get_xticks()
        assert len(marks) <= 4
        assert set(marks) <= set(range(rounds))


def test_shares_have_as_many_digits_as_clips_bear():
    assert [decimals(clips) for clips in (0, 1, 60, 1000, 3710, 11_000)] == [2, 2, 2, 2, 3, 4]
    assert counted(2, 2) == "2 of 2"
    assert counted(0, 0) == "-"
    assert counted(50, 60) == "50 of 60 (83 %)"
    assert counted(3600, 3710) == "3600 of 3710 (97.0 %)"
    assert [posterior(value) for value in (0, 0.004, 0.5, 0.9996, 1)] == ["0.00", "< 0.01", "0.50", "> 0.99", "1.00"]


def test_reliability_diagram_draws_only_bins_with_clips():
    bins = reliability(np.array([[0.82, 0.18], [0.60, 0.40]]), np.array([0, 0])).bins
    lines = {line.get_label(): line.get_xdata() for line in reliability_diagram({"consensus": bins}).axes[0].lines}
    assert list(lines["consensus"]) == pytest.approx([0.6, 0.82])


def test_confusions_of_networks_that_are_always_right_are_none():
    table = confusions(["Bark", "Gong"], ["Bark", "Gong"])
    assert table.empty
    assert [*table] == ["label", "taken_for", "count", "share"]


def test_confusions_leave_out_right_predictions():
    table = confusions(["Bark", "Bark", "Bark", "Gong", "Gong"], ["Gong", "Gong", "Bark", "Bark", "Gong"])
    assert table.to_numpy().tolist() == [["Bark", "Gong", 2, 2 / 3], ["Gong", "Bark", 1, 0.5]]


@pytest.fixture
def ranked() -> pd.DataFrame:
    posteriors = pd.DataFrame(
        [[0.97, 0.02, 0.01], [0.02, 0.18, 0.80], [0.30, 0.10, 0.60], [0.90, 0.05, 0.05], [0.80, 0.10, 0.30]],
        index=list("abcde"),
        columns=CLASSES,
    )
    train = pd.DataFrame({"path": [f"audio/{clip}.wav" for clip in "abcde"]}, index=list("abcde"))
    return disagreements(FIRST, posteriors, train)


def test_disagreements_are_ranked_by_doubt_and_then_by_the_posterior_of_the_predicted_class(ranked):
    header = "rank,clip_id,path,label,predicted,posterior_label,posterior_predicted,p_right,round,fold,reason,decision"
    assert ",".join(ranked.columns) == ",".join(REVIEW_COLUMNS) == header
    assert ranked.to_numpy().tolist() == [
        [1, "e", "audio/e.wav", "Gong", "Bark", 0.30, 0.80, 0.4, 0, 1, "label differs", ""],
        [2, "d", "audio/d.wav", "Gong", "Bark", 0.05, 0.90, 0.1, 0, 1, "label differs", ""],
        [3, "b", "audio/b.wav", "Bark", "Gong", 0.02, 0.80, 0.1, 0, 0, "label differs", ""],
    ]


def test_review_file_never_loses_decisions_of_a_person(ranked, tmp_path):
    file = tmp_path / "review.csv"
    assert write_review(tmp_path, ranked[:2]) == file
    assert write_review(tmp_path, ranked) == file, "nobody has written into it"
    edited = file.read_text().replace("label differs,\n", "label differs,keep\n", 1)
    file.write_text(edited)
    assert write_review(tmp_path, ranked) == file, "it holds these rows already"
    assert write_review(tmp_path, ranked[:2]).name == "review-new.csv"
    assert file.read_text() == edited
    assert pd.read_csv(tmp_path / "review-new.csv")["clip_id"].tolist() == ["e", "d"]


@pytest.mark.parametrize("content", [b"rank;clip_id\n1;d\n", b"", "Käuzchen".encode("latin-1"), b'a,b\n"1,2\n'])
def test_review_file_that_a_spreadsheet_program_has_rewritten_is_kept(ranked, tmp_path, content):
    (tmp_path / "review.csv").write_bytes(content)
    assert write_review(tmp_path, ranked).name == "review-new.csv"
    assert (tmp_path / "review.csv").read_bytes() == content

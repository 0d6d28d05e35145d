"""Scores: the challenge's MAP@3, accuracy, and what there is per class, from posteriors and from ranked labels."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st
from sklearn.metrics import (
    accuracy_score,
    balanced_accuracy_score,
    f1_score,
    label_ranking_average_precision_score,
    top_k_accuracy_score,
)

from audiotag.errors import AudiotagError
from audiotag.evaluation.metrics import (
    mean_average_precision,
    ranking,
    score_posteriors,
    score_ranked,
)
from audiotag.evaluation.scores import ScoreFiles, print_scores, write_scores

CLASSES = ["Bark", "Cello", "Gong", "Meow"]

# Clips and accuracy of the 41 classes in the writeup's table of one fold's network on the private test set.
WRITEUP = [
    (36, 0.861), (26, 1.000), (23, 0.913), (23, 1.000), (26, 0.962), (20, 0.500), (44, 0.977), (24, 0.750), (45, 0.978),
    (21, 1.000), (24, 0.917), (34, 0.912), (32, 0.969), (24, 0.792), (26, 0.731), (24, 0.833), (27, 0.926), (26, 0.692),
    (44, 0.977), (24, 0.583), (30, 0.967), (51, 0.725), (27, 0.778), (32, 0.875), (23, 0.783), (32, 0.812), (31, 0.806),
    (24, 0.917), (24, 0.958), (34, 0.971), (88, 1.000), (20, 0.550), (24, 0.833), (28, 0.857), (24, 0.500), (32, 1.000),
    (22, 0.955), (39, 0.718), (30, 0.967), (87, 0.989), (24, 0.917),
]  # fmt: skip


@pytest.mark.parametrize(
    ("ranked", "expected"),
    [
        (["Gong", "Bark", "Cello"], 1),
        (["Bark", "Gong", "Cello"], 1 / 2),
        (["Bark", "Cello", "Gong"], 1 / 3),
        (["Bark", "Cello", "Meow", "Gong"], 0),
        (["Bark", "Cello", "Meow"], 0),
        (["Gong"], 1),
        ([], 0),
        (["Gong", "Gong", "Gong"], 1),
        (["Bark", "Gong", "Gong"], 1 / 2),
        (["Bark", "Bark", "Gong"], 1 / 3),  # a label given again takes a rank
        (["Bark", "Bark", "Bark", "Gong"], 0),
        (["Gong", "Bark", "Gong"], 1),
        (["no class", "Gong"], 1 / 2),
    ],
)
def test_map_counts_one_over_the_rank_of_a_clips_label(ranked: list[str], expected: float) -> None:
    assert mean_average_precision([ranked], ["Gong"]) == expected


def test_scores_of_a_small_example_counted_by_hand() -> None:
    ranked = [["Bark", "Gong"], ["Gong", "Bark"], ["Gong", "Cello"], ["Bark"], []]
    labels = ["Bark", "Bark", "Gong", "Cello", "Cello"]
    scores = score_ranked(ranked, labels, CLASSES)
    assert scores.clips == 5
    assert scores.accuracy == pytest.approx(2 / 5)
    assert scores.map3 == pytest.approx((1 + 1 / 2 + 1) / 5)
    expected = pd.DataFrame(
        [
            ("Bark", 2, 1 / 2, 1 / 2, 1 / 2, 1 / 2),
            ("Cello", 2, 0, 0, 0, 0),  # never predicted: its precision is undefined
            ("Gong", 1, 1, 1 / 2, 1, 2 / 3),
            ("Meow", 0, 0, 0, 0, 0),  # no clips: its recall is undefined
        ],
        columns=["label", "count", "accuracy", "precision", "recall", "f1"],
    )
    pd.testing.assert_frame_equal(scores.per_class, expected, check_dtype=False)
    assert scores.macro["accuracy"] == pytest.approx((1 / 2 + 0 + 1) / 3)
    assert scores.macro["precision"] == pytest.approx((1 / 2 + 0 + 1 / 2) / 3)


def test_map_of_the_writeups_table_adds_up() -> None:
    classes = [f"class {c:02d}" for c in range(41)]
    labels, ranked = [], []
    for c, (count, accuracy) in enumerate(WRITEUP):
        right = round(count * accuracy)
        labels += [classes[c]] * count
        ranked += [[classes[c]]] * right + [[classes[c - 1]]] * (count - right)
    scores = score_ranked(ranked, labels, classes)
    assert scores.clips == 1299
    assert round(100 * scores.accuracy, 3) == 87.683
    assert round(scores.macro["accuracy"], 3) == 0.857
    assert scores.per_class["accuracy"].round(3).tolist() == [accuracy for _, accuracy in WRITEUP]


def test_scores_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    posteriors = rng.dirichlet(np.full(6, 0.3), 400)
    labels = rng.integers(0, 6, 400)
    classes = list("fedcba")  # not in alphabetical order: columns go by the class list
    scores = score_posteriors(posteriors, [classes[c] for c in labels], classes)
    first = posteriors.argmax(axis=1)
    assert scores.accuracy == pytest.approx(accuracy_score(labels, first))
    assert scores.macro["recall"] == scores.macro["accuracy"] == pytest.approx(balanced_accuracy_score(labels, first))
    assert scores.macro["f1"] == pytest.approx(f1_score(labels, first, average="macro"))
    tops = [top_k_accuracy_score(labels, posteriors, k=k) for k in (1, 2, 3)]
    assert scores.map3 == pytest.approx(tops[0] + (tops[1] - tops[0]) / 2 + (tops[2] - tops[1]) / 3)
    expected = label_ranking_average_precision_score(np.eye(6)[labels], posteriors)  # a weight per label: one per clip
    assert scores.lwlrap == pytest.approx(expected)
    assert scores.per_class["label"].tolist() == classes
    assert scores.per_class["count"].sum() == 400


def test_lwlrap_needs_every_class_ranked_once() -> None:
    labels = ["Meow", "Bark"]
    assert score_ranked([["Bark", "Gong", "Meow", "Cello"], CLASSES], labels, CLASSES).lwlrap == (1 / 3 + 1) / 2
    for first in (["Bark", "Gong", "Meow"], ["Bark", "Bark", "Gong", "Meow"], ["Bark", "Gong", "Meow", "no class"]):
        assert score_ranked([first, CLASSES], labels, CLASSES).lwlrap is None


@given(st.lists(st.tuples(st.permutations(CLASSES), st.sampled_from(CLASSES)), min_size=1, max_size=30))
def test_map_lies_between_accuracy_and_the_share_found_in_three(clips: list[tuple[list[str], str]]) -> None:
    ranked, labels = [names for names, _ in clips], [label for _, label in clips]
    scores = score_ranked(ranked, labels, CLASSES)
    in_three = np.mean([label in names[:3] for names, label in clips])
    assert scores.accuracy - 1e-12 <= scores.map3 <= in_three + 1e-12
    assert scores.per_class["count"].sum() == len(clips)
    hits = (scores.per_class["recall"] * scores.per_class["count"]).sum()
    assert hits == pytest.approx(scores.accuracy * len(clips))


def test_scores_take_the_first_class_of_equal_posteriors() -> None:
    assert ranking(np.full((2, 4), 0.25), 3).tolist() == [[0, 1, 2]] * 2
    assert ranking(np.array([[0.1, 0.4, 0.4, 0.1]]), 4).tolist() == [[1, 2, 0, 3]]


@pytest.mark.parametrize(
    ("ranked", "labels", "says"),
    [
        ([["Bark"]], ["Bark", "Gong"], "1 predictions cannot be scored against 2 labels"),
        ([], [], "0 predictions"),
        ([["Bark"]], ["Barc"], "not in the class list: Barc"),
    ],
)
def test_scores_refuse_what_cannot_be_scored(ranked: list[list[str]], labels: list[str], says: str) -> None:
    with pytest.raises(AudiotagError, match=says):
        score_ranked(ranked, labels, CLASSES)


@pytest.mark.parametrize("posteriors", [np.full((1, 3), 0.3), np.array([[0.1, np.nan, 0.2, 0.3]]), np.ones(4)])
def test_scores_refuse_posteriors_that_do_not_fit(posteriors: np.ndarray) -> None:
    with pytest.raises(AudiotagError, match="posteriors"):
        score_posteriors(posteriors, ["Bark"], CLASSES)


def test_scores_are_written_and_printed(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    scores = score_ranked([["Bark", "Gong"], ["Gong"], ["Bark", "Gong"]], ["Bark", "Gong", "Gong"], CLASSES)
    worse = score_ranked([["Gong"], ["Gong"], ["Bark"]], ["Bark", "Gong", "Gong"], CLASSES)
    write_scores(ScoreFiles(tmp_path), scores, "public", {1: worse, 0: scores}, {"run": "x"})
    written = json.loads((tmp_path / "scores.json").read_text(encoding="utf-8"))
    assert list(written)[:4] == ["usage", "clips", "accuracy", "map@3"]
    assert written["usage"] == "public"
    assert written["clips"] == 3
    assert written["accuracy"] == 0.666667
    assert written["map@3"] == 0.833333
    assert written["run"] == "x"
    assert [row["label"] for row in written["per_class"]] == CLASSES
    gong = {"label": "Gong", "count": 2, "accuracy": 0.5, "precision": 1.0, "recall": 0.5, "f1": 0.666667}
    assert written["per_class"][2] == gong
    assert [(row["fold"], row["accuracy"]) for row in written["folds"]] == [(0, 0.666667), (1, 0.333333)]
    lines = (tmp_path / "per_class.csv").read_text(encoding="utf-8").splitlines()
    assert lines[0] == "label,count,accuracy,precision,recall,f1"
    assert lines[3] == "Gong,2,0.500000,1.000000,0.500000,0.666667"

    print_scores(scores, {0: scores, 1: worse}, "a [run]")
    shown = capsys.readouterr().out
    assert "a [run]" in shown
    assert [line.split() for line in shown.splitlines() if line.strip().startswith("Gong")] == [
        ["Gong", "2", "0.500", "1.000", "0.500", "0.667"]
    ]
    assert "average" in shown
    assert "66.667 %" in shown
    assert "0.8333" in shown
    assert "50.000 ± 16.667 %" in shown

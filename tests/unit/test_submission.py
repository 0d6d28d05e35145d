"""Submissions: MAP@3 and its intervals by definition, what may be submitted, and the pictures of scores."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiotag.errors import AudiotagError
from audiotag.evaluation.bootstrap import bootstrap_intervals
from audiotag.evaluation.metrics import mean_average_precision, score_ranked
from audiotag.inference.submission import check_submittable, submission_table
from audiotag.plots.figures import NO_CLASS, confusion_table, f1_bars
from tests.clips import EXAMPLES


def by_definition(names: list[str], right: str) -> float:
    """Average precision at 3, as the challenge defines it: the precisions at the hits, over the one right label."""
    hits = [k for k in range(1, 4) if names[k - 1 : k] == [right] and right not in names[: k - 1]]
    return sum(sum(name == right for name in set(names[:k])) / k for k in hits) / min(1, 3)


@EXAMPLES
@given(st.lists(st.tuples(st.lists(st.sampled_from("ABCx"), max_size=5), st.sampled_from("ABC")), min_size=1))
def test_submission_map_is_the_challenges_whatever_is_submitted(clips):
    ranked, labels = [names for names, _ in clips], [label for _, label in clips]
    expected = np.mean([by_definition(names, label) for names, label in clips])
    assert mean_average_precision(ranked, labels) == expected


def test_submission_of_labels_with_spaces_is_refused():
    check_submittable(["Hi-hat", "Gunshot_or_gunfire"])
    with pytest.raises(AudiotagError, match="'Hi hat'; leave format= away"):
        check_submittable(["Bark", "Hi hat"])


def test_submission_holds_the_three_most_probable_labels():
    table = submission_table(["b.wav", "a.wav"], np.array([[0.1, 0.2, 0.3, 0.4], [0.4, 0.4, 0.1, 0.1]]), list("ABCD"))
    assert table.to_numpy().tolist() == [["b.wav", "D C B"], ["a.wav", "A B C"]]
    assert submission_table(["a"], np.array([[0.1, 0.9]]), ["A", "B"])["label"].tolist() == ["B A"]


def test_intervals_are_those_of_the_binomial():
    """The bootstrap distribution of a share of n clips is the binomial's over n: 90 of 300 hits, deviation 0.0265."""
    labels = ["A"] * 300
    ranked = [["A"]] * 90 + [["B", "A"]] * 60 + [["B"]] * 150
    found = bootstrap_intervals(ranked, labels, 4000)
    assert found is not None
    deviation = np.sqrt(0.3 * 0.7 / 300)
    assert found.accuracy == pytest.approx((0.3 - 1.96 * deviation, 0.3 + 1.96 * deviation), abs=0.006)
    values = np.array([1.0] * 90 + [0.5] * 60 + [0.0] * 150)
    expected = values.mean() + np.array([-1.96, 1.96]) * values.std() / np.sqrt(300)
    assert found.map3 == pytest.approx(tuple(expected), abs=0.006)
    assert bootstrap_intervals(ranked, labels, 4000) == found
    assert bootstrap_intervals(ranked, labels, 4000, seed=1) != found
    assert bootstrap_intervals(ranked, labels, 0) is None


def test_f1_bars_are_as_long_as_f1():
    ranked, labels = [["A"], ["B"], ["A"], ["$c"]], ["A", "B", "B", "$c"]
    scores = score_ranked(ranked, labels, ["$c", "A", "B", "none"])
    figure = f1_bars(scores.per_class, "a title")
    axes = figure.axes[0]
    assert [bar.get_width() for bar in axes.patches] == pytest.approx([1, 2 / 3, 2 / 3])
    assert [text.get_text() for text in axes.texts] == ["1.000", "0.667", "0.667", "no clips"]
    assert axes.lines[0].get_xdata()[0] == pytest.approx((1 + 2 / 3 + 2 / 3) / 3)
    figure.draw_without_rendering()


def test_confusion_table_counts_by_label_and_prediction():
    table = confusion_table(["A", "A", "B"], ["B", "A", "B"], ["A", "B"])
    assert table.to_dict("list") == {"label": ["A", "B"], "A": [1, 0], "B": [1, 1]}
    assert confusion_table(["A"], [""], ["A", "B"])[NO_CLASS].tolist() == [1, 0]

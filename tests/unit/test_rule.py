"""The acceptance rule against a slow one that is obviously right, and the temperature that calibrates it."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiotag.errors import RunError
from audiotag.verification.calibration import TEMPERATURES, fit_temperature, sharpen
from audiotag.verification.rules import ACCEPTED, BELOW, DIFFERS, FULL, AgreementRule, decide, in_words
from tests.clips import EXAMPLES


def slow_rule(
    posteriors: np.ndarray, labels: np.ndarray, threshold: float | None, cap: int | None, agreement: bool
) -> list[str]:
    """Say clip by clip why it is accepted or not: the writeup's three conditions, one after the other."""
    reasons = []
    for scores, label in zip(posteriors, labels, strict=True):
        if agreement and list(scores).index(max(scores)) != label:
            reasons.append("label differs")
        elif threshold is not None and scores[label] <= threshold:
            reasons.append("below threshold")
        else:
            reasons.append("accepted")
    passed = [i for i, reason in enumerate(reasons) if reason == "accepted"]
    for i in passed:
        mine = posteriors[i][labels[i]]
        rivals = [j for j in passed if labels[j] == labels[i]]
        better = [j for j in rivals if (-posteriors[j][labels[j]], j) < (-mine, i)]
        if cap is not None and len(better) >= cap:
            reasons[i] = "class is full"
    return reasons


@st.composite
def votes(draw: st.DrawFn) -> tuple[np.ndarray, np.ndarray]:
    n, classes = draw(st.integers(0, 25)), draw(st.integers(2, 4))
    # Few different values, so that ties and values just at the threshold are common.
    grid = st.lists(st.sampled_from([0.0, 0.25, 0.5, 0.9, 0.95, 0.96, 1.0]), min_size=classes, max_size=classes)
    scores = draw(st.lists(grid, min_size=n, max_size=n))
    labels = draw(st.lists(st.integers(0, classes - 1), min_size=n, max_size=n))
    return np.array(scores, dtype=np.float64).reshape(n, classes), np.array(labels, dtype=np.int64)


THRESHOLDS = st.sampled_from([None, 0.0, 0.5, 0.95, 1.0])


@EXAMPLES
@given(votes(), THRESHOLDS, st.sampled_from([None, 0, 1, 2, 40]), st.booleans())
def test_rule_is_the_slow_rule(vote, threshold, cap, agreement):
    posteriors, labels = vote
    before = posteriors.copy(), labels.copy()
    accepted, reasons, _ = decide(AgreementRule(threshold, cap, agreement), posteriors, labels)
    assert list(reasons) == slow_rule(posteriors, labels, threshold, cap, agreement)
    assert list(accepted) == [reason == "accepted" for reason in reasons]
    assert (posteriors == before[0]).all(), "a pure function leaves its arguments alone"
    assert (labels == before[1]).all()


@EXAMPLES
@given(votes(), THRESHOLDS, st.sampled_from([None, 1, 3]), st.randoms(use_true_random=False))
def test_rule_does_not_depend_on_the_order_but_for_ties(vote, threshold, cap, random):
    posteriors, labels = vote
    apart = posteriors + np.arange(len(labels))[:, None] * 1e-9  # no ties between clips
    order = list(range(len(labels)))
    random.shuffle(order)
    accepted, *_ = decide(AgreementRule(threshold, cap), apart, labels)
    shuffled, *_ = decide(AgreementRule(threshold, cap), apart[order], labels[order])
    assert list(shuffled) == list(accepted[order])


def two_classes(*posteriors: float) -> np.ndarray:
    return np.array([[p, 1 - p] for p in posteriors])


def test_rule_takes_the_threshold_itself_for_too_low():
    accepted, reasons, _ = decide(AgreementRule(0.95, None), two_classes(0.95, np.nextafter(0.95, 1)), np.array([0, 0]))
    assert list(accepted) == [False, True]
    assert list(reasons) == [BELOW, ACCEPTED]


def test_rule_takes_the_highest_of_a_class_and_of_equals_the_first():
    posteriors = two_classes(0.96, 0.99, 0.97, 0.99, 0.02, 0.97)
    labels = np.array([0, 0, 0, 0, 1, 0])
    assert list(decide(AgreementRule(0.95, 3), posteriors, labels)[1]) == [
        FULL,
        ACCEPTED,
        ACCEPTED,
        ACCEPTED,
        ACCEPTED,
        FULL,
    ]
    assert list(decide(AgreementRule(0.95, 1), posteriors, labels)[1]) == [FULL, ACCEPTED, FULL, FULL, ACCEPTED, FULL]
    assert not decide(AgreementRule(0.95, 0), posteriors, labels)[0].any()


def test_rule_names_a_differing_label_before_a_low_posterior():
    posteriors = two_classes(0.3, 0.6)
    assert list(decide(AgreementRule(), posteriors, np.array([0, 0]))[1]) == [DIFFERS, BELOW]
    assert list(decide(AgreementRule(agreement=False), posteriors, np.array([0, 0]))[1]) == [BELOW, BELOW]


def test_rule_gives_no_room_in_a_class_to_refused_clips():
    posteriors = np.array([[0.5, 0.5 + 1e-9], [0.96, 0.04]])
    assert list(decide(AgreementRule(None, 1), posteriors, np.array([0, 0]))[1]) == [DIFFERS, ACCEPTED]


def test_rule_without_clips_decides_nothing():
    accepted, reasons, _ = decide(AgreementRule(), np.empty((0, 5)), np.empty(0, np.int64))
    assert len(accepted) == len(reasons) == 0


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_rule_refuses_posteriors_that_are_not_finite(value):
    posteriors = two_classes(0.9, 0.8)
    posteriors[1, 1] = value
    with pytest.raises(ValueError, match="not finite"):
        decide(AgreementRule(), posteriors, np.array([0, 0]))


@pytest.mark.parametrize("labels", [[0], [0, 0, 0], [0, 2], [0, -1]])
def test_rule_refuses_labels_that_do_not_belong(labels):
    with pytest.raises(ValueError, match="labels"):
        decide(AgreementRule(), two_classes(0.9, 0.8), np.array(labels))


class BrokenRule:
    """Breaks the contract of rules in one way or another."""

    def __init__(self, way: str) -> None:
        self.way = way

    def decide(self, posteriors, labels):
        if self.way == "writes":
            posteriors[:] = 0
        accepted = np.ones(len(labels), int if self.way == "numbers" else bool)
        reasons = ["" for _ in labels] if self.way != "no text" else [0 for _ in labels]
        return accepted[: 1 if self.way == "too few" else None], reasons[: 1 if self.way == "too few reasons" else None]


@pytest.mark.parametrize(
    ("way", "message"),
    [
        ("numbers", r"accepted is int64 of shape \(2,\), not bool"),
        ("too few", r"accepted is bool of shape \(1,\), not bool of shape \(2,\)"),
        ("no text", "are not a text for each of 2 labels"),
        ("too few reasons", "are not a text for each of 2 labels"),
        ("writes", "changes the posteriors or the labels"),
    ],
)
def test_rule_that_breaks_its_contract_is_refused(way, message):
    with pytest.raises(RunError, match=rf"verification\.rule: BrokenRule\.decide breaks its contract: .*{message}"):
        decide(BrokenRule(way), two_classes(0.9, 0.8), np.array([0, 0]))


def test_rule_tells_what_it_asks():
    assert str(AgreementRule()) == (
        "the predicted label must be the given one, the consensus of the given label must exceed 0.95, "
        "of each class the 40 surest are taken"
    )
    assert str(AgreementRule(None, None, False)) == "every label is accepted"


# Calibration


def synthetic_posteriors(n: int, classes: int, temperature: float, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Draw labels from posteriors, and return these posteriors as a network of that temperature would state them.

    A network whose logits are too small by a factor of t states p^(1/t): sharpening it by 1/t gives p back.
    """
    rng = np.random.default_rng(seed)
    right = sharpen(rng.dirichlet(np.full(classes, 0.4), n), 1.0)
    labels = np.array([rng.choice(classes, p=p) for p in right])
    return sharpen(right, 1 / temperature), labels


@pytest.mark.parametrize("temperature", [0.34, 0.7, 1.0, 1.8, 4.0])
def test_temperature_that_is_known_is_recovered(temperature):
    stated, labels = synthetic_posteriors(4000, 10, temperature, seed=1)
    assert fit_temperature(stated, labels) == pytest.approx(temperature, rel=0.06)


def test_temperature_is_at_the_minimum_of_the_loss_it_states():
    """Against a fine search over temperatures of the cross-entropy, written out clip by clip."""
    stated, labels = synthetic_posteriors(60, 5, 0.5, seed=2)
    n, classes = stated.shape

    def loss(temperature: float) -> float:
        total = 0.0
        for scores, label in zip(stated, labels, strict=True):
            powers = scores ** (1 / temperature)
            for k, p in enumerate(powers / powers.sum()):
                total -= ((n + 1) / (n + 2) if k == label else 1 / (n + 2) / (classes - 1)) * np.log(p)
        return total

    tried = np.geomspace(0.1, 3, 400)
    best = tried[np.argmin([loss(t) for t in tried])]
    assert fit_temperature(stated, labels) == pytest.approx(best, rel=0.02)


@EXAMPLES
@given(st.integers(1, 200), st.integers(2, 41), st.floats(0.3, 0.999))
def test_temperature_keeps_to_its_bounds_where_all_are_right(n, classes, top):
    posteriors = np.full((n, classes), (1 - top) / (classes - 1))
    posteriors[:, 0] = top
    fitted = fit_temperature(posteriors, np.zeros(n, np.int64))
    assert TEMPERATURES[0] <= fitted <= TEMPERATURES[1]
    if top > 1.01 / classes:  # a clip right N times in N is then stated right (N + 1) times in N + 2, never 1
        stated = sharpen(posteriors[:1], fitted)[0, 0]
        assert stated <= (n + 1) / (n + 2) + 1e-3 or fitted == pytest.approx(TEMPERATURES[1], rel=1e-3)


def test_temperature_of_no_clips_is_1():
    assert fit_temperature(np.empty((0, 5)), np.empty(0, np.int64)) == 1.0


@EXAMPLES
@given(st.integers(0, 2**31), st.floats(0.05, 20))
def test_temperature_keeps_ranks_and_sums(seed, temperature):
    posteriors = np.random.default_rng(seed).dirichlet(np.ones(6), 9)
    sharp = sharpen(posteriors, temperature)
    np.testing.assert_allclose(sharp.sum(axis=1), 1, rtol=1e-12)
    assert (sharp.argmax(axis=1) == posteriors.argmax(axis=1)).all()
    assert (sharp >= 0).all()
    if temperature < 1:
        assert (sharp.max(axis=1) >= posteriors.max(axis=1) - 1e-12).all()


def test_sharpening_by_1_leaves_posteriors_as_they_are_and_zeros_are_allowed():
    posteriors = np.array([[0.2, 0.3, 0.5], [1.0, 0.0, 0.0]])
    np.testing.assert_allclose(sharpen(posteriors, 1.0), posteriors, atol=1e-11)
    assert np.isfinite(sharpen(posteriors, 0.05)).all()
    assert np.isfinite(sharpen(posteriors.astype(np.float32), 20.0)).all()


def test_rule_that_says_nothing_of_itself_is_named_by_its_class():
    class Silent:
        def decide(self, posteriors, labels):
            return labels == 0, labels

    class Telling(Silent):
        def __str__(self):
            return "the label is 0"

    assert [in_words(rule()) for rule in (Silent, Telling)] == ["Silent", "the label is 0"]
    assert in_words(AgreementRule()) == str(AgreementRule())

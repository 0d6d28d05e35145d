"""The promise: kept where its assumptions hold, withdrawn where nothing can be said, the same every time.

Shapes: N clips, C classes.
"""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest

from audiotag.verification import promise
from audiotag.verification.noise_model import Evidence, estimate_noise, right_probabilities
from audiotag.verification.promise import PromiseRule, bounds
from audiotag.verification.rules import ACCEPTED, BELOW, DIFFERS, RELABELLED, decide

CLASSES = 6


@pytest.fixture(autouse=True)
def bounds_of_no_other_test() -> None:
    """Some tests draw fewer times, and what is worked out once is kept."""
    bounds.cache_clear()


def heard(truth: np.ndarray, rng: np.random.Generator, accuracy: float) -> np.ndarray:
    """Return what networks of such an accuracy say (N, C) of clips of these classes; -1: none of them."""
    known = truth >= 0
    said = np.where(known & (rng.random(len(truth)) < accuracy), truth, rng.integers(0, CLASSES, len(truth)))
    sharpness = np.where(known & (said == truth), rng.gamma(6, 1.0, len(truth)), rng.gamma(2, 1.0, len(truth)))
    logits = rng.normal(0, 0.5, (len(truth), CLASSES))
    logits[np.arange(len(truth)), said] += sharpness
    odds = np.exp(logits)
    return odds / odds.sum(axis=1, keepdims=True)


def scene(kind: str, seed: int, n: int = 600, verified: int = 180, share: float = 0.3, accuracy: float = 0.85):
    """Return evidence of a noise of this kind, and the right classes of the unverified clips (N,); -1: none."""
    rng = np.random.default_rng(seed)
    truth, labels = rng.integers(0, CLASSES, n), np.empty(n, np.int64)
    wrong = rng.random(n) < share
    if kind == "open_set":
        truth[wrong] = -1
    shift = rng.integers(1, CLASSES, n) if kind == "symmetric" else np.ones(n, int)
    labels[:] = np.where(wrong, (truth + shift) % CLASSES if kind != "open_set" else rng.integers(0, CLASSES, n), truth)
    checked = rng.integers(0, CLASSES, verified)
    return Evidence(heard(truth, rng, accuracy), labels, heard(checked, rng, accuracy), checked), truth


def accepted_precision(rule: PromiseRule, e: Evidence, truth: np.ndarray) -> tuple[float, float]:
    """Return the precision of what a rule accepts (1 of nothing), and its recall."""
    accepted, *_ = decide(rule, e.posteriors, e.labels, e.verified_posteriors, e.verified_labels)
    right = truth == e.labels
    return float(right[accepted].mean()) if accepted.any() else 1.0, float((accepted & right).sum() / right.sum())


@pytest.mark.parametrize("kind", ["symmetric", "confusion", "open_set"])
def test_promise_is_kept_by_most_of_many_data_sets(kind, monkeypatch):
    """Confidence 0.9 allows two of 20 to miss; a bound taken without it, or without the wrong labels, misses more."""
    monkeypatch.setattr(promise, "DRAWS", 60)
    rule = PromiseRule(precision=0.95, fallback="none")
    found = np.array([accepted_precision(rule, *scene(kind, seed)) for seed in range(20)])
    assert (found[:, 0] >= 0.95).sum() >= 17
    assert np.median(found[:, 1]) > 0.3, "nor by accepting next to nothing"


@pytest.mark.parametrize("kind", ["symmetric", "confusion", "open_set"])
@pytest.mark.parametrize("share", [0.1, 0.4])
def test_share_of_right_labels_is_estimated(kind, share):
    e, truth = scene(kind, seed=1, n=2000, verified=600, share=share)
    low, estimate, high = bounds(e, 0.9).right_share
    actual = (truth == e.labels).mean()
    assert low < estimate < high
    assert abs(estimate - actual) < 0.06, "open-set clips count as wrong, though no class explains them"
    p_right = right_probabilities(e)
    right = truth == e.labels
    assert abs(p_right.mean() - actual) < 0.08
    assert np.mean((p_right - right) ** 2) < 0.75 * actual * (1 - actual), "it tells right from wrong"
    assert ((p_right >= 0) & (p_right <= 1)).all()


def test_noise_of_confusions_is_seen_where_it_is():
    e, _ = scene("confusion", seed=2, n=3000, verified=600)
    noise = estimate_noise(e, np.zeros(1), np.zeros(1), np.ones(600), np.ones(3000))
    assert (noise.origin.argmax(axis=1) == np.arange(CLASSES)).all()
    others = np.where(np.eye(CLASSES, dtype=bool), 0, noise.origin)
    assert (others.argmax(axis=1) == (np.arange(CLASSES) - 1) % CLASSES).all(), "each class is called the next one"
    assert noise.known_share > 0.6
    assert (
        estimate_noise(scene("open_set", 2)[0], np.zeros(1), np.zeros(1), np.ones(180), np.ones(600)).known_share < 0.3
    )


def test_promise_accepts_more_where_less_is_promised_and_says_what_it_promises():
    e, _ = scene("symmetric", seed=3)
    counts = []
    for precision in (0.8, 0.95, 0.99):
        rule = PromiseRule(precision=precision, fallback="none")
        accepted, reasons, _ = decide(rule, e.posteriors, e.labels, e.verified_posteriors, e.verified_labels)
        counts.append(int(accepted.sum()))
        assert set(reasons[accepted]) <= {ACCEPTED}
        assert set(reasons[~accepted]) <= {BELOW, DIFFERS}
        assert e.agrees[accepted].all()
        said = rule.figures(e)["promised"]
        assert said is None if not accepted.any() else said >= precision
    assert counts == sorted(counts, reverse=True)
    assert counts[0] > counts[-1]


def test_promise_is_the_same_every_time():
    e, _ = scene("symmetric", seed=4)
    again = Evidence(*(getattr(e, field.name).copy() for field in dataclasses.fields(e)))
    assert e == again
    first = bounds(e, 0.9)
    bounds.cache_clear()
    second = bounds(again, 0.9)
    for field in dataclasses.fields(first):
        np.testing.assert_array_equal(getattr(first, field.name), getattr(second, field.name))


@pytest.mark.parametrize("fallback", ["none", "calibrated"])
def test_promise_is_withdrawn_with_the_reason_and_the_fallback_decides(fallback):
    rule = PromiseRule(precision=0.999, fallback=fallback)
    e, _ = scene("symmetric", seed=5, verified=30, accuracy=0.6)
    accepted, *_ = decide(rule, e.posteriors, e.labels, e.verified_posteriors, e.verified_labels)
    sure = e.agrees & (e.surest > 0.95)
    assert sure.any()
    assert np.array_equal(accepted, sure if fallback == "calibrated" else np.zeros_like(sure))
    figures = rule.figures(e)
    assert figures["promised"] is None
    assert "verified clips" in figures["promise"]
    none = dataclasses.replace(e, verified_posteriors=np.empty((0, CLASSES)), verified_labels=np.empty(0, np.int64))
    assert "no verified clip" in rule.figures(none)["promise"]


def test_promise_says_how_many_verified_clips_would_do():
    e, _ = scene("symmetric", seed=6, n=2000, verified=24, accuracy=0.95)
    assert "about 48 verified clips like these 24 would do" in PromiseRule(precision=0.955).figures(e)["promise"]
    more, _ = scene("symmetric", seed=6, n=2000, verified=384, accuracy=0.95)
    assert PromiseRule(precision=0.955).figures(more)["promised"] >= 0.955


def test_promise_needs_as_many_verified_clips_as_could_show_anything():
    """22 of 22 right ones show 0.9 with confidence 0.9, 21 do not: 0.9 ** 22 < 0.1 < 0.9 ** 21."""
    rule = PromiseRule(precision=0.9, fallback="none")
    e, _ = scene("symmetric", seed=6, n=2000, verified=22, accuracy=1)
    assert decide(rule, *(getattr(e, f.name) for f in dataclasses.fields(e))).accepted.any()
    fewer = dataclasses.replace(e, verified_posteriors=e.verified_posteriors[1:], verified_labels=e.verified_labels[1:])
    assert not decide(rule, *(getattr(fewer, f.name) for f in dataclasses.fields(e))).accepted.any()
    assert "only 21 verified clips are held out" in rule.figures(fewer)["promise"]
    assert "22 or more" in rule.figures(fewer)["promise"]


@pytest.mark.parametrize("confidence", [0, 0.5, 1])
def test_promise_with_any_confidence_is_made_or_withdrawn(confidence):
    e, _ = scene("symmetric", seed=6)
    assert PromiseRule(confidence=confidence).figures(e)["promise"]


def test_promise_is_withdrawn_where_unverified_clips_are_recognised_better_than_verified_ones():
    """Agreement beyond what verified clips allow can only mean that they do not stand for the others."""
    rng = np.random.default_rng(7)
    truth, checked = rng.integers(0, CLASSES, 600), rng.integers(0, CLASSES, 200)
    e = Evidence(heard(truth, rng, 0.99), truth, heard(checked, rng, 0.5), checked)
    assert "do not stand for the others" in PromiseRule().figures(e)["promise"]


def test_promise_relabels_under_a_promise_of_its_own():
    e, truth = scene("symmetric", seed=8, n=2000, verified=800, accuracy=0.97)
    rule = PromiseRule(relabel=True, relabel_precision=0.7)
    accepted, reasons, labels = decide(rule, e.posteriors, e.labels, e.verified_posteriors, e.verified_labels)
    changed = reasons == RELABELLED
    assert changed.sum() > 50
    assert accepted[changed].all()
    assert not e.agrees[changed].any()
    assert (labels[changed] == e.predicted[changed]).all()
    assert (labels[~changed] == e.labels[~changed]).all()
    assert (truth[changed] == labels[changed]).mean() > 0.7
    without = decide(dataclasses.replace(rule, relabel=False), *(getattr(e, f.name) for f in dataclasses.fields(e)))
    assert np.array_equal(without.accepted, accepted & ~changed)


ONE_OF_EACH = np.eye(CLASSES) * 0.7 + 0.05


@pytest.mark.parametrize(
    ("said", "labels", "verified"),
    [
        ([0, 1, 2], [1, 2, 3], [0, 1, 2, 3, 4, 5]),  # the networks agree with no label
        ([0, 1, 2], [0, 1, 2], [0, 1, 2, 3, 4, 5]),  # with all
        ([0], [0], [3]),  # one clip each, of different classes
        ([0, 0, 1], [0, 1, 1], [5]),
    ],
)
def test_promise_of_few_clips_is_withdrawn_and_nothing_breaks(said, labels, verified):
    e = Evidence(ONE_OF_EACH[said], np.array(labels), ONE_OF_EACH[verified], np.array(verified))
    p_right = right_probabilities(e)
    assert ((p_right >= 0) & (p_right <= 1)).all()
    found = bounds(e, 0.9)
    assert all(np.isfinite(getattr(found, name)).all() for name in ("low", "expected", "relabel_low"))
    rule = PromiseRule(precision=0.99, relabel=True)
    decision = decide(rule, e.posteriors, e.labels, e.verified_posteriors, e.verified_labels)
    assert not decision.accepted[decision.reasons == DIFFERS].any()
    assert rule.figures(e)["promise"]


def test_promise_where_verified_clips_are_all_less_sure_breaks_nothing():
    sure, unsure = np.eye(CLASSES) * 0.94 + 0.01, np.eye(CLASSES) * 0.1 + 0.15
    e = Evidence(sure[[0, 1, 2, 3]], np.array([0, 1, 2, 4]), unsure[[0, 1, 2]], np.array([0, 1, 2]))
    assert np.isfinite(bounds(e, 0.9).low).all()
    assert np.isfinite(right_probabilities(e)).all()


def test_promise_of_a_single_class_breaks_nothing():
    e = Evidence(np.ones((3, 1)), np.zeros(3, int), np.ones((2, 1)), np.zeros(2, int))
    assert np.isfinite(bounds(e, 0.9).low).all()
    assert np.isfinite(right_probabilities(e)).all()

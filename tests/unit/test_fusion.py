"""Ensembles as arithmetic: means against hand values, learned weights against known ones, agreement counted."""

from __future__ import annotations

import numpy as np
import pytest

from audiotag.inference.fusion import Fusion, agreement, average, cross_fitted_losses, learn

# Two members, two recordings, two classes.
PAIR = np.array([[[0.9, 0.1], [0.5, 0.5]], [[0.5, 0.5], [0.2, 0.8]]])


def test_fusion_by_arithmetic_mean_by_hand():
    np.testing.assert_allclose(average(PAIR, "arithmetic"), [[0.7, 0.3], [0.35, 0.65]])


def test_fusion_by_geometric_mean_by_hand():
    """Recording 1: sqrt(0.9 * 0.5) to sqrt(0.1 * 0.5) is 3 to 1. Recording 2: sqrt(0.1) to sqrt(0.4) is 1 to 2."""
    np.testing.assert_allclose(average(PAIR, "geometric"), [[3 / 4, 1 / 4], [1 / 3, 2 / 3]])


def test_fusion_takes_a_posterior_of_zero_for_no_veto():
    """0 counts as 1e-7: sqrt(1e-7 * 1) to sqrt(1 * 0.25) is still not 0."""
    (mean,) = average(np.array([[[0.0, 1.0]], [[0.75, 0.25]]]), "geometric")
    ratio = np.sqrt(1e-7 * 0.75) / np.sqrt(0.25)
    np.testing.assert_allclose(mean, [ratio / (1 + ratio), 1 / (1 + ratio)])


def test_fusion_with_equal_weights_and_no_biases_is_the_geometric_mean():
    fusion = Fusion(np.array([0.5, 0.5]), np.zeros(2))
    np.testing.assert_allclose(fusion.fuse(PAIR), average(PAIR, "geometric"))
    assert fusion.loss(PAIR, np.array([0, 1])) == pytest.approx(-(np.log(3 / 4) + np.log(2 / 3)) / 2)


def drawn(n: int, seed: int, weights: np.ndarray, biases: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Make members' posteriors (M, n, C), and right classes drawn by known weights and biases."""
    rng = np.random.default_rng(seed)
    posteriors = rng.dirichlet(np.full(len(biases), 0.5), (len(weights), n))
    chances = Fusion(weights, biases).fuse(posteriors)
    return posteriors, (chances.cumsum(axis=1) > rng.random((n, 1))).argmax(axis=1)


KNOWN = np.array([1.2, 0.4, 0.0]), np.array([0.5, -0.5, 0.0, 0.0])


def test_learned_weights_recover_known_ones():
    weights, biases = KNOWN
    found = learn(*drawn(20_000, 0, weights, biases), l2=1e-6)
    np.testing.assert_allclose(found.weights, weights, atol=0.05)
    np.testing.assert_allclose(found.biases - found.biases.mean(), biases, atol=0.08)


def test_learned_weights_are_likelier_on_clips_they_were_not_learned_from():
    posteriors, targets = drawn(2_000, 1, *KNOWN)
    folds = np.arange(2_000) % 4
    equal, learned = cross_fitted_losses(posteriors, targets, folds, 0.001)
    assert learned < equal - 0.05
    fitted = learn(posteriors[:, folds > 0], targets[folds > 0], 0.001)
    one_fold = fitted.loss(posteriors[:, folds == 0], targets[folds == 0])
    others = [learn(posteriors[:, folds != f], targets[folds != f], 0.001) for f in (1, 2, 3)]
    rest = [o.loss(posteriors[:, folds == f], targets[folds == f]) for f, o in zip((1, 2, 3), others, strict=True)]
    assert learned == pytest.approx(np.mean([one_fold, *rest]))


def test_learned_weights_minimise_loss_and_penalty():
    """The penalised loss, computed anew, is higher wherever a parameter is moved."""
    posteriors, targets = drawn(300, 2, *KNOWN)
    found = learn(posteriors, targets, 0.01)

    def penalised(weights: np.ndarray, biases: np.ndarray) -> float:
        penalty = ((weights - 1 / 3) ** 2).sum() + (biases**2).sum()
        return Fusion(weights, biases).loss(posteriors, targets) + 0.01 * penalty

    least = penalised(found.weights, found.biases)
    for step in (*np.eye(7) * 0.02, *np.eye(7) * -0.02):
        assert penalised(found.weights + step[:3], found.biases + step[3:]) > least


def test_learned_weights_stay_equal_under_a_strong_penalty():
    found = learn(*drawn(100, 3, *KNOWN), l2=1e6)
    np.testing.assert_allclose(found.weights, 1 / 3, atol=1e-4)
    np.testing.assert_allclose(found.biases, 0, atol=1e-4)


def test_agreement_is_the_share_of_equal_top_labels():
    """Top labels of three members for four recordings: 0 1 2 0, 0 1 1 1, 2 1 1 1."""
    tops = np.array([[0, 1, 2, 0], [0, 1, 1, 1], [2, 1, 1, 1]])
    expected = [[1, 2 / 4, 1 / 4], [2 / 4, 1, 3 / 4], [1 / 4, 3 / 4, 1]]
    np.testing.assert_allclose(agreement(0.8 * np.eye(3)[tops] + 0.05), expected)

"""From the posteriors of several networks to one: arithmetic and geometric means, and learned weights.

Shapes: M members of an ensemble, N recordings, C classes.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray
from scipy.optimize import minimize
from scipy.special import log_softmax, softmax

from audiotag.errors import AudiotagError

Posteriors = NDArray[np.float64]
FLOOR = 1e-7  # of a posterior under a logarithm: about what float32 resolves beside 1; no network vetoes a class


def average(posteriors: Posteriors, mean: str) -> Posteriors:
    """Return the mean (..., C) over the first axis of posteriors (M, ..., C): arithmetic or geometric, summing to 1."""
    if mean == "arithmetic":
        return posteriors.mean(axis=0)
    return softmax(_logs(posteriors).mean(axis=0), axis=-1)


@dataclass(frozen=True)
class Fusion:
    """softmax(sum of w_m log p_m + b_c) of the members' posteriors: a weight (M,) each, a bias (C,) per class.

    The members' geometric mean is the one with weights 1/M and no bias. The original's fusion script has weights and
    biases too, but applies them to the posteriors themselves: its softmax of numbers from 0 to 1 is never sure.
    """

    weights: NDArray[np.float64]
    biases: NDArray[np.float64]

    def fuse(self, posteriors: Posteriors) -> Posteriors:
        """Return the posteriors (N, C) of members' posteriors (M, N, C)."""
        return softmax(self._scores(_logs(posteriors)), axis=1)

    def loss(self, posteriors: Posteriors, targets: NDArray[np.intp]) -> float:
        """Return the mean negative log-likelihood, in nats, of the right classes (N,)."""
        found = log_softmax(self._scores(_logs(posteriors)), axis=1)
        return float(-found[np.arange(len(targets)), targets].mean())

    def _scores(self, logs: Posteriors) -> Posteriors:
        return np.tensordot(self.weights, logs, axes=1) + self.biases


def learn(posteriors: Posteriors, targets: NDArray[np.intp], l2: float) -> Fusion:
    """Fit weights and biases to the right classes (N,) of posteriors (M, N, C) by penalised maximum likelihood.

    Minimises the mean negative log-likelihood plus `l2` times the squared distance of the weights from 1/M and of the
    biases from 0. The problem is convex: where it ends does not depend on where it starts.
    """
    logs = _logs(posteriors)
    n_members, n_clips, n_classes = logs.shape
    right = np.zeros((n_clips, n_classes))
    right[np.arange(n_clips), targets] = 1
    start = np.append(np.full(n_members, 1 / n_members), np.zeros(n_classes))

    def objective(parameters: NDArray[np.float64]) -> tuple[float, NDArray[np.float64]]:
        weights, biases = np.split(parameters, [n_members])
        found = log_softmax(np.tensordot(weights, logs, axes=1) + biases, axis=1)
        errors = (np.exp(found) - right) / n_clips  # (N, C), the gradient by the scores
        gradient = np.append(np.tensordot(logs, errors, axes=([1, 2], [0, 1])), errors.sum(axis=0))
        away = parameters - start
        return float(-(found * right).sum() / n_clips + l2 * away @ away), gradient + 2 * l2 * away

    done = minimize(objective, start, jac=True, method="L-BFGS-B", options={"maxiter": 1000})
    if not done.success:
        raise AudiotagError(f"The weights of the ensemble could not be fitted: {done.message}; set ensemble.l2 higher")
    return Fusion(*np.split(done.x, [n_members]))


def cross_fitted_losses(
    posteriors: Posteriors, targets: NDArray[np.intp], folds: NDArray[np.int_], l2: float
) -> tuple[float, float]:
    """Return the mean negative log-likelihood of equal weights, and of weights fitted without each clip's fold (N,)."""
    n_members, _, n_classes = posteriors.shape
    equal = Fusion(np.full(n_members, 1 / n_members), np.zeros(n_classes))
    total = 0.0
    for fold in np.unique(folds):
        own = folds == fold
        learned = learn(posteriors[:, ~own], targets[~own], l2)
        total += learned.loss(posteriors[:, own], targets[own]) * own.sum()
    return equal.loss(posteriors, targets), total / len(targets)


def agreement(posteriors: Posteriors) -> NDArray[np.float64]:
    """Return the share (M, M) of recordings to which two members, of posteriors (M, N, C), give the same top label."""
    first = posteriors.argmax(axis=2)
    return (first[:, None] == first[None]).mean(axis=2)


def _logs(posteriors: Posteriors) -> Posteriors:
    return np.log(np.maximum(posteriors, FLOOR))

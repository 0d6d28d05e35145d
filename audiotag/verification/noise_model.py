"""How many unverified labels are right, and which: what networks say of verified clips, carried over to the others.

A verified held-out clip stands for the unverified ones that are really of its class: it is scored by a network that
never heard it, as they are. Put under its own label, it shows how right labels score; under another one, how wrong
labels do. `docs/promise.md` has the formulas. Pure functions of arrays, in which nothing is random but the weights.

Shapes: N unverified clips, M verified ones, C classes, L levels.
"""

from __future__ import annotations

import hashlib
from dataclasses import dataclass
from functools import cached_property
from typing import NamedTuple

import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float64]

PRIOR_CLIPS = 2.0  # per class: how much the pooled confusion counts against that of a class's own few verified clips
EM_STEPS = 40
UNMODELLED = 0.01  # share of the wrong labels that are assumed to agree with the networks for reasons of no model


class Ranked:
    """Scores (N,) in rising order, to ask again and again what lies above which of them."""

    def __init__(self, scores: Floats) -> None:
        self.order = np.argsort(scores, kind="stable")
        self.scores = scores[self.order]

    def above(self, weights: Floats, levels: Floats) -> Floats:
        """Return the weight, of weights (N,), of the scores of at least each level (L,)."""
        total = np.concatenate([[0.0], np.cumsum(weights[self.order])])
        found: Floats = total[-1] - total[np.searchsorted(self.scores, levels)]
        return found


@dataclass(frozen=True, eq=False)
class Evidence:
    """What a round's networks say: posteriors (N, C) and labels (N,) of unverified clips, and of verified ones (M).

    Equal by content, so that what was worked out of it need not be again.
    """

    posteriors: Floats
    labels: NDArray[np.int64]
    verified_posteriors: Floats
    verified_labels: NDArray[np.int64]

    @cached_property
    def digest(self) -> bytes:
        """A digest of all arrays."""
        arrays = (self.posteriors, self.labels, self.verified_posteriors, self.verified_labels)
        return hashlib.blake2b(b"".join(np.ascontiguousarray(array).tobytes() for array in arrays)).digest()

    def __hash__(self) -> int:
        return hash(self.digest)

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Evidence) and self.digest == other.digest

    @cached_property
    def predicted(self) -> NDArray[np.int64]:
        """Predicted classes (N,)."""
        return self.posteriors.argmax(axis=1)

    @cached_property
    def verified_predicted(self) -> NDArray[np.int64]:
        """Predicted classes of the verified clips (M,)."""
        return self.verified_posteriors.argmax(axis=1)

    @cached_property
    def surest(self) -> Floats:
        """Posteriors of the predicted classes (N,)."""
        return self.posteriors.max(axis=1)

    @cached_property
    def verified_surest(self) -> Floats:
        """Posteriors of the predicted classes of the verified clips (M,)."""
        return self.verified_posteriors.max(axis=1)

    @cached_property
    def ranked_refused(self) -> Ranked:
        """Posteriors of the predicted classes, of the clips for which these are not the labels."""
        return Ranked(self.surest[~self.agrees])

    @cached_property
    def ranked_verified(self) -> Ranked:
        """Posteriors of the predicted classes of the verified clips."""
        return Ranked(self.verified_surest)

    @cached_property
    def tail_levels(self) -> Floats:
        """Levels that a falling share of the verified clips' surest posteriors reach: all to 15 %."""
        return np.quantile(self.verified_surest, np.linspace(0, 0.85, 18))

    @cached_property
    def verified_errors(self) -> Floats:
        """What networks take verified clips of each class for (C, C), if not for that class: by their posteriors."""
        classes = self.posteriors.shape[1]
        errors = np.full((classes, classes), 0.05)
        np.add.at(errors, self.verified_labels, self.verified_posteriors)
        np.fill_diagonal(errors, 0)
        return errors / np.maximum(errors.sum(axis=1, keepdims=True), 1e-9)

    @cached_property
    def agrees(self) -> NDArray[np.bool_]:
        """Whether the networks predict the given label (N,)."""
        return self.predicted == self.labels

    @cached_property
    def verified_agrees(self) -> NDArray[np.bool_]:
        """Whether the networks predict the label of a verified clip (M,)."""
        return self.verified_predicted == self.verified_labels


class NoiseModel(NamedTuple):
    """An estimate of the noise.

    `origin` (C, C) is the probability that a clip with a label (row) is really of a class (column); `right_share` the
    share of right labels; `known_share` the share of the wrong ones whose clips belong to some class of the list.
    `wrong` (L,) counts the wrong labels among those that agree, `renamed` (L,) the refused clips whose predicted class
    is the right one; both with a posterior of at least each level.
    """

    origin: Floats
    right_share: float
    known_share: float
    wrong: Floats
    renamed: Floats


def estimate_noise(
    e: Evidence, levels: Floats, relabel_levels: Floats, verified_weights: Floats, weights: Floats
) -> NoiseModel:
    """Return the noise that explains the predictions best, of clips weighted (M,) and (N,)."""
    n, m, classes = len(e.labels), len(e.verified_labels), e.posteriors.shape[1]
    confusion, per_class = _confusion(e, verified_weights)
    counts = _crossed(e.labels, e.predicted, weights, classes)
    origin = _origins(counts, confusion)
    of_label = counts.sum(axis=1)
    right_share = float((of_label * origin.diagonal()).sum() / n)
    wrong_mass = (origin * of_label[:, None]).T  # (right class, label): clips
    np.fill_diagonal(wrong_mass, 0)

    v, above_v = e.verified_agrees, e.ranked_verified.above
    # Clips of other known classes that are predicted as labelled: verified ones under the label predicted for them.
    each = verified_weights / np.maximum(per_class[e.verified_labels], 1e-9)
    wrong = above_v(wrong_mass[e.verified_labels, e.verified_predicted] * each, levels)
    # What the pooled confusion adds, where a class has few verified clips, scores as their errors do.
    errors = above_v(verified_weights * (~v + 1e-3), levels)
    added = max(float((wrong_mass * confusion).sum()) - wrong[-1], 0.0)
    wrong = wrong + added * errors / max(errors[-1], 1e-9)

    known = _known_share(e, right_share, verified_weights, weights)
    refused = ~e.agrees
    refused_weights = weights[refused]
    n_wrong, n_refused = (1 - right_share) * n, float(refused_weights.sum())
    if n_refused > 0:
        shape = e.ranked_refused.above(refused_weights, levels) / n_refused
        # Clips of no class in the list agree with their label by chance, as often as predictions and labels coincide.
        missed = right_share * n * float((verified_weights * ~v).sum()) / m
        strange = max(n_refused - missed - known * n_wrong, 0.0)
        predicted = np.bincount(e.predicted[refused], refused_weights, minlength=classes) / n_refused
        chance = float((of_label / n * predicted).sum())
        wrong = wrong + (strange * chance / max(1 - chance, 1e-9) + UNMODELLED * n_wrong) * shape
    others = wrong_mass.sum(axis=1)[e.verified_labels] * each * v
    return NoiseModel(origin, right_share, known, wrong, known * above_v(others, relabel_levels))


def right_probabilities(e: Evidence) -> Floats:
    """Return how probable it is that each unverified label is right (N,).

    Right and wrong labels are made of verified clips by the estimated noise, and of refused clips labelled by chance.
    The share of right ones among them, as a rising function of agreement and the label's posterior, is the answer.
    """
    n, m, classes = len(e.labels), len(e.verified_labels), e.posteriors.shape[1]
    noise = estimate_noise(e, np.zeros(1), np.zeros(1), np.ones(m), np.ones(n))
    of_label, per_class = (np.bincount(labels, minlength=classes) for labels in (e.labels, e.verified_labels))
    wrong = (noise.origin * of_label[:, None]).T * noise.known_share
    np.fill_diagonal(wrong, 0)
    own = np.eye(classes, dtype=bool)[e.verified_labels]
    each = np.where(own, noise.right_share * n / m, wrong[e.verified_labels] / per_class[e.verified_labels][:, None])
    refused = ~e.agrees
    strange = (1 - noise.known_share) * (1 - noise.right_share) * n / max(int(refused.sum()), 1)
    by_chance = np.broadcast_to(strange * of_label / n, (int(refused.sum()), classes))
    scores = np.concatenate([_scores(e.verified_posteriors).ravel(), _scores(e.posteriors[refused]).ravel()])
    right = np.concatenate([own.ravel(), np.zeros(by_chance.size, bool)])
    weights = np.concatenate([each.ravel(), by_chance.ravel()]) + 1e-9
    return _rising(scores, right, weights, _scores(e.posteriors)[np.arange(n), e.labels])


def _rising(scores: Floats, values: NDArray[np.bool_], weights: Floats, at: Floats) -> Floats:
    """Return the rising function of scores that fits weighted values best (isotonic regression), at other scores."""
    from scipy.optimize import isotonic_regression  # here: it takes half a second, and what is wrong is said before

    places, which = np.unique(scores, return_inverse=True)
    mass = np.bincount(which, weights)
    fitted = isotonic_regression(np.bincount(which, weights * values) / mass, weights=mass).x
    return np.clip(np.interp(at, places, fitted), 0, 1)


def _scores(posteriors: Floats) -> Floats:
    """Return what speaks for each label (N, C): its posterior, and above all that it is the predicted one."""
    return posteriors + (posteriors == posteriors.max(axis=1, keepdims=True))


def _confusion(e: Evidence, weights: Floats) -> tuple[Floats, Floats]:
    """Return how often a class (row) is predicted as another (C, C), and the verified clips of each class (C,)."""
    classes = e.posteriors.shape[1]
    counts = _crossed(e.verified_labels, e.verified_predicted, weights, classes)
    per_class = counts.sum(axis=1)
    accuracy = (float(counts.trace()) + 0.5) / (float(per_class.sum()) + 1)
    pooled = e.verified_errors * (1 - accuracy) + np.eye(classes) * accuracy
    return (counts + PRIOR_CLIPS * pooled) / (per_class[:, None] + PRIOR_CLIPS), per_class


def _crossed(rows: NDArray[np.int64], columns: NDArray[np.int64], weights: Floats, classes: int) -> Floats:
    """Return the weight of each pair of classes (C, C)."""
    pairs = np.bincount(rows * classes + columns, weights, classes**2).astype(np.float64, copy=False)
    return pairs.reshape(classes, classes)


def _origins(counts: Floats, confusion: Floats) -> Floats:
    """Return the classes (column) that clips of each label (row) come from, by EM (Saerens et al. 2002, per label).

    `counts` (C, C): clips by label and prediction; `confusion` (C, C): predictions of each class. A label's shares are
    drawn towards even ones, by one clip.
    """
    classes, others = len(counts), max(len(counts) - 1, 1)
    own = np.eye(classes, dtype=bool)
    origin = np.where(own, 0.7, 0.3 / others)
    for _ in range(EM_STEPS):
        explained = counts / np.maximum(origin @ confusion, 1e-12)
        clips = origin * (explained @ confusion.T)
        wrong = 1 - clips.trace() / clips.sum()
        prior = np.where(own, 1 - wrong, wrong / others)
        origin = (clips + prior) / (clips.sum(axis=1, keepdims=True) + 1)
    return origin


def _known_share(e: Evidence, right_share: float, verified_weights: Floats, weights: Floats) -> float:
    """Return the share of the wrong labels whose clips are of known classes, at most.

    Networks are as sure of these as of verified clips; of clips of no class they are less so, and the tail of the
    refused clips' surest posteriors becomes thin (the largest share that a mixture leaves room for).
    """
    n, m, refused = len(e.labels), len(e.verified_labels), ~e.agrees
    levels, above_v = e.tail_levels, e.ranked_verified.above
    all_refused = e.ranked_refused.above(weights[refused], levels)
    missed = above_v(verified_weights * ~e.verified_agrees, levels) / m
    expected = (1 - right_share) * n * above_v(verified_weights, levels) / m
    ratio = (all_refused - right_share * n * missed) / np.maximum(expected, 1e-9)
    return float(np.clip(ratio.min() / ratio[0], 0, 1)) if ratio[0] > 0 else 0.0

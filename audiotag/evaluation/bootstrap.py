"""How far accuracy and MAP@3 would move had other clips been drawn: percentile bootstrap over clips (Efron 1979)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from audiotag.evaluation.metrics import hits, reciprocal_ranks
from audiotag.randomness import generator

LEVEL = 0.95
CHUNK = 1 << 22  # indices drawn at a time, so that memory does not grow with the number of resamples


@dataclass(frozen=True)
class Intervals:
    """The 95 % intervals (low, high), shares from 0 to 1, of accuracy and MAP@3."""

    accuracy: tuple[float, float]
    map3: tuple[float, float]
    resamples: int


def bootstrap_intervals(
    ranked: Sequence[Sequence[str]], labels: Sequence[str], resamples: int, seed: int = 0
) -> Intervals | None:
    """Return the intervals over clips drawn with replacement, the same for the same seed; None for 0 resamples.

    `ranked` are each clip's labels, best first. The interval is from the 2.5th to the 97.5th percentile.
    """
    if resamples == 0:
        return None
    found = hits(ranked, labels)
    values = np.stack([found[:, 0], reciprocal_ranks(found)])  # (2, N)
    rng, n = generator(seed, "bootstrap"), len(labels)
    at_once = max(1, CHUNK // n)
    means = [
        values[:, rng.integers(0, n, (min(at_once, resamples - done), n))].mean(axis=2)
        for done in range(0, resamples, at_once)
    ]
    tail = 100 * (1 - LEVEL) / 2
    low, high = np.percentile(np.concatenate(means, axis=1), [tail, 100 - tail], axis=1)
    (accuracy_low, map_low), (accuracy_high, map_high) = low.tolist(), high.tolist()
    return Intervals((accuracy_low, accuracy_high), (map_low, map_high), resamples)

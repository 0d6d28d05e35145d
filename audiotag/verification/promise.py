"""A promise about a set of labels: of those accepted, at least so many are right, said with so much confidence.

Shapes: N unverified clips, L levels.
"""

from __future__ import annotations

import functools
import math
from dataclasses import dataclass
from typing import Any, ClassVar, Literal

import numpy as np

from audiotag.randomness import generator
from audiotag.verification.noise_model import Evidence, Floats, estimate_noise
from audiotag.verification.rules import ACCEPTED, BELOW, DIFFERS, RELABELLED, AgreementRule, Decision, Share

MORE = (2, 4, 8, 16)  # times as many verified clips, to say how many would do
LEVELS = 6  # sets to choose among, equally many clips apart: the fewer, the less is chosen by chance
DRAWS = 200
SHOWN = 0.9  # what the verified clips must be able to show at least (Clopper-Pearson), whatever is asked for


@dataclass(frozen=True)
class Bounds:
    """What can be said of the unverified labels: sets of them, best first, and how many of each are right.

    The set of a level are the clips whose networks predict the given label (`relabel_levels`: another one) with a
    posterior of at least the level. `low` and `expected` (L,) are the precision of each set that is reached with the
    confidence asked for, and as often as not; of the share of right labels there is an interval, too.
    """

    levels: Floats
    low: Floats
    expected: Floats
    relabel_levels: Floats
    relabel_low: Floats
    relabel_expected: Floats
    right_share: tuple[float, float, float]
    agreement: float


@functools.lru_cache(maxsize=64)
def bounds(e: Evidence, confidence: float, more: int = 1) -> Bounds:
    """Return the bounds at a confidence, by the Bayesian bootstrap over unverified and verified clips (Rubin 1981).

    `more` times as many verified clips are imagined than there are.
    """
    levels, sizes = _levels(e.surest[e.agrees])
    others, n_others = _levels(e.surest[~e.agrees])
    n, m = len(e.labels), len(e.verified_labels)
    rng = generator("promise", n, m)
    wrong, renamed, shares, agreement = [], [], [], []
    for _ in range(DRAWS):
        verified_weights, weights = rng.dirichlet(np.full(m, float(more))) * m, rng.dirichlet(np.ones(n)) * n
        noise = estimate_noise(e, levels, others, verified_weights, weights)
        # Of a set with such a share of wrong labels, as many are wrong as chance has it.
        wrong.append(_binomial(rng, sizes, noise.wrong / np.maximum(sizes, 1)))
        renamed.append(_binomial(rng, n_others, noise.renamed / np.maximum(n_others, 1)))
        shares.append(noise.right_share)
        agreement.append(weights[e.agrees].sum() / n / max(verified_weights[e.verified_agrees].sum() / m, 1e-9))
    precision = 1 - np.array(wrong).reshape(DRAWS, -1) / np.maximum(sizes, 1)
    relabelled = np.array(renamed).reshape(DRAWS, -1) / np.maximum(n_others, 1)
    tail = (1 - confidence) / 2
    return Bounds(
        levels,
        np.quantile(precision, 1 - confidence, axis=0),
        precision.mean(axis=0),
        others,
        np.quantile(relabelled, 1 - confidence, axis=0),
        relabelled.mean(axis=0),
        (float(np.quantile(shares, tail)), float(np.mean(shares)), float(np.quantile(shares, 1 - tail))),
        float(np.quantile(agreement, 0.05)),
    )


def _binomial(rng: np.random.Generator, sizes: np.ndarray, share: Floats) -> np.ndarray:
    return rng.binomial(sizes, np.clip(share, 0, 1))


def _levels(surest: Floats) -> tuple[Floats, np.ndarray]:
    """Return the levels (L,), falling, above which 1/L, 2/L, ... all of these clips are, and how many are.

    There is always one level.
    """
    if not len(surest):
        return np.zeros(1), np.zeros(1, int)
    best_first = np.sort(surest)[::-1]
    counts = np.unique(np.ceil(len(surest) * np.arange(1, LEVELS + 1) / LEVELS).astype(int))
    levels = best_first[counts - 1]
    return levels, np.array([(surest >= level).sum() for level in levels])


@dataclass(frozen=True)
class PromiseRule:
    """Accepts the largest set of which a share `precision` at least is right, with probability `confidence`.

    Its members are labels that the networks predict, surest first. With `relabel`, it also accepts refused clips under
    the label that the networks predict, under a promise of their own, `relabel_precision`. Where nothing can be
    promised, `fallback` decides: none, or calibrated, the predicted labels with a posterior above 0.95. Method and
    assumptions: docs/promise.md.
    """

    precision: Share = 0.95
    confidence: Share = 0.9
    relabel: bool = False
    relabel_precision: Share = 0.8
    fallback: Literal["none", "calibrated"] = "calibrated"
    uses_verified: ClassVar[bool] = True

    def decide(
        self,
        posteriors: np.ndarray,
        labels: np.ndarray,
        verified_posteriors: np.ndarray,
        verified_labels: np.ndarray,
    ) -> Decision:
        """Return which labels are accepted, and why or why not."""
        e = Evidence(posteriors, labels, verified_posteriors, verified_labels)
        reasons = np.where(e.agrees, BELOW, DIFFERS).astype(object)
        level = self._level(e)
        if level is not None:
            reasons[e.agrees & (e.surest >= level)] = ACCEPTED
        elif self.fallback == "calibrated":
            accepted, _ = AgreementRule(threshold=0.95, cap=None).decide(posteriors, labels)
            reasons[accepted] = ACCEPTED
        taken, renamed = reasons == ACCEPTED, labels.copy()
        if self.relabel and (relabel_level := self._relabel_level(e)) is not None:
            other = ~e.agrees & (e.surest >= relabel_level)
            renamed[other], reasons[other] = e.predicted[other], RELABELLED
            taken |= other
        return Decision(taken, reasons, renamed)

    def figures(self, e: Evidence) -> dict[str, Any]:
        """Return what is promised of the labels accepted on this evidence: `promised` precision, or why nothing is."""
        if self._level(e) is None:
            return {"promised": None, "promise": f"withdrawn: {self._why_not(e)}; accepted by fallback={self.fallback}"}
        found = bounds(e, self.confidence)
        low = float(found.low[np.flatnonzero(found.low >= self.precision)[-1]])
        return {
            "promised": low,
            "promise": f"precision {self.precision:g} or more, with confidence {self.confidence:g}",
        }

    @property
    def fewest(self) -> int:
        """Verified clips without which nothing is promised: so many, all predicted as labelled, just show 0.9."""
        return max(1, math.ceil(math.log(max(1 - self.confidence, 0.001)) / math.log(SHOWN)))

    def _level(self, e: Evidence) -> float | None:
        if len(e.verified_labels) < self.fewest or not e.agrees.any() or not self._stand_for_each_other(e):
            return None
        found = bounds(e, self.confidence)
        kept = np.flatnonzero(found.low >= self.precision)
        return float(found.levels[kept[-1]]) if len(kept) else None

    def _relabel_level(self, e: Evidence) -> float | None:
        if len(e.verified_labels) < self.fewest or e.agrees.all() or not self._stand_for_each_other(e):
            return None
        found = bounds(e, self.confidence)
        kept = np.flatnonzero(found.relabel_low >= self.relabel_precision)
        return float(found.relabel_levels[kept[-1]]) if len(kept) else None

    def _stand_for_each_other(self, e: Evidence) -> bool:
        return bounds(e, self.confidence).agreement <= 1

    def _why_not(self, e: Evidence) -> str:
        """Say why no set of labels can be promised."""
        m = len(e.verified_labels)
        if not m:
            return "no verified clip is held out to measure on"
        if m < self.fewest:
            return f"only {m} verified clips are held out, too few to show anything: {self.fewest} or more are needed"
        if not e.agrees.any():
            return "the networks predict none of the labels"
        found = bounds(e, self.confidence)
        if not self._stand_for_each_other(e):
            return (
                "the networks agree with unverified labels more often than with verified ones: the verified clips do "
                "not stand for the others"
            )
        text = f"the bound is {found.low.max():.3f} at best"

        def is_enough(more: int) -> bool:
            return bool((bounds(e, self.confidence, more).low >= self.precision).any())

        if not is_enough(MORE[-1]):  # asked first: mostly it is not, and each answer takes a fifth of a second
            times = f"{MORE[-1]} times the {m} verified clips would not do"
            return f"{text}, and {times}: the networks are too unsure for {self.precision:g}"
        enough = next(more for more in MORE if is_enough(more))
        return f"{text}; about {enough * m} verified clips like these {m} would do"

    def __str__(self) -> str:
        asked = f"of the accepted labels {self.precision:g} or more are right, with confidence {self.confidence:g}"
        other = f", of the relabelled ones {self.relabel_precision:g}" if self.relabel else ""
        return f"{asked}{other}"

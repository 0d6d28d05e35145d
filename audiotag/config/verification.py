"""Settings of the rule by which unverified labels are accepted."""

from __future__ import annotations

from dataclasses import dataclass

from audiotag.config.checks import at_least, one_of, share

# `verification.confident_learning`: cleanlab's names for ways to choose what to flag.
CONFIDENT_LEARNING = (
    *("prune_by_noise_rate", "prune_by_class", "both", "confident_learning"),
    *("low_normalized_margin", "low_self_confidence", "predicted_neq_given"),
)


def way_to_flag(name: str | None) -> list[str]:
    return [] if name is None else one_of("verification.confident_learning", name, CONFIDENT_LEARNING)


@dataclass(frozen=True)
class Verification:
    """The rule by which an unverified label is accepted (paper section 4.2)."""

    rule: str = "as_documented"
    """Name of the rule; for people only."""
    excerpts: int = 25
    """Excerpts K per clip whose posteriors are averaged into the consensus."""
    agreement: bool = True
    """The consensus must predict the given label."""
    threshold: float | None = 0.95
    """The consensus of the given label must exceed this; null: no threshold."""
    cap: int | None = 40
    """Most clips accepted per class over all folds, highest consensus first; null: no cap."""
    calibrate: bool = False
    """Apply a temperature, fitted per fold on its verified held-out clips, before the threshold."""
    confident_learning: str | None = None
    """Refuse labels that cleanlab flags, chosen by this `filter_by` of its find_label_issues; null: not asked."""

    def problems(self) -> list[str]:
        found = at_least("verification.excerpts", self.excerpts, 1) + share("verification.threshold", self.threshold)
        return found + at_least("verification.cap", self.cap, 0) + way_to_flag(self.confident_learning)


@dataclass(frozen=True)
class VerificationChange:
    """What to decide otherwise than the run did; null keeps the run's own setting, unless a whole rule is named."""

    rule: str | None = None
    """Name of the whole rule to apply, set by verification=NAME; null: the run's rule with the changes below."""
    excerpts: int | None = None
    """With rescore=true: excerpts K per clip; null: as many as the run had, whose means are stored."""
    agreement: bool | None = None
    """The consensus must predict the given label."""
    threshold: float | None = None
    """The consensus of the given label must exceed this; 0 switches the threshold off."""
    cap: int | None = None
    """Most clips accepted per class over all folds, highest consensus first."""
    calibrate: bool | None = None
    """Apply a temperature, fitted per fold on its verified held-out clips, before the threshold."""
    confident_learning: str | None = None
    """Refuse labels that cleanlab flags, chosen by this `filter_by` of its find_label_issues."""

"""Settings of the rule by which unverified labels are accepted."""

from __future__ import annotations

from typing import Annotated, Literal, get_args

from pydantic import Field

from audiotag.config.schema import Settings, Share, settings

# cleanlab's names for ways to choose what to flag.
WayToFlag = Literal[
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "low_normalized_margin",
    "low_self_confidence",
    "predicted_neq_given",
]
CONFIDENT_LEARNING: tuple[WayToFlag, ...] = get_args(WayToFlag)
Excerpts = Annotated[int, Field(ge=1, le=10_000)]
Cap = Annotated[int, Field(ge=0, le=1_000_000_000)]


@settings
class Verification(Settings):
    """The rule by which an unverified label is accepted (paper section 4.2)."""

    rule: str = "as_documented"
    """Name of the rule; for people only."""
    excerpts: Excerpts = 25
    """Excerpts K per clip whose posteriors are averaged into the consensus."""
    agreement: bool = True
    """The consensus must predict the given label."""
    threshold: Share | None = 0.95
    """The consensus of the given label must exceed this; null: no threshold."""
    cap: Cap | None = 40
    """Most clips accepted per class over all folds, highest consensus first; null: no cap."""
    calibrate: bool = False
    """Apply a temperature, fitted per fold on its verified held-out clips, before the threshold."""
    confident_learning: WayToFlag | None = None
    """Refuse labels that cleanlab flags, chosen by this `filter_by` of its find_label_issues; null: not asked."""


@settings
class VerificationChange(Settings):
    """What to decide otherwise than the run did; null keeps the run's own setting, unless a whole rule is named."""

    rule: str | None = None
    """Name of the whole rule to apply, set by verification=NAME; null: the run's rule with the changes below."""
    excerpts: Excerpts | None = None
    """With vote_again=true: excerpts K per clip; null: as many as the run had, whose means are stored."""
    agreement: bool | None = None
    """The consensus must predict the given label."""
    threshold: Share | None = None
    """The consensus of the given label must exceed this; 0 switches the threshold off."""
    cap: Cap | None = None
    """Most clips accepted per class over all folds, highest consensus first."""
    calibrate: bool | None = None
    """Apply a temperature, fitted per fold on its verified held-out clips, before the threshold."""
    confident_learning: WayToFlag | None = None
    """Refuse labels that cleanlab flags, chosen by this `filter_by` of its find_label_issues."""

"""Settings of the rule by which unverified labels are accepted."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from audiotag.config.leaf import Leaf, class_name
from audiotag.config.schema import Settings, settings

Excerpts = Annotated[int, Field(ge=1, le=10_000)]
AGREEMENT = {"_target_": "audiotag.verification.rules.AgreementRule", "agreement": True, "threshold": 0.95, "cap": 40}


@settings
class Verification(Settings):
    """How unverified labels are accepted (paper section 4.2)."""

    name: str | None = None
    """Name of the configuration; for people only; null: the rule's class."""
    excerpts: Excerpts = 25
    """Excerpts K per clip whose posteriors are averaged into the consensus."""
    calibrate: bool = False
    """Apply a temperature, fitted per fold on its verified held-out clips, before the rule."""
    rule: Annotated[dict[str, Any], Leaf()] = Field(AGREEMENT)
    """Class of the rule (`_target_`) and its arguments; for AgreementRule: agreement, the consensus must predict the
    given label; threshold, which the consensus of the given label must exceed, or null; cap, most clips accepted per
    class over all folds, highest consensus first, or null. CleanlabRule has filter_by, too."""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or class_name(self.rule)


@settings
class VerificationChange(Settings):
    """What to decide otherwise than the run did."""

    name: str | None = None
    """Name of the configuration; for people only."""
    excerpts: Excerpts | None = None
    """With vote_again=true: excerpts K per clip; null: as many as the run had, whose means are stored."""
    calibrate: bool | None = None
    """Apply a temperature, fitted per fold on its verified held-out clips, before the rule; null: as the run did."""
    rule: Annotated[dict[str, Any], Leaf(usual=("agreement", "threshold", "cap"))] = Field({})
    """Arguments of the run's rule that are to be others, such as threshold or cap, or another rule with its class."""

"""Settings of training."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from audiotag.config.leaf import Leaf
from audiotag.config.schema import Settings, settings


@settings
class Phase(Settings):
    """One training schedule: constant learning rate, then linear decay, to zero in the last epoch."""

    epochs: int = Field(30, ge=1, le=100_000)
    """Passes over the training clips."""
    learning_rate: float = Field(1e-3, gt=0, le=10)
    """Initial learning rate of Adam."""
    decay_from_epoch: int = Field(5, le=100_000)
    """First epoch with a lower learning rate, counted from 0; equal to epochs: no decay."""
    mixup_alpha: float = Field(0.0, ge=0, le=100)
    """Parameter of mixup's Beta distribution; 0 switches mixup off."""
    min_steps: int = Field(0, ge=0, le=100_000_000)
    """Fewest optimiser steps: a small data set gets more epochs for it, and the decay starts later in proportion."""

    def clashes(self, prefix: str) -> Iterator[str]:
        decay = f"{prefix}decay_from_epoch={self.decay_from_epoch}"
        if not 0 <= self.decay_from_epoch <= self.epochs:
            yield f"{decay} must lie in 0 to {prefix}epochs={self.epochs}"
        if self.epochs == 1 and self.decay_from_epoch == 0:
            yield f"{decay} leaves the only epoch a learning rate of 0: set it to 1"


@settings
class Training(Settings):
    """How networks are fitted: round 0 is the pre-training, every later round the fine-tuning."""

    batch_size: int = Field(32, ge=2, le=100_000)
    """Excerpts per optimiser step; an epoch's last step is filled up with clips from its beginning."""
    valid_batch_size: int = Field(25, ge=1, le=100_000)
    """Whole clips per validation step."""
    loss: Annotated[dict[str, Any], Leaf(given=("reduction",))] = Field(
        {"_target_": "audiotag.models.loss.SoftTargetCrossEntropy"}
    )
    """Class of the loss (`_target_`) and its arguments; for SoftTargetCrossEntropy: label_smoothing."""
    pretrain: Phase = Phase()
    """Round 0: on all clips, verified or not."""
    finetune: Phase = Phase()
    """Rounds 1 and later: on verified and self-verified clips."""

"""The loss as the configuration names it. Shapes: B clips, C classes."""

from __future__ import annotations

from typing import Annotated, Protocol

import torch
from pydantic import Field
from torch import Tensor, nn

from audiotag.config import Training
from audiotag.config.leaf import build
from audiotag.errors import ConfigError

SETTING = "training.loss"


class Loss(Protocol):
    """Compares logits (B, C) with soft targets (B, C), which sum to 1 per clip, as torch.nn.CrossEntropyLoss does.

    The program gives the constructor `reduction`: "mean" for the mean over the clips, or "none" for one loss per clip
    (B,), which several devices need to weigh their clips.
    """

    def __call__(self, logits: Tensor, targets: Tensor, /) -> Tensor:
        """Return the mean loss, or the loss of every clip (B,)."""


class SoftTargetCrossEntropy(nn.CrossEntropyLoss):
    """Cross-entropy, as in the paper; `label_smoothing` spreads that share of every target over all classes."""

    def __init__(self, reduction: str = "mean", label_smoothing: Annotated[float, Field(ge=0, lt=1)] = 0.0) -> None:
        super().__init__(reduction=reduction, label_smoothing=label_smoothing)


class GeneralizedCrossEntropy(nn.Module):
    """The loss (1 - p^q) / q of Zhang and Sabuncu (2018, arXiv:1805.07836), which wrong labels pull less.

    Between cross-entropy, its limit for q near 0, and the mean absolute error, q = 1; 0.7 is theirs.
    """

    def __init__(self, reduction: str = "mean", q: Annotated[float, Field(gt=0, le=1)] = 0.7) -> None:
        super().__init__()
        self.reduction, self.q = reduction, q

    def forward(self, logits: Tensor, targets: Tensor) -> Tensor:
        """Return the mean loss, or the loss of every clip (B,)."""
        # As exp(q log p): the gradient of a power is not finite where a posterior is 0.
        powers = (self.q * logits.log_softmax(dim=1)).exp()
        loss = (targets * (1 - powers) / self.q).sum(dim=1)
        return loss.mean() if self.reduction == "mean" else loss


def build_loss(training: Training, reduction: str) -> Loss:
    """Build the configured loss.

    Raises ConfigError if it cannot be imported or built, or breaks its contract.
    """
    loss: Loss = build(training.loss, SETTING, reduction=reduction)
    with torch.random.fork_rng(devices=[]):
        logits, targets = torch.randn(4, 3, requires_grad=True), torch.rand(4, 3).softmax(dim=1)
        value = loss(logits, targets)
    expected = () if reduction == "mean" else (4,)
    if tuple(value.shape) != expected or not value.isfinite().all() or not value.requires_grad:
        raise ConfigError(
            "The loss cannot be used:",
            [
                f"{SETTING}: with reduction={reduction}, {type(loss).__name__} must make a finite tensor of shape "
                f"{expected} with a gradient of logits and targets (4, 3), not one of shape {tuple(value.shape)}"
            ],
        )
    return loss

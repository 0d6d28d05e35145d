"""The network behind an embedding: a linear layer, or one hidden one.

Shapes: B clips, F values of a vector, T windows, C classes.
"""

from __future__ import annotations

from typing import Annotated

import torch.nn.functional as F
from pydantic import Field
from torch import Tensor, nn

Share = Annotated[float, Field(ge=0, lt=1)]


class EmbeddingHead(nn.Module):
    """Vectors (B, 1, F, T) to logits (B, C) of their mean over windows.

    Each vector is scaled to a root mean square of 1, then each value normalised over the batch and all windows.
    `hidden` units lie in between; None: none. `dropout` is of what the last layer takes.
    """

    min_frames, fixed_frames = 1, None

    def __init__(
        self,
        classes: int,
        bands: int,
        hidden: Annotated[int, Field(ge=1, le=1 << 16)] | None = None,
        dropout: Share = 0.0,
    ) -> None:
        super().__init__()
        # Of two dimensions, because it is that one which several devices compute together.
        # A value that hardly varied in training is no surprise worth a class: hence the epsilon.
        self.scale = nn.BatchNorm2d(bands, eps=1e-3, affine=False)
        inner = [] if hidden is None else [nn.Linear(bands, hidden), nn.ReLU()]
        self.head = nn.Sequential(*inner, nn.Dropout(dropout), nn.Linear(hidden or bands, classes))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        vectors = F.normalize(x.transpose(1, 2), dim=1) * x.shape[2] ** 0.5  # (B, F, 1, T)
        logits: Tensor = self.head(self.scale(vectors).mean(dim=(2, 3)))
        return logits

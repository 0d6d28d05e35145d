"""Settings of the network."""

from __future__ import annotations

from pydantic import Field

from audiotag.config.schema import Settings, Share, settings

MIN_FRAMES = 191  # of an excerpt, to survive the network's pools; `models.vgg_gap` counts them


@settings
class Model(Settings):
    """The VGG network with global average pooling (paper figure 2)."""

    name: str = "tiny"
    """Name of the configuration; for people only."""
    width: int = Field(8, ge=1, le=1024)
    """Channels of the first convolution; all others are multiples of it."""
    dropout: Share = 0.0
    """Dropout after the blocks of the feature part; 0.3 in the paper. Scale it with width."""
    head_dropout: Share = 0.0
    """Dropout in the classification part; 0.5 in the paper. Scale it with width."""

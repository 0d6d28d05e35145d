"""Settings of the network."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field

from audiotag.config.leaf import Leaf, class_name
from audiotag.config.schema import Settings, settings

VGG_GAP = {"_target_": "audiotag.models.vgg_gap.VggGap", "width": 8, "dropout": 0.0, "head_dropout": 0.1}


@settings
class Model(Settings):
    """The network."""

    name: str | None = None
    """Name of the configuration; for people only; null: the network's class."""
    network: Annotated[dict[str, Any], Leaf(given=("classes",))] = Field(VGG_GAP)
    """Class of the network (`_target_`) and its arguments; for VggGap: width, channels of the first convolution, of
    which all others are multiples; dropout after the blocks and head_dropout, 0.3 and 0.5 in the paper, to be scaled
    with the width."""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or class_name(self.network)

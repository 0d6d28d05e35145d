"""Settings of augmentation."""

from __future__ import annotations

from typing import Annotated, Any

from audiotag.config.leaf import Leaf
from audiotag.config.schema import Settings, settings


@settings
class Augment(Settings):
    """Random changes to training excerpts, besides mixup (see `training.*.mixup_alpha`)."""

    transform: Annotated[dict[str, Any] | None, Leaf()] = None
    """Class of the change (`_target_`) and its arguments; for Masking: time_masks per excerpt and time_mask_frames, the
    longest; band_masks and band_mask_bands, the widest. null: excerpts as they are."""

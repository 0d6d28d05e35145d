"""Settings of augmentation."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from audiotag.config.schema import Settings, settings


@settings
class Augment(Settings):
    """Random changes to training excerpts, besides mixup (see `training.*.mixup_alpha`)."""

    time_masks: int = Field(0, ge=0, le=100)
    """Number of time masks per excerpt."""
    time_mask_frames: int = Field(0, ge=0, le=100_000)
    """Longest time mask, in frames."""
    band_masks: int = Field(0, ge=0, le=100)
    """Number of band masks per excerpt."""
    band_mask_bands: int = Field(0, ge=0, le=1000)
    """Widest band mask, in bands of 128."""

    def clashes(self, prefix: str) -> Iterator[str]:
        if self.time_masks > 0 and self.time_mask_frames == 0:
            yield f"{prefix}time_masks={self.time_masks} masks nothing: set {prefix}time_mask_frames"
        if self.band_masks > 0 and self.band_mask_bands == 0:
            yield f"{prefix}band_masks={self.band_masks} masks nothing: set {prefix}band_mask_bands"

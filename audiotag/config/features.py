"""Settings of the front end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal, get_args

from pydantic import Field

from audiotag.config.schema import Settings, settings

FrontEnd = Literal["v1", "v2"]
FRONT_ENDS: tuple[FrontEnd, ...] = get_args(FrontEnd)


@settings
class Features(Settings):
    """From waveform to spectrogram, and how much of it a network sees."""

    front_end: FrontEnd = "v1"
    """v1: perceptually weighted mel bands, hop 192; v2: logarithmic filter bank, hop 128 (32 kHz, 128 bands)."""
    trim: bool = True
    """Cut silence off both ends as the original's SoX command does; false for live use."""
    excerpt_frames: int = Field(384, ge=1, le=100_000)
    """Frames of a training excerpt (paper section 3)."""
    clip_frames: int = Field(3000, ge=1, le=1_000_000)
    """Frames a clip is repeated or cut to for validation and for drawing excerpts (paper section 2)."""

    def clashes(self, prefix: str) -> Iterator[str]:
        if self.clip_frames < self.excerpt_frames:
            excerpt = f"{prefix}excerpt_frames={self.excerpt_frames}"
            yield f"{prefix}clip_frames={self.clip_frames} is shorter than {excerpt}: excerpts are cut from it"

"""Settings of the front end."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field

from audiotag.config.leaf import Leaf, class_name
from audiotag.config.schema import Settings, settings

V1 = {"_target_": "audiotag.features.spectrogram.MelFrontEnd", "sample_rate_hz": 32_000, "hop_samples": 192}
V1 |= {"n_fft": 1024, "bands": 128}


@settings
class Features(Settings):
    """From waveform to spectrogram, and how much of it a network sees."""

    name: str | None = None
    """Name of the configuration; for people only; null: the front end's class."""
    front_end: Annotated[dict[str, Any], Leaf()] = Field(V1)
    """Class of the front end (`_target_`) and its arguments: sample_rate_hz, hop_samples, n_fft, bands, or, for
    LogFrontEnd, bands_per_octave, and others."""
    trim: bool = True
    """Cut silence off both ends as the original's SoX command does; false for live use."""
    excerpt_frames: int = Field(384, ge=1, le=100_000)
    """Frames of a training excerpt (paper section 3)."""
    clip_frames: int = Field(3000, ge=1, le=1_000_000)
    """Frames a clip is repeated or cut to for validation and for drawing excerpts (paper section 2)."""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or class_name(self.front_end)

    def clashes(self, prefix: str) -> Iterator[str]:
        if self.clip_frames < self.excerpt_frames:
            excerpt = f"{prefix}excerpt_frames={self.excerpt_frames}"
            yield f"{prefix}clip_frames={self.clip_frames} is shorter than {excerpt}: excerpts are cut from it"

"""Settings of predict.py for sound that is still coming, and for labels of the parts of a recording."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Literal

from pydantic import Field

from audiotag.config.schema import Settings, Share, settings


@settings
class ReferenceLevel(Settings):
    """What the spectrogram of a stream is relative to; a recording's is relative to its loudest moment."""

    level: Literal["window", "running", "fixed"] = "window"
    """window: the loudest moment of the window; running: of the last memory_s seconds; fixed: dbfs."""
    memory_s: float = Field(10.0, gt=0, le=86_400)
    """With level=running: how far back from a window's end the loudest moment is looked for, in seconds."""
    dbfs: float = Field(-10.0, ge=-200, le=0)
    """With level=fixed: peak of the loudest moment in decibels relative to full scale."""
    floor_dbfs: float = Field(-60.0, ge=-200, le=0)
    """Where nothing is louder, this counts as the loudest moment, so that silence is not taken for sound."""


@settings
class Pcm(Settings):
    """With source=-: the samples on standard input, unless they are a WAV file, which says so itself."""

    rate_hz: int | None = Field(None, ge=1_000, le=1_000_000)
    """Samples per second; must be given unless WAV comes."""
    channels: int = Field(1, ge=1, le=1024)
    """Channels, of which the mean is heard."""
    encoding: Literal["s16", "f32"] = "s16"
    """s16 (16-bit integers) or f32 (floats with full scale at 1), both little-endian."""


@settings
class Segmentation(Settings):
    """From the posteriors of windows to parts of a recording with a label."""

    on: Share = 0.5
    """A part begins where a label is the most probable one, with this probability or more."""
    off: Share = 0.3
    """It ends where its probability falls below this, or another label begins."""
    shortest_s: float = Field(0.25, ge=0, le=86_400)
    """Parts shorter than this are left out, in seconds."""
    gap_s: float = Field(0.25, ge=0, le=86_400)
    """Parts of the same label that follow each other with no longer gap are one, in seconds."""

    def clashes(self, prefix: str) -> Iterator[str]:
        if self.off > self.on:
            yield f"{prefix}off={self.off} is above {prefix}on={self.on}: a part would end where it begins"

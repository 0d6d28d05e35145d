"""The sound that what was exported is compared by."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from audiotag.features.trimming import Wave

if TYPE_CHECKING:
    from audiotag.inference.spectrograms import WindowSpec


def sound(groups: Sequence[tuple[WindowSpec, Any]]) -> tuple[Wave, int]:
    """Return a fading tone in noise, a second long, (wave, sample_rate_hz), at the rate of the first front end."""
    from audiotag.features.spectrogram import front_end_of  # which imports PyTorch

    rate_hz = front_end_of(groups[0][0].features).sample_rate_hz
    t = np.arange(rate_hz) / rate_hz
    noise = np.random.default_rng(0).standard_normal(rate_hz)
    return (np.exp(-4 * t) * (0.3 * np.sin(2 * np.pi * 700 * t) + 0.1 * noise)).astype(np.float32), rate_hz

"""What is heard and seen of a clip: its sound as WAV, its waveform, its spectrogram as the run's networks see it."""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
from numpy.typing import NDArray

from audiotag.api import spectrogram
from audiotag.config import Features
from audiotag.features.audio import decode_beginning, resample
from audiotag.features.spectrogram import as_seen
from audiotag.report.sounds import marks_khz, webp

COLUMNS = 800  # of a waveform
PLAYED_HZ = (8_000, 96_000)  # rates that browsers play; others are resampled
OTHERWISE_HZ = 48_000
LOUDEST = 0.9  # peak of what is played, as trimming scales for the networks
QUIETEST = 1e-3  # what peaks below it stays as it is: it would be noise made loud


@dataclass(frozen=True, eq=False)
class Recording:
    """A clip's beginning: `wav` and `picture` are files, `shape` says where what is seen stands, in seconds."""

    wav: bytes
    picture: bytes
    shape: dict[str, Any]


def read_recording(path: Path, features: Features, longest_s: float, duration_s: float) -> Recording:
    """Read the first `longest_s` of a recording that lasts `duration_s`; raises AudioError if it cannot be heard."""
    wave, rate_hz = decode_beginning(path, longest_s)
    seen = spectrogram((wave, rate_hz), as_seen(features))
    peak = float(np.abs(wave).max())
    played_s = len(wave) / rate_hz
    shape = {
        "played_s": played_s,
        "duration_s": max(duration_s, played_s),
        "begin_s": seen.begin_s,
        "end_s": seen.end_s,
        "khz": marks_khz(seen.center_hz),
        "wave": envelope(wave / max(peak, QUIETEST)),
    }
    loud = wave * (LOUDEST / peak) if peak > QUIETEST else wave
    return Recording(wav(loud, rate_hz), webp(np.asarray(seen.frames, np.float32)), shape)


def envelope(wave: NDArray[np.float32]) -> list[list[float]]:
    """Return the lowest and the highest sample of each column of a picture."""
    edges = np.unique(np.linspace(0, len(wave), min(COLUMNS, len(wave)), endpoint=False).astype(int))
    low, high = np.minimum.reduceat(wave, edges), np.maximum.reduceat(wave, edges)
    return [list(pair) for pair in zip(*(side.astype(float).round(3).tolist() for side in (low, high)), strict=True)]


def wav(wave: NDArray[np.float32], rate_hz: int) -> bytes:
    """Return a wave (samples,) as a WAV file of 16 bits, at a rate that browsers play."""
    if not PLAYED_HZ[0] <= rate_hz <= PLAYED_HZ[1]:
        wave, rate_hz = resample(wave, rate_hz, OTHERWISE_HZ), OTHERWISE_HZ
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), rate_hz, format="WAV", subtype="PCM_16")
    return file.getvalue()

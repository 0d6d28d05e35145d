"""The recordings that a report lets its reader hear: a picture and a player of what the networks heard.

Shapes: F bands, T frames.
"""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
from matplotlib.figure import Figure

from audiotag.config import Features
from audiotag.data.scan import hash_of
from audiotag.data.store import spectrogram
from audiotag.evaluation.report_plots import spectrogram_picture
from audiotag.features import audio
from audiotag.features.spectrogram import build_front_end

LONGEST_S = 10.0  # of a recording, what is shown and played


@dataclass(frozen=True)
class Sound:
    """A recording, trimmed as the networks heard it: its spectrogram, its beginning to play, and how long it is."""

    figure: Figure
    data_uri: str
    played_s: float
    duration_s: float


def hear(path: Path, content_hash: str, features: Features) -> Sound | str:
    """Return a recording's picture and sound, or why there is none."""
    try:
        if hash_of(path) != content_hash:
            return "the file has changed since the run heard it"
        recording = audio.stream(path, features.trim)
        frames, _ = spectrogram(path, features)
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    except audio.AudioError as error:
        return str(error)
    front_end = build_front_end(features.front_end)
    rate_hz = audio.SAMPLE_RATE_HZ
    wave = recording.beginning(LONGEST_S)
    shown = frames[: int(LONGEST_S * front_end.frames_per_second)]
    figure = spectrogram_picture(shown, front_end.frames_per_second, front_end.center_hz)
    return Sound(figure, _flac(wave), len(wave) / rate_hz, recording.n_samples / rate_hz)


def _flac(wave: np.ndarray) -> str:
    """Return a wave at 32 kHz as a data URI; lossless, and every browser in use plays it."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), audio.SAMPLE_RATE_HZ, format="FLAC", subtype="PCM_16")
    return "data:audio/flac;base64," + base64.b64encode(file.getvalue()).decode()

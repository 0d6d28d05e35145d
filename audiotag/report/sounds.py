"""The recordings that a report plays: a picture and the sound of what the networks were given.

Shapes: F bands, T frames.
"""

from __future__ import annotations

import io
from dataclasses import dataclass
from pathlib import Path

import matplotlib
import numpy as np
import soundfile
from numpy.typing import NDArray
from PIL import Image

from audiotag.config import Features
from audiotag.data.scan import hash_of
from audiotag.data.store import spectrogram
from audiotag.features import audio
from audiotag.features.spectrogram import as_seen, front_end_of

LONGEST_S = 30.0  # of a recording, what is shown and played
MOST_COLUMNS = 800  # of a picture; the page is not wider
STEPS_S = (0.05, 0.1, 0.2, 0.5, 1, 2, 5, 10)  # between marks on the time axis
MOST_MARKS = 6
MARKS_HZ = (500, 1000, 2000, 4000, 8000)
QUALITY = 70  # of a picture, of 100


@dataclass(frozen=True)
class SoundRequest:
    """A recording to play: where it lies, the hash of its content when the networks saw it, and their front end."""

    path: Path
    content_hash: str
    features: Features


@dataclass(frozen=True)
class Sound:
    """A recording, trimmed as for the networks: its spectrogram (WebP), its beginning (MP3), and how long it is.

    `seconds` and `kilohertz` are marks of the picture's axes: a text, and the share of the width from the left or of
    the height from the top where it stands.
    """

    picture: bytes
    mp3: bytes
    played_s: float
    duration_s: float
    seconds: list[tuple[str, float]]
    kilohertz: list[tuple[str, float]]


def render_sound(request: SoundRequest) -> Sound | str:
    """Return a recording's picture and sound, or why there is none."""
    path, features = request.path, as_seen(request.features)
    try:
        if hash_of(path) != request.content_hash:
            return "the file has changed since the run read it"
        front_end = front_end_of(features)
        recording = audio.AudioStream(path, features.trim, rate_hz=front_end.sample_rate_hz)
        played = recording.beginning(LONGEST_S)
        frames, _ = spectrogram(path, features)
    except OSError as error:
        return f"the file cannot be read: {error.strerror}"
    except audio.AudioError as error:
        return str(error)
    shown = np.asarray(frames[: int(LONGEST_S * front_end.frames_per_second)], dtype=np.float32)
    return Sound(
        webp(shown),
        _mp3(played, recording.rate_hz),
        len(played) / recording.rate_hz,
        recording.n_samples / recording.rate_hz,
        _marks_s(len(shown) / front_end.frames_per_second),
        marks_khz(front_end.center_hz),
    )


def webp(frames: NDArray[np.float32]) -> bytes:
    """Return a spectrogram (T, F) as a picture, low bands at the bottom, from its lowest value to its highest."""
    low, high = frames.min(), frames.max()
    values = (frames.T[::-1] - low) / max(high - low, 1e-6)
    image = Image.fromarray(matplotlib.colormaps["cividis"](values, bytes=True)[..., :3])
    if image.width > MOST_COLUMNS:
        image = image.resize((MOST_COLUMNS, image.height), Image.Resampling.BOX)
    file = io.BytesIO()
    image.save(file, format="WEBP", quality=QUALITY)
    return file.getvalue()


def _mp3(wave: NDArray[np.float32], rate_hz: int) -> bytes:
    """Return a wave in the one compact format that every browser plays, old ones of Apple's too."""
    file = io.BytesIO()
    soundfile.write(file, np.clip(wave, -1, 1), rate_hz, format="MP3", subtype="MPEG_LAYER_III")
    return file.getvalue()


def _marks_s(seconds: float) -> list[tuple[str, float]]:
    step = next((step for step in STEPS_S if seconds / step < MOST_MARKS), STEPS_S[-1])
    return [(f"{i * step:g}", i * step / seconds) for i in range(int(seconds / step) + 1)]


def marks_khz(center_hz: NDArray[np.floating]) -> list[tuple[str, float]]:
    """Return where frequencies stand, each band as high as the next."""
    inside = [hz for hz in MARKS_HZ if center_hz[0] <= hz <= center_hz[-1]]
    bands = np.interp(inside, center_hz, np.arange(len(center_hz)))
    return [(f"{hz / 1000:g}", 1 - (band + 0.5) / len(center_hz)) for hz, band in zip(inside, bands, strict=True)]

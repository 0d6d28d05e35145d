"""Spectrograms of recordings of any length: short ones by several processes, long ones here, in pieces.

Shapes: F bands, T frames.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import soundfile
import torch
from numpy.typing import NDArray

from audiotag.config import Features
from audiotag.data.parallel import parallel_map
from audiotag.features.audio import LARGEST_SAMPLE, RATES_HZ, AudioError, AudioStream, WaveStream, mono
from audiotag.features.spectrogram import WHOLE_S, frames, front_end_of
from audiotag.features.trimming import Wave
from audiotag.inference.windows import Frames


@dataclass(frozen=True)
class SpectrogramStream:
    """The spectrogram (T, F) of a recording, half precision as the store holds it; `pieces` can be read once."""

    n_frames: int
    pieces: Iterable[Frames]
    silent: bool


def file_spectrograms(
    paths: Sequence[Path], features: Features, workers: int | None
) -> Iterator[SpectrogramStream | AudioError]:
    """Yield the spectrogram of every file, in order, or why it cannot be read.

    The pieces of a long recording are computed as they are asked for, and can then still raise AudioError.
    """
    computed = parallel_map(functools.partial(_compute, features=features), paths, workers, None)
    for path, result in zip(paths, computed, strict=True):
        try:
            yield _in_pieces(_open(path, features), features) if result is None else result
        except AudioError as error:
            yield error


def wave_spectrogram(wave: Wave, sample_rate_hz: int, features: Features) -> SpectrogramStream:
    """Return the spectrogram of a wave (samples,), that of a file with these samples; raises AudioError."""
    rate_hz = front_end_of(features).sample_rate_hz
    return _in_pieces(WaveStream(wave, sample_rate_hz, features.trim, rate_hz), features)


def checked_wave(wave: NDArray[np.floating], sample_rate_hz: int) -> Wave:
    """Return the mono wave (samples,) of (samples,) or (samples, channels), perhaps of no samples.

    Raises TypeError if it is not an array of floats or the rate not a whole number, ValueError if it has another shape,
    holds samples that are not audio, or the rate cannot be one.
    """
    if not (isinstance(wave, np.ndarray) and np.issubdtype(wave.dtype, np.floating)):
        given = f"an array of {wave.dtype}" if isinstance(wave, np.ndarray) else type(wave).__name__
        raise TypeError(f"a wave is a NumPy array of floats with full scale at 1, not {given}")
    if isinstance(sample_rate_hz, bool) or not isinstance(sample_rate_hz, int | np.integer):
        raise TypeError(f"sample_rate_hz={sample_rate_hz!r} is not a whole number")
    if not RATES_HZ[0] <= sample_rate_hz <= RATES_HZ[1]:
        raise ValueError(f"sample_rate_hz={sample_rate_hz} is not between {RATES_HZ[0]} and {RATES_HZ[1]}")
    if wave.ndim not in (1, 2) or 0 < len(wave) < wave[:1].size:
        raise ValueError(f"a wave has the shape (samples,) or (samples, channels), not {wave.shape}")
    # Written so that NaN is caught, too.
    if wave.size and not (wave.min() >= -LARGEST_SAMPLE and wave.max() <= LARGEST_SAMPLE):
        raise ValueError(f"the wave holds samples that are not finite, or beyond {LARGEST_SAMPLE:.0e} of full scale")
    return mono(wave.reshape(len(wave), -1).astype(np.float32)) if wave.size else np.zeros(0, np.float32)


def _compute(path: Path, features: Features) -> SpectrogramStream | AudioError | None:
    """Compute a short recording's spectrogram; None says that it is long and should be read in pieces."""
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # the processes share the recordings
    if is_long(path):
        return None
    try:
        audio = _open(path, features)
    except AudioError as error:
        return error
    if audio.n_samples > WHOLE_S * audio.rate_hz:  # whatever the header says
        return None
    whole = _in_pieces(audio, features)
    return SpectrogramStream(whole.n_frames, list(whole.pieces), whole.silent)


def is_long(path: Path) -> bool:
    """Return whether a recording is too long to be computed whole, or its header does not tell how long it is."""
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a headerless .raw file
        return False  # reading it will say what is wrong with it
    return not 0 < info.frames <= WHOLE_S * info.samplerate


def _open(path: Path, features: Features) -> AudioStream:
    return AudioStream(path, features.trim, rate_hz=front_end_of(features).sample_rate_hz)


def _in_pieces(audio: AudioStream, features: Features) -> SpectrogramStream:
    front_end = front_end_of(features)
    return SpectrogramStream(front_end.n_frames(audio.n_samples), frames(audio, front_end), audio.silent)

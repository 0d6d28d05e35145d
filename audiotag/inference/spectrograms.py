"""Spectrograms of recordings of any length: short ones by several processes, long ones here, in pieces.

Shapes: F bands, T frames.
"""

from __future__ import annotations

import functools
import multiprocessing
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import soundfile
import torch

from audiotag.config import Features
from audiotag.data.parallel import parallel_map
from audiotag.features.audio import AudioError, AudioStream
from audiotag.features.spectrogram import WHOLE_S, frames, front_end_of
from audiotag.inference.windows import Frames


@dataclass(frozen=True)
class Heard:
    """The spectrogram (T, F) of a recording, half precision as the store holds it; `pieces` is gone through once."""

    n_frames: int
    pieces: Iterable[Frames]
    silent: bool


def spectrograms(paths: Sequence[Path], features: Features, workers: int | None) -> Iterator[Heard | AudioError]:
    """Yield the spectrogram of every file, in order, or why it cannot be read.

    The pieces of a long recording are computed as they are asked for, and can then still raise AudioError.
    """
    computed = parallel_map(functools.partial(_compute, features=features), paths, workers, None)
    for path, result in zip(paths, computed, strict=True):
        try:
            yield _heard(_open(path, features), features) if result is None else result
        except AudioError as error:
            yield error


def _compute(path: Path, features: Features) -> Heard | AudioError | None:
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
    heard = _heard(audio, features)
    return Heard(heard.n_frames, list(heard.pieces), heard.silent)


def is_long(path: Path) -> bool:
    """Say whether a recording is too long to be computed whole, or its header does not tell how long it is."""
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a headerless .raw file
        return False  # reading it will say what is wrong with it
    return not 0 < info.frames <= WHOLE_S * info.samplerate


def _open(path: Path, features: Features) -> AudioStream:
    return AudioStream(path, features.trim, rate_hz=front_end_of(features).sample_rate_hz)


def _heard(audio: AudioStream, features: Features) -> Heard:
    front_end = front_end_of(features)
    return Heard(front_end.n_frames(audio.n_samples), frames(audio, front_end), audio.silent)

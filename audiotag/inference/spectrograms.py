"""Spectrograms of recordings of any length: short ones computed whole, by several processes, long ones in pieces.

Both ways give the same values. Shapes: F bands, T frames.
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
from audiotag.data.store import spectrogram
from audiotag.data.workers import in_order
from audiotag.features.audio import AudioError, AudioStream, stream
from audiotag.features.spectrogram import FrontEnd, build_front_end
from audiotag.inference.windows import Frames

WHOLE_S = 60.0  # longest recording computed whole; takes about 0.3 GB, and the time of one pass instead of two


@dataclass(frozen=True)
class Heard:
    """The spectrogram (T, F) of a recording, half precision as the store holds it; `pieces` is gone through once."""

    n_frames: int
    pieces: Iterable[Frames]
    silent: bool


def spectrograms(paths: Sequence[Path], features: Features, workers: int | None) -> Iterator[Heard | AudioError]:
    """Yield the spectrogram of every file, in order, or why it cannot be read. Shows progress.

    The pieces of a long recording are computed as they are asked for, and can then still raise AudioError.
    """
    front_end = build_front_end(features.front_end)
    computed = in_order(functools.partial(_compute, features=features), paths, workers, "Labelling recordings")
    for path, result in zip(paths, computed, strict=True):
        try:
            yield _streamed(path, features, front_end) if result is None else result
        except AudioError as error:
            yield error


def _compute(path: Path, features: Features) -> Heard | AudioError | None:
    """Compute a short recording's spectrogram; None says that it is long and should be streamed."""
    if multiprocessing.parent_process() is not None:
        torch.set_num_threads(1)  # the processes share the recordings
    try:
        if is_long(path):
            return None
        frames, silent = spectrogram(path, features)
    except AudioError as error:
        return error
    return Heard(len(frames), [frames], silent)


def is_long(path: Path) -> bool:
    """Say whether a recording is too long to be computed whole, or its header does not tell how long it is."""
    try:
        info = soundfile.info(str(path))
    except (soundfile.LibsndfileError, TypeError):  # TypeError: a headerless .raw file
        return False  # reading it will say what is wrong with it
    return not 0 < info.frames <= WHOLE_S * info.samplerate


def _streamed(path: Path, features: Features, front_end: FrontEnd) -> Heard:
    audio = stream(path, features.trim)
    n_frames = front_end.n_frames(sum(len(block) for block in audio))
    return Heard(n_frames, _pieces(front_end, audio), audio.silent)


@torch.inference_mode()
def _pieces(front_end: FrontEnd, audio: AudioStream) -> Iterator[Frames]:
    for piece in front_end.stream(audio):
        yield piece.T.contiguous().half().numpy()

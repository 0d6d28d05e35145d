"""Spectrograms of recordings of any length, and the windows of them that networks hear.

Short recordings are computed by several processes, long ones here, in pieces. Shapes: F bands, T frames, N windows.
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
from audiotag.features.audio import AudioError, AudioStream, WaveStream
from audiotag.features.spectrogram import WHOLE_S, frames, front_end_of
from audiotag.features.trimming import Wave

Frames = NDArray[np.float16]  # (frames, F), as the spectrogram store holds them


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
            yield spectrogram_in_pieces(_open(path, features), features) if result is None else result
        except AudioError as error:
            yield error


def wave_spectrogram(wave: Wave, sample_rate_hz: int, features: Features) -> SpectrogramStream:
    """Return the spectrogram of a wave (samples,), that of a file with these samples; raises AudioError."""
    rate_hz = front_end_of(features).sample_rate_hz
    return spectrogram_in_pieces(WaveStream(wave, sample_rate_hz, features.trim, rate_hz), features)


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
    whole = spectrogram_in_pieces(audio, features)
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


def spectrogram_in_pieces(audio: AudioStream, features: Features) -> SpectrogramStream:
    """Return the spectrogram of a recording, which is read as its pieces are asked for."""
    front_end = front_end_of(features)
    return SpectrogramStream(front_end.n_frames(audio.n_samples), frames(audio, front_end), audio.silent)


@dataclass(frozen=True)
class WindowSpec:
    """How recordings of any length are heard.

    `excerpts` 0: whole, in windows of `features.clip_frames`. N: N evenly spaced excerpts of `features.excerpt_frames`.
    `cut`: nothing after the first `features.clip_frames` is heard (paper section 2: 3,000 frames).
    """

    features: Features
    excerpts: int = 0
    cut: bool = False


@dataclass(frozen=True)
class Windows:
    """Windows of `length` frames from frame `starts` (N,) on, in order; `weights` (N,) sum to 1."""

    starts: NDArray[np.int64]
    weights: NDArray[np.float64]
    length: int


def place_windows(n_frames: int, spec: WindowSpec) -> Windows:
    """Place the windows in a recording of `n_frames`, which is repeated where a window reaches beyond its end.

    Whole: a recording of at most clip_frames is one window, repeated to clip_frames, as in validation. In a longer one
    window follows window; the last is moved back to end with the recording, and counts only for the frames that the
    one before did not hold, so that every frame counts once and no window holds anything but consecutive sound.

    Excerpts: from the first frame to the last of the recording, or of its repetition to clip_frames, as in
    verification, but evenly spaced instead of at random; a single one lies in the middle.
    """
    clip_frames = spec.features.clip_frames
    used = min(n_frames, clip_frames) if spec.cut else n_frames
    if spec.excerpts > 0:
        length = spec.features.excerpt_frames
        last = max(used, clip_frames) - length
        return _evenly(last / 2, last / 2, 1, length) if spec.excerpts == 1 else _evenly(0, last, spec.excerpts, length)
    begins = np.arange(0, max(used, 1), clip_frames)
    starts = np.clip(begins, 0, max(used - clip_frames, 0))
    return Windows(starts, np.diff(np.append(begins, used)) / used, clip_frames)


def covering_windows(n_frames: int, length: int, overlap: int, most: int) -> Windows:
    """Place evenly spaced windows of `length` frames that cover a recording of `n_frames`, from its first to its last.

    `overlap` of them hold each moment, or as many as `most` windows allow, but never less than one.
    """
    last = max(n_frames - length, 0)
    return _evenly(0, last, max(min(-(-last * overlap // length) + 1, most), -(-last // length) + 1), length)


def _evenly(first: float, last: float, count: int, length: int) -> Windows:
    starts = np.rint(np.linspace(first, last, count)).astype(np.int64)
    return Windows(starts, np.full(count, 1 / count), length)


def cut_windows(pieces: Iterable[Frames], n_frames: int, windows: Windows) -> Iterator[Frames]:
    """Yield the windows (length, F) of a spectrogram (T, F) that comes in pieces (frames, F), holding little of it.

    At most a window and a piece are held, or, of a recording that must be repeated, the recording.
    """
    if n_frames < windows.starts[-1] + windows.length:
        whole = np.concatenate(list(pieces))
        for start in windows.starts:
            yield whole[np.arange(start, start + windows.length) % n_frames]
        return
    coming = iter(pieces)
    held, begin = next(coming), 0  # the frames from `begin` on
    for start in windows.starts:
        while begin + len(held) < start + windows.length:
            skipped = min(start - begin, len(held))
            held, begin = np.concatenate((held[skipped:], next(coming))), begin + skipped
        yield held[start - begin : start - begin + windows.length]

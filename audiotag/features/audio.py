"""From a sound file to the waveform the spectrograms are made of: decode, trim, resample.

`load` gives a whole recording, `stream` the same samples block by block in bounded memory.
"""

from __future__ import annotations

from collections import deque
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from itertools import chain
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiotag.errors import AudiotagError

Wave = NDArray[np.float32]
Blocks = Iterable[Wave]

SAMPLE_RATE_HZ = 32_000  # writeup, "Audio Data Pre-processing"
RESAMPLING_QUALITY = "HQ"
PEAK = 10 ** (-0.1 / 20)  # writeup: norm -0.1 (dB of full scale)
SILENCE_THRESHOLD = 0.0015  # writeup: silence ... 0.15%, of full scale
SILENCE_HOLD_S = 0.025  # writeup: silence 1 0.025
SILENCE_WINDOWS_PER_S = 50  # SoX's own: the root mean square is over 1/50 s

DECODE_FRAMES = 1 << 16  # every pass reads a file in these blocks, so that every pass decodes the same bits
RATES_HZ = (1_000, 1_000_000)  # outside it the header is wrong, and would make us resample to gigabytes
LARGEST_SAMPLE = 2.0**32  # full scale is 1, and that of 32-bit integers left unscaled 2**31: more is no audio
LEVEL_STEPS = 1 << 24  # per full scale, in measuring loudness; keeps every sum of squares in 64 bits


class AudioError(AudiotagError):
    """A recording that cannot be used: says which, why, and what to do about it."""


@dataclass(frozen=True, eq=False)
class Trimmed:
    """What is left of a recording without the silence at its ends.

    `wave` (n_kept,) has the gain of the trimming applied; `start` and `n_kept` count samples of the original; `silent`
    says that nothing in it was loud for long enough, and that therefore nothing was cut off.
    """

    wave: Wave
    start: int
    n_kept: int
    silent: bool


@dataclass(frozen=True, eq=False)
class Recording:
    """A recording ready for a front end.

    `wave` (samples,) is mono at 32 kHz; `duration_s` and `source_rate_hz` are of the file as it lies on disk; `silent`
    says that trimming found nothing to keep or, without trimming, that every sample is zero.
    """

    wave: Wave
    duration_s: float
    source_rate_hz: int
    silent: bool


def decode(path: str | Path) -> tuple[Wave, int]:
    """Read a sound file: its mono wave (samples,), the mean of its channels, and its sample rate in Hz.

    Raises AudioError for a file that is missing, cannot be decoded, is empty, or holds values that are no audio.
    """
    rate_hz = _rate_hz(path)
    blocks = list(_decoded(path))
    if not blocks:
        raise _empty(path)
    return np.concatenate(blocks), rate_hz


def decode_channels(path: str | Path) -> tuple[Wave, int]:
    """Read a sound file as `decode` does, but each channel by itself: (samples, channels), and its rate in Hz."""
    rate_hz = _rate_hz(path)
    blocks = list(read_frames(path))
    if not blocks:
        raise _empty(path)
    return np.concatenate(blocks), rate_hz


def trim(wave: Wave, rate_hz: int) -> Trimmed:
    """Cut the silence off both ends of `wave` (samples,) and scale it to a peak of -0.1 dB, as the writeup's SoX does.

    A wave of which nothing would be left is scaled, but kept whole, and marked silent. Raises AudioError for a wave
    that is empty, has more than one dimension, or is not finite. Source: the writeup's SoX command, and for the window
    and the roundings SoX 14.4.2.
    """
    if wave.ndim != 1 or not wave.size or not np.isfinite(wave).all():
        raise AudioError(f"a wave of shape {wave.shape} cannot be trimmed: give one dimension of finite samples")
    _check_rate(rate_hz, "a wave to be trimmed")
    wave = wave.astype(np.float32, copy=False)

    def read() -> Iterator[Wave]:
        return (wave[at : at + DECODE_FRAMES] for at in range(0, len(wave), DECODE_FRAMES))

    kept = _find_kept(read, rate_hz, _survey(read()))
    return Trimmed(_scaled(wave[kept.start : kept.stop], kept.gain), kept.start, kept.stop - kept.start, kept.silent)


def resample(wave: Wave, rate_hz: int, target_hz: int = SAMPLE_RATE_HZ) -> Wave:
    """Resample `wave` (samples,) from `rate_hz` to `target_hz` with soxr's high quality."""
    if rate_hz == target_hz:
        return wave.astype(np.float32, copy=False)
    resampled: Wave = soxr.resample(np.ascontiguousarray(wave, np.float32), rate_hz, target_hz, RESAMPLING_QUALITY)
    return resampled


def load(path: str | Path, trim_silence: bool = True) -> Recording:
    """Read a sound file as training and prediction see it: mono, trimmed and scaled, at 32 kHz.

    With `trim_silence` False nothing is cut and no gain applied, as in live use. Raises AudioError as `decode` does.
    """
    wave, rate_hz = decode(path)
    duration_s = len(wave) / rate_hz
    silent = not wave.any()
    if trim_silence:
        trimmed = trim(wave, rate_hz)
        wave, silent = trimmed.wave, trimmed.silent
    _check_length(len(wave), rate_hz, path)
    return Recording(resample(wave, rate_hz), duration_s, rate_hz, silent)


class AudioStream:
    """The samples of `load(path, trim_silence).wave`, block by block, in memory that does not grow with the file.

    Iterating gives arrays (samples,) of `block_s` seconds, the last one shorter; it can be iterated again and again.
    `duration_s`, `source_rate_hz` and `silent` are as in `Recording`, and known from the start. Raises AudioError as
    `decode` does, before the first block.

    Every pass reads in order: in compressed formats the samples after a seek are not those read in order.
    """

    def __init__(self, path: str | Path, trim_silence: bool = True, block_s: float = 10.0) -> None:
        self.block_samples = round(block_s * SAMPLE_RATE_HZ)
        if self.block_samples < 1:
            raise AudioError(f"blocks of {block_s} s hold no sample: ask for at least {1 / SAMPLE_RATE_HZ} s")
        self.path = path
        self.source_rate_hz = _rate_hz(path)
        survey = _survey(_decoded(path))
        if not survey.n_samples:
            raise _empty(path)
        self.duration_s = survey.n_samples / self.source_rate_hz
        self._kept = _Kept(0, survey.n_samples, gain=None, silent=survey.peak == 0)
        if trim_silence:
            self._kept = _find_kept(lambda: _decoded(path), self.source_rate_hz, survey)
        self.silent = self._kept.silent
        _check_length(self._kept.stop - self._kept.start, self.source_rate_hz, path)

    def __iter__(self) -> Iterator[Wave]:
        held = np.zeros(0, np.float32)
        for piece in self._resampled():
            held = np.concatenate((held, piece))
            while len(held) >= self.block_samples:
                yield held[: self.block_samples]
                held = held[self.block_samples :]
        if len(held):
            yield held

    def _resampled(self) -> Iterator[Wave]:
        kept = self._kept
        pieces = (_scaled(piece, kept.gain) for piece in _between(_decoded(self.path), kept.start, kept.stop))
        if self.source_rate_hz == SAMPLE_RATE_HZ:
            yield from pieces
            return
        resampler = soxr.ResampleStream(self.source_rate_hz, SAMPLE_RATE_HZ, 1, "float32", RESAMPLING_QUALITY)
        for piece in pieces:
            yield resampler.resample_chunk(piece)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


def stream(path: str | Path, trim_silence: bool = True, block_s: float = 10.0) -> AudioStream:
    """Open a sound file of any length for reading in blocks of `block_s` seconds: see `AudioStream`."""
    return AudioStream(path, trim_silence, block_s)


def settings(trim_silence: bool = True) -> dict[str, Any]:
    """Every number that determines the wave `load` makes of a file: part of the key under which results are kept."""
    trimming = {
        "peak": PEAK,
        "threshold": SILENCE_THRESHOLD,
        "hold_s": SILENCE_HOLD_S,
        "windows_per_s": SILENCE_WINDOWS_PER_S,
        "level_steps": LEVEL_STEPS,
    }
    return {
        "revision": 1,  # to be raised when the same numbers come to mean other values
        "sample_rate_hz": SAMPLE_RATE_HZ,
        "resampling": f"soxr {RESAMPLING_QUALITY}",
        "mono": "mean",
        "trimming": trimming if trim_silence else None,
    }


# Reading


class _ForwardFile(soundfile.SoundFile):
    """A sound file read from the first sample to the last.

    Told that a file can be sought in, soundfile seeks after every read, to where it is anyway; an MP3 decoder then
    loses what it carries from frame to frame, and gives zeros or wrong samples at the beginning of every block.
    """

    def seekable(self) -> bool:
        return False


@contextmanager
def _opened(path: str | Path) -> Iterator[soundfile.SoundFile]:
    if not Path(path).is_file():
        raise AudioError(f"{path}: there is no such file. Correct the path, or leave the clip out of the table")
    try:
        file = _ForwardFile(str(path))
    except (soundfile.LibsndfileError, TypeError) as error:  # TypeError: a headerless .raw file
        raise _undecodable(path, error) from error
    with file:
        try:
            yield file
        except soundfile.LibsndfileError as error:
            raise _undecodable(path, error) from error


def _undecodable(path: str | Path, error: Exception) -> AudioError:
    return AudioError(f"{path}: cannot be decoded ({error}). Convert it to WAV or FLAC, or leave it out of the table")


def _rate_hz(path: str | Path) -> int:
    with _opened(path) as file:
        _check_rate(file.samplerate, path)
        return int(file.samplerate)


def _check_rate(rate_hz: int, place: str | Path) -> None:
    lowest, highest = RATES_HZ
    if not lowest <= rate_hz <= highest:
        raise AudioError(
            f"{place}: its sample rate is said to be {rate_hz} Hz, but only {lowest} to {highest} Hz can be used. "
            "Correct the header or convert the file"
        )


def read_frames(path: str | Path) -> Iterator[Wave]:
    """Yield a file's samples in blocks (up to DECODE_FRAMES, channels); none for an empty file.

    Raises AudioError for a file that is missing, cannot be decoded, or holds values that are no audio.
    """
    with _opened(path) as file:
        # Until nothing more comes: the number of frames in a header is only a guess in some formats.
        while len(frames := file.read(DECODE_FRAMES, dtype="float32", always_2d=True)):
            if not np.abs(frames).max() <= LARGEST_SAMPLE:  # written so that NaN is caught, too
                raise AudioError(
                    f"{path}: holds samples that are not finite, or beyond {LARGEST_SAMPLE:.0e} of full scale. "
                    "Export the file again, or leave it out of the table"
                )
            yield frames


def mono(frames: Wave) -> Wave:
    """Return the mean (samples,) of the channels of (samples, channels)."""
    return frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float64).astype(np.float32)


def _decoded(path: str | Path) -> Iterator[Wave]:
    """Yield the mono samples of a file in blocks (up to DECODE_FRAMES,); none for an empty file."""
    return map(mono, read_frames(path))


def _empty(path: str | Path) -> AudioError:
    return AudioError(f"{path}: holds no audio (zero samples). Replace it, or leave it out of the table")


def _check_length(n_samples: int, rate_hz: int, path: str | Path) -> None:
    if n_samples * SAMPLE_RATE_HZ < rate_hz:
        raise AudioError(
            f"{path}: its {n_samples} samples at {rate_hz} Hz are less than one sample at {SAMPLE_RATE_HZ} Hz. "
            "Replace it, or leave it out of the table"
        )


# Trimming: one rule, for waves in memory and for files in blocks


@dataclass(frozen=True)
class _Survey:
    """What one pass over all samples tells: how many, the largest magnitude, and where it stands last."""

    n_samples: int
    peak: float
    peak_at: int


@dataclass(frozen=True)
class _Kept:
    """The samples to keep, [start, stop), and the factor to scale them by (None: leave them as they are)."""

    start: int
    stop: int
    gain: float | None
    silent: bool


def _survey(blocks: Blocks) -> _Survey:
    n_samples, peak, peak_at = 0, 0.0, 0
    for block in blocks:
        magnitude = np.abs(block)
        highest = float(magnitude.max(initial=0))
        if highest >= peak:
            peak, peak_at = highest, n_samples + int(np.flatnonzero(magnitude == highest)[-1])
        n_samples += len(block)
    return _Survey(n_samples, peak, peak_at)


def _find_kept(read: Callable[[], Blocks], rate_hz: int, survey: _Survey) -> _Kept:
    """Find what trimming keeps of the samples that each call of `read` gives anew.

    The rule of SoX: scale to the peak; drop samples until the root mean square over the last window stays above the
    threshold for the hold time, keeping that time; scale what is left to the peak; the same from the other end.
    """
    if survey.peak == 0:
        return _Kept(0, survey.n_samples, gain=None, silent=True)
    untrimmed = _Kept(0, survey.n_samples, gain=PEAK / survey.peak, silent=True)
    # Zeros in front make the first window end at the first sample; zeros behind make the last one begin at the last.
    zeros = np.zeros(_window_samples(rate_hz) - 1, np.float32)
    first = next(_loud_stretches(chain([zeros], read()), rate_hz, PEAK / survey.peak), None)
    if first is None:
        return untrimmed
    start = first[0]
    peak = survey.peak if survey.peak_at >= start else _survey(_between(read(), start)).peak
    last = deque(_loud_stretches(chain(_between(read(), start), [zeros]), rate_hz, PEAK / peak), maxlen=1)
    if not last:
        return untrimmed
    return _Kept(start, start + last[0][1] + 1, gain=PEAK / peak, silent=False)


def _loud_stretches(blocks: Blocks, rate_hz: int, gain: float) -> Iterator[tuple[int, int]]:
    """Yield (first, last) of each stretch of windows loud for the hold time, by the windows' first samples.

    A stretch that goes on into the next block is given again, longer. Levels are whole numbers and their sums exact
    (differences survive even a wrap-around of the running sum), so nothing depends on where blocks begin.
    """
    window = _window_samples(rate_hz)
    hold = int(rate_hz * SILENCE_HOLD_S + 0.5)  # rounded half up, as SoX does
    limit = int(window * (SILENCE_THRESHOLD * LEVEL_STEPS) ** 2)
    squares = np.zeros(0, np.uint64)
    quiet, position = -1, 0  # the last window that was not loud, and the first of the next block
    for block in blocks:
        levels = np.rint(np.abs(block).astype(np.float64) * (gain * LEVEL_STEPS)).astype(np.uint64)
        squares = np.concatenate((squares, levels * levels))
        if len(squares) < window:
            continue
        sums = np.concatenate((np.zeros(1, np.uint64), np.cumsum(squares)))
        loud = sums[window:] - sums[:-window] > limit
        squares = squares[len(loud) :]

        quiets = np.concatenate(([quiet], position + np.flatnonzero(~loud)))
        position += len(loud)
        for k in np.flatnonzero(np.diff(quiets, append=position) > hold):
            end = quiets[k + 1] if k + 1 < len(quiets) else position
            yield int(quiets[k]) + 1, int(end) - 1
        quiet = int(quiets[-1])


def _window_samples(rate_hz: int) -> int:
    return rate_hz // SILENCE_WINDOWS_PER_S  # rounded down, as SoX does


def _between(blocks: Blocks, start: int, stop: int | None = None) -> Iterator[Wave]:
    """Yield samples [start, stop) of a sequence of blocks, and read no block beyond."""
    position = 0
    for block in blocks:
        piece = block[max(0, start - position) : None if stop is None else stop - position]
        position += len(block)
        if len(piece):
            yield piece
        if stop is not None and position >= stop:
            return


def _scaled(wave: Wave, gain: float | None) -> Wave:
    return wave if gain is None else (wave * np.float64(gain)).astype(np.float32)

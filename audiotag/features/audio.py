"""From a sound file to the waveform the spectrograms are made of: decode, trim, resample.

`load` gives a whole recording, `AudioStream` the same samples, to the bit, block by block in bounded memory.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import soxr
from numpy.typing import NDArray

from audiotag.errors import AudiotagError
from audiotag.features.trimming import Blocks, Kept, Wave, between, find_kept, scaled, survey, trimming_settings

SAMPLE_RATE_HZ = 32_000  # writeup, "Audio Data Pre-processing"; a front end may want another
RESAMPLING_QUALITY = "HQ"

DECODE_FRAMES = 1 << 16  # every pass reads a file in these blocks, so that every pass decodes the same bits
BLOCK_SAMPLES = 1 << 22  # of all channels together: with more than 64 of them, blocks are shorter
HELD_SAMPLES = 1 << 22  # 95 s at 44.1 kHz: what is shorter is decoded once and held, what is longer anew in each pass
RATES_HZ = (1_000, 1_000_000)  # outside it the header is wrong, and would make us resample to gigabytes
LARGEST_SAMPLE = 2.0**32  # full scale is 1, and that of 32-bit integers left unscaled 2**31: more is no audio


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
class LoadedAudio:
    """A recording ready for a front end.

    `wave` (samples,) is mono at the rate asked for; `duration_s` and `source_rate_hz` are of the file as it lies on
    disk; `silent` says that trimming found nothing to keep or, without trimming, that every sample is zero.
    """

    wave: Wave
    duration_s: float
    source_rate_hz: int
    silent: bool


def decode(path: str | Path) -> tuple[Wave, int]:
    """Read a sound file: its mono wave (samples,), the mean of its channels, and its sample rate in Hz.

    Raises AudioError for a file that is missing, cannot be decoded, is empty, or holds values that are no audio.
    """
    rate_hz = read_rate_hz(path)
    return np.concatenate(list(_decoded(path))), rate_hz


def decode_beginning(path: str | Path, longest_s: float) -> tuple[Wave, int]:
    """Read the first `longest_s` seconds of a sound file, as `decode` does, however long it is."""
    rate_hz = read_rate_hz(path)
    return np.concatenate(list(between(_decoded(path), 0, max(1, round(longest_s * rate_hz))))), rate_hz


def measure(path: str | Path) -> float:
    """Read a sound file to its end, and return how many seconds it lasts; raises AudioError as `decode` does."""
    rate_hz = read_rate_hz(path)
    return sum(map(len, _decoded(path))) / rate_hz


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

    blocks = [wave[at : at + DECODE_FRAMES] for at in range(0, len(wave), DECODE_FRAMES)]
    kept = find_kept(lambda: blocks, rate_hz, survey(blocks))
    return Trimmed(scaled(wave[kept.start : kept.stop], kept.gain), kept.start, kept.stop - kept.start, kept.silent)


def resample(wave: Wave, rate_hz: int, target_hz: int = SAMPLE_RATE_HZ) -> Wave:
    """Resample `wave` (samples,) from `rate_hz` to `target_hz` with soxr's high quality."""
    if rate_hz == target_hz:
        return wave.astype(np.float32, copy=False)
    resampled: Wave = soxr.resample(np.ascontiguousarray(wave, np.float32), rate_hz, target_hz, RESAMPLING_QUALITY)
    return resampled


def load(path: str | Path, trim_silence: bool = True, rate_hz: int = SAMPLE_RATE_HZ) -> LoadedAudio:
    """Read a sound file as training and prediction see it: mono, trimmed and scaled, resampled.

    With `trim_silence` False nothing is cut and no gain applied, as in live use. Raises AudioError as `decode` does.
    """
    audio = AudioStream(path, trim_silence, rate_hz=rate_hz)
    return LoadedAudio(audio.whole(), audio.duration_s, audio.source_rate_hz, audio.silent)


class AudioStream:
    """The samples of `load(...).wave` at `rate_hz`, block by block, in memory that does not grow with the file.

    Iterating gives arrays (samples,) of `block_s` seconds, the last one shorter; it can be iterated again and again.
    Known from the start: `duration_s`, `source_rate_hz` and `silent` as in `LoadedAudio`; `kept_s`, where what trimming
    keeps begins and ends in the file; `n_source`, the samples of the file, and `n_samples`, those of the wave. Raises
    AudioError as `decode` does, before the first block.

    Every pass reads in order: in compressed formats the samples after a seek are not those read in order.
    """

    def __init__(
        self,
        path: str | Path,
        trim_silence: bool = True,
        block_s: float = 10.0,
        rate_hz: int = SAMPLE_RATE_HZ,
    ) -> None:
        self.block_samples = round(block_s * rate_hz)
        if self.block_samples < 1:
            raise AudioError(f"blocks of {block_s} s hold no sample: ask for at least {1 / rate_hz} s")
        self.path, self.rate_hz = path, rate_hz
        self.source_rate_hz = source_hz = self._read_rate_hz()
        self._held: list[Wave] | None = []
        found = survey(self._first_pass())
        self.n_source = found.n_samples
        self.duration_s = found.n_samples / source_hz
        self._is_zero = found.peak == 0
        self._kept = Kept(0, found.n_samples, gain=None, silent=self._is_zero)
        if trim_silence:
            self._kept = find_kept(self.source, source_hz, found)
        self.silent = self._kept.silent
        self.kept_s = self._kept.start / source_hz, self._kept.stop / source_hz
        n_kept = self._kept.stop - self._kept.start
        if n_kept * rate_hz < source_hz:
            raise AudioError(
                f"{path}: its {n_kept} samples at {source_hz} Hz are less than one sample at {rate_hz} Hz. "
                "Replace it, or leave it out of the table"
            )
        self.n_samples = (2 * n_kept * rate_hz + source_hz) // (2 * source_hz)  # soxr rounds half up

    def __iter__(self) -> Iterator[Wave]:
        if self._is_zero:  # hours of nothing are not decoded again
            for at in range(0, self.n_samples, self.block_samples):
                yield np.zeros(min(self.block_samples, self.n_samples - at), np.float32)
            return
        held = np.zeros(0, np.float32)
        for piece in self._resampled(self.rate_hz):
            held = np.concatenate((held, piece))
            while len(held) >= self.block_samples:
                yield held[: self.block_samples]
                held = held[self.block_samples :]
        if len(held):
            yield held

    def whole(self) -> Wave:
        """Return all samples (samples,) at once."""
        if self._is_zero:
            return np.zeros(self.n_samples, np.float32)
        return np.concatenate(list(self._resampled(self.rate_hz)))

    def source(self) -> Blocks:
        """Return the mono samples of the file as they are, in blocks (samples,) at its own rate."""
        return self._held if self._held is not None else self._decoded()

    def beginning(self, longest_s: float, rate_hz: int | None = None) -> Wave:
        """Return the first `longest_s` seconds of the wave (samples,); `rate_hz` None: at its own rate."""
        rate_hz = self.rate_hz if rate_hz is None else rate_hz
        return np.concatenate([*between(self._resampled(rate_hz), 0, round(longest_s * rate_hz))])

    def _read_rate_hz(self) -> int:
        return read_rate_hz(self.path)

    def _decoded(self) -> Iterator[Wave]:
        return _decoded(self.path)

    def _first_pass(self) -> Iterator[Wave]:
        n = 0
        for block in self._decoded():
            n += len(block)
            if n > HELD_SAMPLES:
                self._held = None
            elif self._held is not None:
                self._held.append(block)
            yield block

    def _resampled(self, rate_hz: int) -> Iterator[Wave]:
        kept = self._kept
        pieces = (scaled(piece, kept.gain) for piece in between(self.source(), kept.start, kept.stop))
        if self.source_rate_hz == rate_hz:
            yield from pieces
            return
        # Gives the bits of soxr.resample, whatever the blocks.
        resampler = soxr.ResampleStream(self.source_rate_hz, rate_hz, 1, "float32", RESAMPLING_QUALITY)
        for piece in pieces:
            yield resampler.resample_chunk(piece)
        yield resampler.resample_chunk(np.zeros(0, np.float32), last=True)


class WaveStream(AudioStream):
    """The same of a wave (samples,) in memory: the samples of a file that holds it as 32-bit floats."""

    def __init__(self, wave: Wave, source_rate_hz: int, trim_silence: bool = True, rate_hz: int = SAMPLE_RATE_HZ):
        self._wave, self._wave_rate_hz = wave, source_rate_hz
        super().__init__("the wave", trim_silence, rate_hz=rate_hz)

    def _read_rate_hz(self) -> int:
        _check_rate(self._wave_rate_hz, self.path)
        return self._wave_rate_hz

    def _decoded(self) -> Iterator[Wave]:
        return (self._wave[at : at + DECODE_FRAMES] for at in range(0, len(self._wave), DECODE_FRAMES))


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


def settings(trim_silence: bool = True) -> dict[str, Any]:
    """Every number but the rate that determines the wave `load` makes: part of the key under which results are kept."""
    return {
        "revision": 1,  # to be raised when the same numbers come to mean other values
        "resampling": f"soxr {RESAMPLING_QUALITY}",
        "mono": "mean",
        "trimming": trimming_settings() if trim_silence else None,
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


def read_rate_hz(path: str | Path) -> int:
    """Return the sample rate of a sound file in Hz; raises AudioError as `decode` does."""
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
        n_frames = max(1, min(DECODE_FRAMES, BLOCK_SAMPLES // file.channels))
        # Until nothing more comes: the number of frames in a header is only a guess in some formats.
        while len(frames := file.read(n_frames, dtype="float32", always_2d=True)):
            # Written so that NaN is caught, too.
            if not (frames.min() >= -LARGEST_SAMPLE and frames.max() <= LARGEST_SAMPLE):
                raise AudioError(
                    f"{path}: holds samples that are not finite, or beyond {LARGEST_SAMPLE:.0e} of full scale. "
                    "Export the file again, or leave it out of the table"
                )
            yield frames


def mono(frames: Wave) -> Wave:
    """Return the mean (samples,) of the channels of (samples, channels)."""
    return frames[:, 0] if frames.shape[1] == 1 else frames.mean(axis=1, dtype=np.float64).astype(np.float32)


def _decoded(path: str | Path) -> Iterator[Wave]:
    """Yield the mono samples of a file in blocks (up to DECODE_FRAMES,); raises AudioError for a file without any."""
    is_empty = True
    for frames in read_frames(path):
        is_empty = False
        yield mono(frames)
    if is_empty:
        raise AudioError(f"{path}: holds no audio (zero samples). Replace it, or leave it out of the table")

"""Recordings that are the same sound, though their samples differ: louder, cut, padded, resampled, re-encoded.

Two steps, so that tens of thousands of recordings can be compared. Each is described by a few `patches` of its coarse
spectrogram, taken where it is loudest, which gain, padding and encoding hardly change; patches that lie close together
name pairs. A pair is then judged by its waveforms, see `similarity`.
Shapes: F bands, T frames, P patches, N samples.
"""

from __future__ import annotations

from collections.abc import Sequence

import librosa
import numpy as np
import scipy.fft
from numpy.typing import NDArray

from audiotag.features.audio import AudioStream
from audiotag.features.trimming import Wave

RATE_HZ = 16_000
LONGEST_S = 120.0  # what is compared of a recording, after its leading silence
BAND_HZ = (100.0, 7_000.0)  # no hum, no offset, and nothing that lossy encoders leave out
FADE_S = 0.01
HOP, N_FFT = 256, 1024  # 16 ms, 64 ms
BANDS, FRAMES = 32, 8  # of a patch: an eighth of a second
DEPTH_DB = 50.0  # below the loudest moment
PATCHES = 4
NEIGHBOURS = 5  # recordings nearest to each patch that are looked at
NEAR = 0.75  # least cosine of two patches whose recordings are looked at
LEAST_OVERLAP = 0.5  # of the shorter recording
# Least similarity of duplicates. Of real recordings, MP3 and Ogg copies have 0.95 and more; different strokes of one
# drum 0.86, spoken digits of one person 0.75.
SAME = 0.9
HOPELESS = 0.45  # at whole samples: no shift by part of one makes a duplicate of it


def compared(audio: AudioStream) -> Wave:
    """Return what is compared of a recording (N,): its beginning without silence, at 16 kHz, `prepared`."""
    return prepared(audio.beginning(LONGEST_S, RATE_HZ))


def prepared(wave: Wave) -> Wave:
    """Keep what a wave (N,) at 16 kHz has between 100 and 7,000 Hz.

    High tones are raised in proportion to their frequency: low ones, of which short and different sounds are alike,
    would outweigh them. The ends are faded, for a click where something was cut would be raised too.
    """
    faded = wave.copy()
    n_faded = min(round(FADE_S * RATE_HZ), len(faded) // 2)
    ramp = np.linspace(0, 1, n_faded, dtype=np.float32)
    faded[:n_faded] *= ramp
    faded[len(faded) - n_faded :] *= ramp[::-1]
    n_fast = scipy.fft.next_fast_len(len(faded), real=True)
    spectrum = scipy.fft.rfft(faded, n_fast)
    hz = np.linspace(0, RATE_HZ / 2, len(spectrum))
    spectrum *= np.where((hz < BAND_HZ[0]) | (hz > BAND_HZ[1]), 0, hz / BAND_HZ[1]).astype(np.float32)
    filtered: Wave = scipy.fft.irfft(spectrum, n_fast)[: len(faded)]
    return filtered


def patches(wave: Wave) -> NDArray[np.float16]:
    """Return up to `PATCHES` patches (P, F x T) of a prepared wave (N,), none of silence.

    Every band has the mean 0, so that what all recordings of a set have in common does not count; lengths are 1.
    """
    power = np.abs(librosa.stft(np.pad(wave, (0, max(0, N_FFT - len(wave)))), n_fft=N_FFT, hop_length=HOP)) ** 2
    mel = librosa.filters.mel(sr=RATE_HZ, n_fft=N_FFT, n_mels=BANDS, fmin=BAND_HZ[0], fmax=BAND_HZ[1])
    banded = mel @ power  # (F, T)
    if not banded.max() > 0:
        return np.zeros((0, BANDS * FRAMES), np.float16)
    decibels = 10 * np.log10(np.maximum(banded / banded.max(), 10 ** (-DEPTH_DB / 10)))
    padded = np.pad(decibels, ((0, 0), (FRAMES // 2, FRAMES // 2)), constant_values=-DEPTH_DB)
    loudness = np.convolve(banded.sum(axis=0), np.ones(3), "same")
    found = []
    for _ in range(PATCHES):
        at = int(loudness.argmax())
        if loudness[at] <= 0:
            break
        patch = padded[:, at : at + FRAMES]
        patch = patch - patch.mean(axis=1, keepdims=True)
        found.append((patch / max(np.linalg.norm(patch), 1e-9)).ravel())
        loudness[max(0, at - FRAMES // 2) : at + FRAMES // 2] = 0
    return np.array(found, np.float16).reshape(len(found), BANDS * FRAMES)


def candidates(described: Sequence[NDArray[np.float16]], block: int = 512) -> list[tuple[int, int]]:
    """Return pairs (i < j) of recordings of which patches lie close together, i in order.

    `described` are each recording's patches (P, F x T). Time grows with the square of their number, memory does not.
    """
    owner = np.repeat(np.arange(len(described)), [len(own) for own in described])
    if not len(owner):
        return []
    every = np.concatenate(described).astype(np.float32)
    pairs: set[tuple[int, int]] = set()
    for begin in range(0, len(every), block):
        cosines = every[begin : begin + block] @ every.T
        cosines[owner[begin : begin + block, None] == owner[None]] = -1
        k = min(NEIGHBOURS, len(every) - 1)
        nearest = np.argpartition(-cosines, k, axis=1)[:, :k] if k < len(every) - 1 else np.argsort(-cosines)[:, :k]
        rows, columns = np.nonzero(np.take_along_axis(cosines, nearest, axis=1) >= NEAR)
        for row, column in zip(rows, columns, strict=True):
            i, j = int(owner[begin + row]), int(owner[nearest[row, column]])
            pairs.add((min(i, j), max(i, j)))
    return sorted(pairs)


def similarity(one: Wave, other: Wave) -> float:
    """Return how alike two prepared waves (N,) are, 0 to 1: their correlation where they fit best.

    Over the time in which they overlap, at least half of the shorter; to a quarter of a sample; turned upside down or
    not.
    """
    n = scipy.fft.next_fast_len(len(one) + len(other) - 1, real=True)
    product = scipy.fft.rfft(one, n) * np.conj(scipy.fft.rfft(other, n))
    lags = np.arange(-len(other) + 1, len(one))
    begin, end = np.maximum(lags, 0), np.minimum(lags + len(other), len(one))
    energy = _energy(one, begin, end) * _energy(other, begin - lags, end - lags)
    enough = (end - begin >= LEAST_OVERLAP * min(len(one), len(other))) & (energy > 0)
    if not enough.any():
        return 0.0
    lags, norm = lags[enough], np.sqrt(energy[enough])
    found = float((np.abs(scipy.fft.irfft(product, n)[lags]) / norm).max())
    if found >= HOPELESS:  # at every quarter of a sample: a shift by half of one hides what is high
        finer = scipy.fft.irfft(product, 4 * n) * 4
        quarters = np.abs(finer[(4 * lags[:, None] + np.arange(-2, 2)) % (4 * n)]).max(axis=1)
        found = float((quarters / norm).max())
    return min(found, 1.0)


def _energy(wave: Wave, begin: NDArray[np.int64], end: NDArray[np.int64]) -> NDArray[np.float64]:
    sums = np.concatenate(([0.0], np.cumsum(wave.astype(np.float64) ** 2)))
    energy: NDArray[np.float64] = sums[end] - sums[begin]
    energy[energy < 1e-6 * sums[-1]] = 0  # next to silence: nothing to compare
    return energy

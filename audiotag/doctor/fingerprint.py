"""Recordings that are the same sound, though their samples differ: louder, cut, padded, resampled, re-encoded.

Three steps, so that hundreds of thousands of recordings can be compared. Each is described by a few patches of its
coarse spectrogram, taken where it is loudest, which gain, padding and encoding hardly change; patches that lie close
together name pairs. Of these are left the ones whose waves fit there, by snippets that are kept of them. A pair is then
judged by its waveforms, see `similarity`. Shapes: F bands, T frames, P patches, S samples of a snippet, N of a wave.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Sequence
from typing import Any, NamedTuple

import librosa
import numpy as np
import pandas as pd
import scipy.fft
from numpy.typing import NDArray

from audiotag.features.audio import AudioStream
from audiotag.features.trimming import Wave
from audiotag.randomness import generator

RATE_HZ = 16_000
LONGEST_S = 120.0  # what is compared of a recording, after its leading silence
BAND_HZ = (100.0, 7_000.0)  # no hum, no offset, and nothing that lossy encoders leave out
FADE_S = 0.01
HOP, N_FFT = 256, 1024  # 16 ms, 64 ms
BANDS, FRAMES = 32, 8  # of a patch: an eighth of a second
DEPTH_DB = 50.0  # below the loudest moment
PATCHES = 4
NEIGHBOURS = 5  # recordings nearest to each patch, and of those the ones that fit best, that are looked at
NEAR = 0.75  # least cosine of two patches whose recordings are looked at
SNIPPET, CORE = 1536, 1024  # samples kept around a patch's middle, and of these what is looked for in another snippet
# Least correlation of two snippets whose recordings are looked at: 1 to 5 % of real duplicates have less, 85 to 90 % of
# other recordings with patches alike.
FITS = 0.3
COMPARED_WITH_ALL = 1 << 14  # patches; more of them are compared with those around the same centres only
CENTRES = 4  # that a patch is found at
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


class Fingerprint(NamedTuple):
    """What recordings are compared by first: `patches` (P, F x T) of the spectrogram, `snippets` (P, S) of the wave.

    Every band of a patch has the mean 0, so that what all recordings of a set have in common does not count, and its
    length is 1. The largest sample of a snippet is 127.
    """

    patches: NDArray[np.float16]
    snippets: NDArray[np.int8]


NOTHING = Fingerprint(np.zeros((0, BANDS * FRAMES), np.float16), np.zeros((0, SNIPPET), np.int8))


def fingerprint(wave: Wave) -> Fingerprint:
    """Describe a prepared wave (N,) by up to `PATCHES` moments, none of them silent."""
    power = np.abs(librosa.stft(np.pad(wave, (0, max(0, N_FFT - len(wave)))), n_fft=N_FFT, hop_length=HOP)) ** 2
    banded = _filterbank() @ power  # (F, T)
    patches, snippets = [], []
    if banded.max() > 0:
        decibels = 10 * np.log10(np.maximum(banded / banded.max(), 10 ** (-DEPTH_DB / 10)))
        padded = np.pad(decibels, ((0, 0), (FRAMES // 2, FRAMES // 2)), constant_values=-DEPTH_DB)
        samples = np.pad(wave, (SNIPPET, SNIPPET))
        for at in _loudest(banded.sum(axis=0)):
            patch = padded[:, at : at + FRAMES]
            patch = patch - patch.mean(axis=1, keepdims=True)
            patches.append((patch / max(np.linalg.norm(patch), 1e-9)).ravel())
            begin = SNIPPET + at * HOP - SNIPPET // 2
            snippet = samples[begin : begin + SNIPPET]
            snippets.append(np.rint(snippet * (127 / max(np.abs(snippet).max(), 1e-9))))
    return Fingerprint(
        np.array(patches, np.float16).reshape(-1, BANDS * FRAMES), np.array(snippets, np.int8).reshape(-1, SNIPPET)
    )


@functools.cache
def _filterbank() -> Any:
    return librosa.filters.mel(sr=RATE_HZ, n_fft=N_FFT, n_mels=BANDS, fmin=BAND_HZ[0], fmax=BAND_HZ[1])


def _loudest(power: NDArray[np.floating]) -> Iterator[int]:
    """Yield the loudest frames, none near another."""
    loudness = np.convolve(power, np.ones(3), "same")
    for _ in range(PATCHES):
        at = int(loudness.argmax())
        if loudness[at] <= 0:
            return
        yield at
        loudness[max(0, at - FRAMES // 2) : at + FRAMES // 2] = 0


def candidates(described: Sequence[Fingerprint], block: int = 512) -> list[tuple[int, int]]:
    """Return pairs (i < j) of recordings of which patches lie close together and snippets fit, i in order.

    These are the `NEIGHBOURS` that fit best of each recording. Time grows with the number n of recordings to the power
    1.5 (of 95,000: a minute), memory with n.
    """
    owner = np.repeat(np.arange(len(described)), [len(own.patches) for own in described])
    if not len(owner):
        return []
    patches = np.concatenate([own.patches for own in described])
    snippets = np.concatenate([own.snippets for own in described])
    pairs, fits = [np.zeros((0, 2), np.int64)], [np.zeros(0, np.float32)]
    for queries, members in _neighbourhoods(patches):
        of_members, k = patches[members].astype(np.float32), min(NEIGHBOURS, len(members))
        for begin in range(0, len(queries), block):
            own = queries[begin : begin + block]
            cosines = patches[own].astype(np.float32) @ of_members.T
            cosines[owner[own][:, None] == owner[members][None]] = -1
            nearest = np.argpartition(-cosines, k - 1, axis=1)[:, :k]
            rows, columns = np.nonzero(np.take_along_axis(cosines, nearest, axis=1) >= NEAR)
            one, other = own[rows], members[nearest[rows, columns]]
            fit = np.maximum(_fit(snippets[one], snippets[other]), _fit(snippets[other], snippets[one]))
            pairs.append(owner[np.stack([one, other], axis=1)][fit >= FITS])
            fits.append(fit[fit >= FITS])
    return _best(np.concatenate(pairs), np.concatenate(fits))


def _best(pairs: NDArray[np.int64], fits: NDArray[np.float32]) -> list[tuple[int, int]]:
    """Return the pairs (i < j) that are among the `NEIGHBOURS` with the best fit (M,) of either; `pairs` (M, 2)."""
    both = pd.DataFrame({"i": pairs.T.ravel(), "j": pairs[:, ::-1].T.ravel(), "fit": np.tile(fits, 2)})
    each = both.sort_values(["i", "fit", "j"], ascending=[True, False, True]).drop_duplicates(["i", "j"])
    kept = np.sort(each.groupby("i").head(NEIGHBOURS)[["i", "j"]].to_numpy(), axis=1)
    return sorted({(int(i), int(j)) for i, j in kept})


def _neighbourhoods(patches: NDArray[np.float16]) -> Iterator[tuple[NDArray[np.intp], NDArray[np.intp]]]:
    """Yield patches, and those to compare them with: all, or of many those that share a nearest centre.

    Centres are patches drawn at random, as many as the square root of all; a patch is asked about at the one nearest to
    it, and found at the `CENTRES` nearest ones.
    """
    n = len(patches)
    if n <= COMPARED_WITH_ALL:
        yield np.arange(n), np.arange(n)
        return
    rng = generator("fingerprint", n)
    centres = patches[np.sort(rng.permutation(n)[: round(n**0.5)])].astype(np.float32).T
    nearest = np.empty((n, CENTRES), np.intp)  # the very nearest first
    for begin in range(0, n, COMPARED_WITH_ALL):
        cosines = patches[begin : begin + COMPARED_WITH_ALL].astype(np.float32) @ centres
        few = np.argpartition(-cosines, CENTRES - 1, axis=1)[:, :CENTRES]
        order = np.argsort(-np.take_along_axis(cosines, few, axis=1), axis=1, kind="stable")
        nearest[begin : begin + len(cosines)] = np.take_along_axis(few, order, axis=1)
    by_centre = np.argsort(nearest[:, 0], kind="stable")
    members = np.argsort(nearest.ravel(), kind="stable")
    edges = np.arange(centres.shape[1] + 1)
    asked, found = (np.searchsorted(np.sort(which, axis=None), edges) for which in (nearest[:, 0], nearest))
    for at in range(centres.shape[1]):
        yield by_centre[asked[at] : asked[at + 1]], np.sort(members[found[at] : found[at + 1]] // CENTRES)


def _fit(snippets: NDArray[np.int8], others: NDArray[np.int8]) -> NDArray[np.float32]:
    """Return how well the cores of others (n, S) correlate with snippets (n, S), where they do best (n,)."""
    margin = (SNIPPET - CORE) // 2
    longer, core = snippets.astype(np.float32), others[:, margin : margin + CORE].astype(np.float32)
    spectra = np.conj(scipy.fft.rfft(core, 2 * CORE)) * scipy.fft.rfft(longer, 2 * CORE)
    products = np.abs(scipy.fft.irfft(spectra, 2 * CORE)[:, : SNIPPET - CORE + 1])
    sums = np.cumsum(np.pad(longer, ((0, 0), (1, 0))) ** 2, axis=1)
    energy = (sums[:, CORE:] - sums[:, :-CORE]) * (core**2).sum(axis=1, keepdims=True)
    best: NDArray[np.float32] = (products / np.sqrt(np.maximum(energy, 1))).max(axis=1, initial=0)
    return best


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

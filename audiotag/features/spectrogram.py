"""The two spectrograms of the writeup, as torch modules that run in batches on a CPU or a GPU.

Shapes: B clips, F bands, T frames. Waves are at 32 kHz; see `audiotag.features.audio` for how they come about.
"""

from __future__ import annotations

import functools
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from typing import Any, ClassVar

import librosa
import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from torch import Tensor, nn

from audiotag.errors import AudiotagError
from audiotag.features.audio import SAMPLE_RATE_HZ, AudioStream

N_FFT = 1024  # writeup: 1024-sample hann windows
BANDS = 128  # writeup: 128 frequency bins
# Version 1 mirrors 512 samples at either end, so it needs one more; what is shorter (16 ms) gets zeros at its end.
MIN_SAMPLES = N_FFT // 2 + 1
WHOLE_SAMPLES = 60 * SAMPLE_RATE_HZ  # longest wave computed in one piece: takes 0.3 GB, and one pass instead of two


class FrontEnd(nn.Module, ABC):
    """Waves (B, samples) at 32 kHz in, spectrograms (B, F, T) out, each clip by itself; float32 both.

    A wave shorter than MIN_SAMPLES is filled up with zeros to that length; an empty one raises AudiotagError.
    `bands` is F, `center_hz` (F,) where each band peaks, `hop_samples` the step from frame to frame.
    """

    name: ClassVar[str]
    hop_samples: ClassVar[int]
    bands = BANDS
    center_hz: NDArray[np.float64]
    window: Tensor
    filterbank: Tensor  # (F, FFT bins)

    def __init__(self, window: Tensor, filterbank: NDArray[Any]) -> None:
        super().__init__()
        # Not persistent: constants do not belong in checkpoints.
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("filterbank", torch.from_numpy(filterbank).float(), persistent=False)

    @property
    def frames_per_second(self) -> float:
        """Frames per second of audio."""
        return SAMPLE_RATE_HZ / self.hop_samples

    @abstractmethod
    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples` at 32 kHz."""

    def settings(self) -> dict[str, Any]:
        """Every number that determines the values: part of the key under which spectrograms are kept."""
        return {
            "front_end": self.name,
            "revision": 1,  # to be raised when the same numbers come to mean other values
            "sample_rate_hz": SAMPLE_RATE_HZ,
            "n_fft": N_FFT,
            "hop_samples": self.hop_samples,
            "bands": BANDS,
            "min_samples": MIN_SAMPLES,
        }

    def forward(self, wave: Tensor) -> Tensor:
        """Turn waves (B, samples) at 32 kHz into spectrograms (B, F, T)."""
        if wave.ndim != 2 or wave.dtype != torch.float32 or not wave.shape[1]:
            raise AudiotagError(
                f"a front end takes float32 waves (clips, samples) with at least one sample, not {wave.dtype} of shape "
                f"{tuple(wave.shape)}"
            )
        wave = _at_least_minimum(wave)
        padded = torch.cat((self._before(wave), wave, self._after(wave, wave.shape[1])), dim=-1)
        magnitude = self._magnitude(padded)
        return self._spectrogram(magnitude, self._reference(padded, magnitude))

    def stream(self, blocks: Iterable[Tensor | NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield the spectrogram of one long wave in pieces (F, t), without ever holding all of it.

        `blocks` are its samples in pieces (samples,) of any length. They are gone through twice, because the values
        depend on the loudest moment, so a one-way iterator raises AudiotagError; so does a wave without samples.
        """
        if isinstance(blocks, Iterator):
            raise AudiotagError("a spectrogram in pieces reads its blocks twice: give a list or an AudioStream")
        reference = torch.zeros(1, 1, 1, device=self.window.device)
        for segment in self._segments(blocks):
            if segment.any():  # what is silent is not the loudest moment
                reference = torch.maximum(reference, self._reference(segment, self._magnitude(segment)))
        for segment in self._segments(blocks):
            yield self._spectrogram(self._magnitude(segment), reference)[0]

    # What differs between the versions

    @abstractmethod
    def _before(self, wave: Tensor) -> Tensor:
        """Make the padding that goes before a wave (B, at least MIN_SAMPLES), from its beginning."""

    @abstractmethod
    def _after(self, wave: Tensor, n_samples: int) -> Tensor:
        """Make the padding that goes after a wave of `n_samples`, from its last (B, at least MIN_SAMPLES)."""

    @abstractmethod
    def _reference(self, padded: Tensor, magnitude: Tensor) -> Tensor:
        """Measure (B, 1, 1) what a clip's values are relative to; the largest over a clip's segments is the clip's."""

    @abstractmethod
    def _scaled(self, magnitude: Tensor, reference: Tensor) -> Tensor:
        """Scale magnitudes (B, FFT bins, T) to what the filter bank is applied to."""

    def _finished(self, banded: Tensor) -> Tensor:
        return banded

    # What they share

    def _magnitude(self, padded: Tensor) -> Tensor:
        """Fourier magnitudes (B, FFT bins, T) of every whole frame of a padded wave (B, samples)."""
        if self.window.dtype != torch.float32:
            raise AudiotagError(f"a front end computes in float32 only; it was converted to {self.window.dtype}")
        frames = padded.unfold(-1, N_FFT, self.hop_samples) * self.window
        return torch.fft.rfft(frames).abs()[..., : self.filterbank.shape[1]].transpose(-1, -2)

    def _spectrogram(self, magnitude: Tensor, reference: Tensor) -> Tensor:
        # In double precision, because trainers allow float32 products to be rounded to TF32 or bfloat16. No mps has it.
        wide = torch.float32 if magnitude.device.type == "mps" else torch.float64
        banded = self.filterbank.to(wide) @ self._scaled(magnitude, reference).to(wide)
        return self._finished(banded.float())

    def _padded(self, blocks: Iterable[Tensor | NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield, in pieces (samples,), what `forward` frames: the wave with its padding."""
        held = torch.zeros(0, device=self.window.device)
        n_samples, begun = 0, False
        for block in blocks:
            held = torch.cat((held, torch.as_tensor(block, dtype=torch.float32, device=held.device)))
            n_samples += len(block)
            if len(held) <= MIN_SAMPLES:
                continue
            if not begun:
                yield self._before(held)
                begun = True
            yield held[:-MIN_SAMPLES]
            held = held[-MIN_SAMPLES:]
        if not n_samples:
            raise AudiotagError("a wave without samples has no spectrogram: leave the recording out")
        held = _at_least_minimum(held)
        if not begun:
            yield self._before(held)
        yield held
        yield self._after(held, max(n_samples, MIN_SAMPLES))

    def _segments(self, blocks: Iterable[Tensor | NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield the padded wave in pieces (1, samples) of whole frames, overlapping as frames do."""
        held = torch.zeros(0, device=self.window.device)
        for piece in self._padded(blocks):
            held = torch.cat((held, piece))
            frames = (len(held) - N_FFT) // self.hop_samples + 1
            if frames > 0:
                yield held[None, : (frames - 1) * self.hop_samples + N_FFT]
                held = held[frames * self.hop_samples :]


class V1(FrontEnd):
    """Version 1: a mel filter bank applied to A-weighted decibels (negative, most of them).

    Source: the writeup's code for Version 1, as librosa 0.11 computes it.
    """

    name = "v1"
    hop_samples = 192
    top_db = 99.0
    min_power = 1e-10
    offset_db: Tensor  # (FFT bins, 1)

    def __init__(self) -> None:
        mel = librosa.filters.mel(sr=SAMPLE_RATE_HZ, n_fft=N_FFT, n_mels=BANDS, fmax=None)
        super().__init__(torch.hann_window(N_FFT, periodic=True, dtype=torch.float64), mel)
        self.center_hz = librosa.mel_frequencies(n_mels=BANDS + 2, fmax=SAMPLE_RATE_HZ / 2)[1:-1]
        weighting = librosa.A_weighting(librosa.fft_frequencies(sr=SAMPLE_RATE_HZ, n_fft=N_FFT)[1:])
        # At 0 Hz the weighting is minus infinity, which librosa cuts off at -80 dB, with a warning.
        offset_db = torch.from_numpy(np.concatenate(([-80.0], weighting))).float()[:, None]
        self.register_buffer("offset_db", offset_db, persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples` at 32 kHz: frames are centred on every 192nd sample."""
        return 1 + max(n_samples, MIN_SAMPLES) // self.hop_samples

    def settings(self) -> dict[str, Any]:
        """Every number that determines the values: part of the key under which spectrograms are kept."""
        return super().settings() | {
            "window": "hann, periodic",
            "padding": "reflect",
            "filters": "mel, slaney",
            "fmin_hz": 0.0,
            "fmax_hz": SAMPLE_RATE_HZ / 2,
            "weighting": "A",
            "min_power": self.min_power,
            "top_db": self.top_db,
        }

    def _before(self, wave: Tensor) -> Tensor:
        return wave[..., 1 : N_FFT // 2 + 1].flip(-1)

    def _after(self, wave: Tensor, n_samples: int) -> Tensor:
        return wave[..., -N_FFT // 2 - 1 : -1].flip(-1)

    def _reference(self, padded: Tensor, magnitude: Tensor) -> Tensor:
        return magnitude.amax(dim=(-2, -1), keepdim=True)

    def _scaled(self, magnitude: Tensor, reference: Tensor) -> Tensor:
        return torch.maximum(self._decibels(magnitude), self._decibels(reference) - self.top_db) + self.offset_db

    def _decibels(self, magnitude: Tensor) -> Tensor:
        return 20 * magnitude.clamp(min=self.min_power**0.5).log10()


class V2(FrontEnd):
    """Version 2: logarithmic magnitudes, 26 bands an octave, of the signal scaled to a peak of 1.

    Source: the writeup's code for Version 2, as madmom computes it. Frame t begins at sample 128 t.
    """

    name = "v2"
    hop_samples = 128
    bands_per_octave = 26
    fmin_hz = 20.0
    fmax_hz = 14_000.0

    def __init__(self) -> None:
        bank, center_bins = log_filterbank(self.bands_per_octave, self.fmin_hz, self.fmax_hz)
        super().__init__(torch.hann_window(N_FFT, periodic=False, dtype=torch.float64), bank)
        self.center_hz = center_bins * SAMPLE_RATE_HZ / N_FFT

    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples` at 32 kHz: every 128th sample begins a frame."""
        return -(-max(n_samples, MIN_SAMPLES) // self.hop_samples)

    def settings(self) -> dict[str, Any]:
        """Every number that determines the values: part of the key under which spectrograms are kept."""
        return super().settings() | {
            "window": "hann, symmetric",
            "padding": "zeros at the end",
            "filters": f"logarithmic, {self.bands_per_octave} bands an octave",
            "fmin_hz": self.fmin_hz,
            "fmax_hz": self.fmax_hz,
            "scaling": "log10(1 + x), x for a peak of 1",
        }

    def _before(self, wave: Tensor) -> Tensor:
        return wave[..., :0]

    def _after(self, wave: Tensor, n_samples: int) -> Tensor:
        missing = (self.n_frames(n_samples) - 1) * self.hop_samples + N_FFT - n_samples
        return wave.new_zeros((*wave.shape[:-1], missing))

    def _reference(self, padded: Tensor, magnitude: Tensor) -> Tensor:
        return padded.abs().amax(dim=-1)[:, None, None]

    def _scaled(self, magnitude: Tensor, reference: Tensor) -> Tensor:
        return magnitude / torch.where(reference > 0, reference, 1)  # silence stays silence

    def _finished(self, banded: Tensor) -> Tensor:
        return (1 + banded).log10()


FRONT_ENDS: dict[str, type[V1] | type[V2]] = {V1.name: V1, V2.name: V2}


@functools.cache
def shared_front_end(name: str) -> FrontEnd:
    """Return this process's front end called `name`, on the CPU; raises as `build_front_end` does."""
    return build_front_end(name)


def build_front_end(name: str) -> FrontEnd:
    """Build the front end called `name`; raises AudiotagError for a name that is none of FRONT_ENDS."""
    if name not in FRONT_ENDS:
        raise AudiotagError(f"there is no front end {name!r}: choose one of {', '.join(FRONT_ENDS)}")
    return FRONT_ENDS[name]()


@torch.inference_mode()
def frames(audio: AudioStream, front_end: FrontEnd) -> Iterator[NDArray[np.float16]]:
    """Yield a recording's spectrogram in pieces (t, F), half precision as the store holds it; of a short one, whole."""
    if audio.n_samples <= WHOLE_SAMPLES:
        pieces = iter([front_end(torch.from_numpy(np.concatenate(list(audio)))[None])[0]])
    else:
        pieces = front_end.stream(audio)
    for piece in pieces:
        yield piece.T.contiguous().half().numpy()


def _at_least_minimum(wave: Tensor) -> Tensor:
    return F.pad(wave, (0, max(0, MIN_SAMPLES - wave.shape[-1])))


def log_filterbank(
    bands_per_octave: int, fmin_hz: float, fmax_hz: float
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make overlapping triangular filters (F, FFT bins without the highest) spaced evenly by octaves from A4 = 440 Hz.

    Corners are rounded to the nearest FFT bin, each bin used once, so that the lowest filters are one bin wide; every
    filter's weights sum to 1. Returns also the bin (F,) each filter peaks at. Source: madmom's LogFilterbank.
    """
    lowest, highest = (np.log2(f / 440.0) * bands_per_octave for f in (fmin_hz, fmax_hz))
    corners_hz = 440.0 * 2 ** (np.arange(np.ceil(lowest), np.floor(highest) + 1) / bands_per_octave)
    corners = np.unique(np.rint(corners_hz * N_FFT / SAMPLE_RATE_HZ).astype(int))
    bins = np.arange(N_FFT // 2)
    triangles = np.stack(
        [np.interp(bins, corners[k : k + 3], (0.0, 1.0, 0.0)) for k in range(len(corners) - 2)]
    )  # (F, FFT bins)
    return triangles / triangles.sum(axis=1, keepdims=True), corners[1:-1].astype(np.float64)

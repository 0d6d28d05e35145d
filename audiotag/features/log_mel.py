"""The front ends that public networks were trained with: logarithms of powers in mel bands, by fixed numbers.

Nothing is relative to a clip's loudest moment, so level matters. Shapes: B clips, F bands, T frames, K Fourier bins.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from typing import Annotated, Any, Literal

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from audiotag.features.spectrogram import (
    FourierFrontEnd,
    Hz,
    Level,
    RateHz,
    Samples,
    _check_range,
    _log10,
    mel_filterbank,
)

Positive = Annotated[float, Field(gt=0)]
Bands = Annotated[int, Field(ge=1, le=1024)]
DECIBELS = math.log(10) / 10  # what a decibel of power is to the natural logarithm
Share = Annotated[float, Field(ge=0, lt=1)]


class LogMelFrontEnd(FourierFrontEnd):
    """(ln P - mean) / std of the power P in mel bands; frame t is centred on sample t * hop, the ends are mirrored.

    `window_samples` is the length of the Hann window, `periodic` or symmetric, in the middle of n_fft samples (null: as
    many). `mel` is how bands are made: slaney, of equal area, as librosa does, or kaldi, of equal height. Powers are
    `floor` at least, or it is added to them (`floor_is`). `preemphasis` takes that share of each sample from the next
    one. The defaults are those of PANNs (Kong et al. 2020): with std = ln(10) / 10, values are decibels.
    """

    revision: int | str = 1
    window_at = 0.5  # share of what the window lacks to n_fft that goes before it

    def __init__(
        self,
        sample_rate_hz: RateHz = 32_000,
        hop_samples: Samples = 320,
        n_fft: Samples = 1024,
        window_samples: Samples | None = None,
        periodic: bool = True,
        bands: Bands = 64,
        fmin_hz: Hz = 50.0,
        fmax_hz: Hz | None = 14_000.0,
        mel: Literal["slaney", "kaldi"] = "slaney",
        preemphasis: Share = 0.0,
        floor: Positive = 1e-10,
        floor_is: Literal["least", "added"] = "least",
        mean: float = 0.0,
        std: Positive = DECIBELS,
    ) -> None:
        fmax_hz = sample_rate_hz / 2 if fmax_hz is None else fmax_hz
        window_samples = n_fft if window_samples is None else window_samples
        _check_range(fmin_hz, fmax_hz, sample_rate_hz)
        if window_samples > n_fft:
            raise ValueError(f"window_samples={window_samples} is longer than n_fft={n_fft}")
        filters = mel_filterbank if mel == "slaney" else kaldi_filterbank
        bank, center_hz = filters(bands, fmin_hz, fmax_hz, n_fft, sample_rate_hz)
        before = int((n_fft - window_samples) * self.window_at)
        hann = torch.hann_window(window_samples, periodic=periodic, dtype=torch.float64)
        window = F.pad(hann, (before, n_fft - window_samples - before))
        super().__init__(sample_rate_hz, hop_samples, window, bank, center_hz)
        self.window_samples, self.preemphasis = window_samples, preemphasis
        self.floor, self.floor_is, self.mean, self.std = floor, floor_is, mean, std

    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples`."""
        return 1 + max(n_samples, self.min_samples) // self.hop_samples

    def stream(self, blocks: Iterable[Tensor | NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield the spectrogram of one long wave in pieces (F, t); its blocks are gone through once."""
        for segment in self._segments(blocks):
            yield self._spectrogram(segment)[0]

    def _before(self, wave: Tensor) -> Tensor:
        return wave[..., 1 : self.n_fft // 2 + 1].flip(-1)

    def _after(self, wave: Tensor, n_samples: int) -> Tensor:
        return wave[..., -self.n_fft // 2 - 1 : -1].flip(-1)

    def _prepared(self, frames: Tensor) -> Tensor:
        if not self.preemphasis:
            return frames
        return F.pad(frames[..., 1:] - self.preemphasis * frames[..., :-1], (0, 1))

    def _reference(self, padded: Tensor) -> Tensor:
        return padded.new_ones(len(padded))  # of nothing

    def _spectrogram(self, padded: Tensor, reference: Tensor | None = None) -> Tensor:
        return self._logarithms(self._banded(magnitude.square() for magnitude in self._magnitudes(padded)))

    def _logarithms(self, powers: Tensor) -> Tensor:
        powers = powers + self.floor if self.floor_is == "added" else powers.clamp(min=self.floor)
        return (_log10(powers) * math.log(10) - self.mean) / self.std

    def _lasting(self, magnitudes: Tensor) -> Tensor:
        return self._banded([magnitudes[:, None].square()])[0]

    def relate(self, lasting: Tensor, level: Level, gain: float = 1.0) -> Tensor:
        """Make the spectrogram (F, T) of measured frames of a wave times `gain`; its level changes nothing."""
        return self._logarithms(lasting * gain**2)


class KaldiFrontEnd(LogMelFrontEnd):
    """The same as Kaldi frames it: whole frames only, the first beginning with the wave, each without its mean.

    The defaults are those of AST (Gong et al. 2021): `torchaudio.compliance.kaldi.fbank`, with AudioSet's mean and
    twice its deviation.
    """

    window_at = 0.0

    def __init__(
        self,
        sample_rate_hz: RateHz = 16_000,
        hop_samples: Samples = 160,
        n_fft: Samples = 512,
        window_samples: Samples = 400,
        periodic: bool = False,
        bands: Bands = 128,
        fmin_hz: Hz = 20.0,
        fmax_hz: Hz | None = None,
        preemphasis: Share = 0.97,
        floor: Positive = 2.0**-23,
        mean: float = -4.2677393,
        std: Positive = 2 * 4.5689974,
    ) -> None:
        numbers: dict[str, Any] = {"fmin_hz": fmin_hz, "fmax_hz": fmax_hz, "preemphasis": preemphasis, "floor": floor}
        numbers |= {"mean": mean, "std": std, "mel": "kaldi"}
        super().__init__(sample_rate_hz, hop_samples, n_fft, window_samples, periodic, bands, **numbers)
        self.min_samples = window_samples

    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples`."""
        return 1 + (max(n_samples, self.min_samples) - self.window_samples) // self.hop_samples

    def _before(self, wave: Tensor) -> Tensor:
        return wave[..., :0]

    def _after(self, wave: Tensor, n_samples: int) -> Tensor:
        return wave.new_zeros((*wave.shape[:-1], self.n_fft - self.window_samples))  # the window does not reach them

    def _prepared(self, frames: Tensor) -> Tensor:
        frames = frames[..., : self.window_samples]
        frames = frames - frames.mean(dim=-1, keepdim=True)
        before = torch.cat((frames[..., :1], frames[..., :-1]), dim=-1)
        return F.pad(frames - self.preemphasis * before, (0, self.n_fft - self.window_samples))


def kaldi_filterbank(
    bands: int, fmin_hz: float, fmax_hz: float, n_fft: int, sample_rate_hz: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Make overlapping filters (F, FFT bins), triangles over mel, evenly spaced and all of height 1, as Kaldi does.

    Narrow ones at low frequencies may hold no bin, and then hear nothing. Returns also the frequency (F,) in Hz at
    which each peaks.
    """
    lowest, highest = (1127 * np.log1p(hz / 700) for hz in (fmin_hz, fmax_hz))
    corners = np.linspace(lowest, highest, bands + 2)
    mels = 1127 * np.log1p(np.fft.rfftfreq(n_fft, 1 / sample_rate_hz) / 700)
    slopes = np.subtract.outer(corners, mels) / (corners[1] - corners[0])  # (F + 2, FFT bins)
    bank = np.maximum(0, np.minimum(-slopes[:-2], slopes[2:])).astype(np.float32)
    bank[:, -1] = 0  # the highest bin is left out
    return bank, 700 * np.expm1(corners[1:-1] / 1127)

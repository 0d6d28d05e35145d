"""Front ends: from waves to spectrograms, as torch modules that run in batches on a CPU or a GPU.

Shapes: B clips, F bands, T frames. See `audiotag.features.audio` for how waves come about.
"""

from __future__ import annotations

import contextlib
import dataclasses
import functools
import json
from abc import ABC, abstractmethod
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Annotated, Any, Protocol

import numpy as np
import torch
import torch.nn.functional as F
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor, nn

from audiotag.config import Features
from audiotag.config.leaf import build, leaf_identity
from audiotag.config.sections import V1
from audiotag.errors import AudiotagError, ConfigError
from audiotag.features.audio import SAMPLE_RATE_HZ, AudioStream

SETTING = "features.front_end"
N_FFT = 1024  # writeup: 1024-sample hann windows
WHOLE_S = 60  # longest wave computed in one piece: takes some 50 MB, and one pass instead of two
CACHED_FRAMES = 192  # transformed at a time on a CPU, so that what is computed of them stays in its cache
FAINTEST = torch.finfo(torch.float32).tiny  # peak of a wave that is no silence
HELD_FRAMES = 1 << 16  # the same on other devices, which are slow at small pieces: half a GB

RateHz = Annotated[int, Field(ge=1_000, le=1_000_000)]
Samples = Annotated[int, Field(ge=1, le=1 << 16)]
Hz = Annotated[float, Field(ge=0)]


class FrontEnd(Protocol):
    """Float32 waves (B, samples) at `sample_rate_hz` in, float32 spectrograms (B, F, T) out, each clip by itself.

    The constructor's arguments are the settings, and together with the class the key under which spectrograms are
    stored; `revision` is to be raised when the same settings come to mean other values, or says what else these depend
    on, such as what a file holds. Values must be finite in half precision. `stream` gives the same spectrogram of one
    wave, too long to be held, in pieces.
    """

    sample_rate_hz: int
    """Rate of the waves; recordings are resampled to it."""
    hop_samples: int
    """Step from frame to frame."""
    bands: int
    """F."""
    center_hz: NDArray[np.float64]
    """Where each band (F,) peaks; NaN where bands are no frequencies."""
    revision: int | str

    @property
    def frames_per_second(self) -> float:
        """Frames per second of audio."""

    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples`."""

    def __call__(self, wave: Tensor) -> Tensor:
        """Turn waves (B, samples) into spectrograms (B, F, T)."""

    def stream(self, blocks: Iterable[Tensor | NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield the spectrogram of one wave, `blocks` (samples,), in pieces (F, t)."""


@contextlib.contextmanager
def one_thread() -> Iterator[None]:
    """Compute with one thread in the block: its operations are so small that threads only wait for each other."""
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(threads)


class FourierFrontEnd(nn.Module, ABC):
    """What front ends by Fourier transform and filter bank share.

    A wave shorter than `min_samples` is filled up with zeros to that length; an empty one raises AudiotagError.
    """

    revision: int | str = 2
    window: Tensor
    filterbank: Tensor  # (F, FFT bins)
    _bins: Tensor  # of every weight in the bank that is not 0, band by band
    _weights: Tensor
    _begins: Tensor  # (F,): each band's first one

    def __init__(
        self,
        sample_rate_hz: int,
        hop_samples: int,
        window: Tensor,
        filterbank: NDArray[Any],
        center_hz: NDArray[np.float64],
    ) -> None:
        super().__init__()
        self.sample_rate_hz, self.hop_samples, self.n_fft = sample_rate_hz, hop_samples, len(window)
        self.bands, self.center_hz = len(filterbank), center_hz
        # The mel front end mirrors half a window at either end, so it needs a sample more; at 32 kHz, 16 ms.
        self.min_samples = self.n_fft // 2 + 1
        # Not persistent: constants do not belong in checkpoints.
        self.register_buffer("window", window.float(), persistent=False)
        self.register_buffer("filterbank", torch.from_numpy(filterbank).float(), persistent=False)
        bands, bins = self.filterbank.nonzero(as_tuple=True)
        self.n_bins = filterbank.shape[1]
        self.register_buffer("_bins", bins, persistent=False)
        self.register_buffer("_weights", self.filterbank[bands, bins], persistent=False)
        self.register_buffer("_begins", torch.searchsorted(bands, torch.arange(self.bands)), persistent=False)

    @property
    def frames_per_second(self) -> float:
        """Frames per second of audio."""
        return self.sample_rate_hz / self.hop_samples

    @abstractmethod
    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples`."""

    @one_thread()
    def forward(self, wave: Tensor) -> Tensor:
        """Turn waves (B, samples) into spectrograms (B, F, T)."""
        if wave.ndim != 2 or wave.dtype != torch.float32 or not wave.shape[1]:
            raise AudiotagError(
                f"a front end takes float32 waves (clips, samples) with at least one sample, not {wave.dtype} of shape "
                f"{tuple(wave.shape)}"
            )
        wave = self._filled(wave)
        return self._spectrogram(torch.cat((self._before(wave), wave, self._after(wave, wave.shape[1])), dim=-1))

    def stream(self, blocks: Iterable[Tensor | NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield the spectrogram of one long wave in pieces (F, t), without ever holding all of it.

        `blocks` are its samples in pieces (samples,) of any length. They are gone through twice, because the values
        depend on the loudest moment, so a one-way iterator raises AudiotagError; so does a wave without samples.
        """
        if isinstance(blocks, Iterator):
            raise AudiotagError("a spectrogram in pieces reads its blocks twice: give a list or an AudioStream")
        reference = torch.zeros(1, device=self.window.device)
        with one_thread():
            for segment in self._segments(blocks):
                if segment.any():  # what is silent is not the loudest moment
                    reference = torch.maximum(reference, self._reference(segment))
        for segment in self._segments(blocks):
            with one_thread():
                spectrogram = self._spectrogram(segment, reference)[0]
            yield spectrogram

    # What differs between the versions

    @abstractmethod
    def _before(self, wave: Tensor) -> Tensor:
        """Make the padding that goes before a wave (B, at least min_samples), from its beginning."""

    @abstractmethod
    def _after(self, wave: Tensor, n_samples: int) -> Tensor:
        """Make the padding that goes after a wave of `n_samples`, from its last (B, at least min_samples)."""

    @abstractmethod
    def _reference(self, padded: Tensor) -> Tensor:
        """Measure (B,) what a clip's values are relative to; the largest over a clip's segments is the clip's."""

    @abstractmethod
    def _spectrogram(self, padded: Tensor, reference: Tensor | None = None) -> Tensor:
        """Make the spectrogram (B, F, T) of padded waves (B, samples), by default relative to their own reference."""

    def _prepared(self, frames: Tensor) -> Tensor:
        """Return frames (..., n_fft) before their window; what changes them is linear, and looks at one frame."""
        return frames

    # What they share

    def _filled(self, wave: Tensor) -> Tensor:
        return F.pad(wave, (0, max(0, self.min_samples - wave.shape[-1])))

    def _magnitudes(self, padded: Tensor) -> Iterator[Tensor]:
        """Yield Fourier magnitudes (FFT bins, B, t) of padded waves (B, samples), of a few frames at a time."""
        if self.window.dtype != torch.float32:
            raise AudiotagError(f"a front end computes in float32 only; it was converted to {self.window.dtype}")
        at_once = CACHED_FRAMES if padded.device.type == "cpu" else HELD_FRAMES
        for frames in padded.unfold(-1, self.n_fft, self.hop_samples).split(max(1, at_once // len(padded)), dim=1):
            spectrum = torch.fft.rfft(self._prepared(frames) * self.window).flatten(0, 1)[:, : self.n_bins]
            yield _magnitudes(spectrum).unflatten(1, frames.shape[:2])

    def _banded(self, values: Iterable[Tensor]) -> Tensor:
        """Apply the filter bank to pieces (FFT bins, B, t), and put them together (B, F, T).

        A bank is nearly all zeros, so the rows are summed that are not; and in float32, where trainers allow matrix
        products to be rounded to TF32 or bfloat16.
        """
        bands = [
            F.embedding_bag(self._bins, piece.flatten(1), self._begins, mode="sum", per_sample_weights=self._weights)
            .unflatten(1, piece.shape[1:])
            .transpose(0, 1)
            for piece in values
        ]
        return torch.cat(bands, dim=-1)

    def _segments(self, blocks: Iterable[Tensor | NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield the padded wave in pieces (1, samples) of whole frames, overlapping as frames do."""
        framing = Framing(self)
        for block in blocks:
            if (segment := framing.push(block)) is not None:
                yield segment
        if (segment := framing.finish()) is not None:
            yield segment

    # For who hears along, and learns only later what is loud: frames are measured once, and then related to any level

    @one_thread()
    def measure(self, segment: Tensor) -> Measured:
        """Measure the frames of a segment (1, samples), as `Framing` gives it, relative to nothing."""
        magnitudes = torch.cat(list(self._magnitudes(segment)), dim=-1)[:, 0]
        peaks = segment[0].abs().unfold(-1, self.n_fft, self.hop_samples).amax(dim=-1)
        return Measured(self._lasting(magnitudes), peaks, magnitudes.amax(dim=0))

    @abstractmethod
    def _lasting(self, magnitudes: Tensor) -> Tensor:
        """Return what of magnitudes (FFT bins, T) must be kept until they are related to a level (X, T)."""

    @abstractmethod
    def relate(self, lasting: Tensor, level: Level, gain: float = 1.0) -> Tensor:
        """Make the spectrogram (F, T) of what `measure` kept (X, T), in a wave whose loudest moment has this level.

        It is that of the wave times `gain`, level included.
        """


@dataclass(frozen=True)
class Level:
    """The loudest moment of a wave: its highest sample, and the strongest Fourier magnitude of any frame."""

    peak: float
    magnitude: float


@dataclass(frozen=True)
class Measured:
    """Frames not yet relative to anything: `lasting` (X, T), and of each frame (T,) what makes a `Level`."""

    lasting: Tensor
    peaks: Tensor
    magnitudes: Tensor


class Framing:
    """Cuts one wave that comes in blocks into segments of whole frames, its padding before and after it included.

    All segments together hold exactly the frames that a front end makes of the whole wave, whatever the blocks.
    """

    def __init__(self, front_end: FourierFrontEnd) -> None:
        self._front_end = front_end
        self._held = self._last = torch.zeros(0, device=front_end.window.device)  # to be framed; to be mirrored
        self.n_samples, self._begun = 0, False

    def push(self, block: Tensor | NDArray[np.float32]) -> Tensor | None:
        """Take the next samples (samples,), and return the segment (1, samples) that they complete, if they do."""
        self._take(torch.as_tensor(block, dtype=torch.float32, device=self._held.device))
        return self._whole_frames() if self.n_samples >= self._front_end.min_samples else None

    def finish(self) -> Tensor | None:
        """Return the last segment, if anything is left; raises AudiotagError for a wave without samples."""
        if not self.n_samples:
            raise AudiotagError("a wave without samples has no spectrogram: leave the recording out")
        self._take(self._held.new_zeros(max(0, self._front_end.min_samples - self.n_samples)))
        self._begin()
        self._held = torch.cat((self._held, self._front_end._after(self._last, self.n_samples)))
        return self._whole_frames()

    def _take(self, wave: Tensor) -> None:
        self.n_samples += len(wave)
        self._held = torch.cat((self._held, wave))
        self._last = torch.cat((self._last, wave))[-self._front_end.min_samples :]

    def _begin(self) -> None:
        if not self._begun:
            self._held, self._begun = torch.cat((self._front_end._before(self._held), self._held)), True

    def _whole_frames(self) -> Tensor | None:
        self._begin()
        n_fft, hop = self._front_end.n_fft, self._front_end.hop_samples
        frames = (len(self._held) - n_fft) // hop + 1
        if frames <= 0:
            return None
        segment = self._held[None, : (frames - 1) * hop + n_fft]
        self._held = self._held[frames * hop :]
        return segment


class MelFrontEnd(FourierFrontEnd):
    """A mel filter bank applied to A-weighted decibels (negative, most of them); frame t is centred on sample t * hop.

    Source: the writeup's code for Version 1, as librosa 0.11 computes it.
    """

    min_power = 1e-10
    offset_db: Tensor  # (F, 1)

    def __init__(
        self,
        sample_rate_hz: RateHz = SAMPLE_RATE_HZ,
        hop_samples: Samples = 192,
        n_fft: Samples = N_FFT,
        bands: Annotated[int, Field(ge=1, le=1024)] = 128,
        fmin_hz: Hz = 0.0,
        fmax_hz: Hz | None = None,
        top_db: Annotated[float, Field(gt=0)] = 99.0,
    ) -> None:
        fmax_hz = sample_rate_hz / 2 if fmax_hz is None else fmax_hz
        _check_range(fmin_hz, fmax_hz, sample_rate_hz)
        mel, center_hz = mel_filterbank(bands, fmin_hz, fmax_hz, n_fft, sample_rate_hz)
        if not mel.any(axis=1).all():
            raise ValueError(
                f"bands={bands} are so many that some hold no bin of n_fft={n_fft}: give fewer, or more bins"
            )
        hann = torch.hann_window(n_fft, periodic=True, dtype=torch.float64)
        super().__init__(sample_rate_hz, hop_samples, hann, mel, center_hz)
        self.top_db = top_db
        weighting = a_weighting_db(np.fft.rfftfreq(n_fft, 1 / sample_rate_hz)[1:])
        # At 0 Hz the weighting is minus infinity, and cut off.
        offset_db = mel.astype(np.float64) @ np.concatenate(([-80.0], weighting))
        self.register_buffer("offset_db", torch.from_numpy(offset_db).float()[:, None], persistent=False)

    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples`."""
        return 1 + max(n_samples, self.min_samples) // self.hop_samples

    def _before(self, wave: Tensor) -> Tensor:
        return wave[..., 1 : self.n_fft // 2 + 1].flip(-1)

    def _after(self, wave: Tensor, n_samples: int) -> Tensor:
        return wave[..., -self.n_fft // 2 - 1 : -1].flip(-1)

    def _reference(self, padded: Tensor) -> Tensor:
        return self._loudest(self._magnitudes(padded))

    def _loudest(self, magnitudes: Iterable[Tensor]) -> Tensor:
        return torch.stack([magnitude.amax(dim=(0, 2)) for magnitude in magnitudes]).amax(dim=0)

    def _spectrogram(self, padded: Tensor, reference: Tensor | None = None) -> Tensor:
        magnitudes = list(self._magnitudes(padded))
        return self._decibels(magnitudes, self._loudest(magnitudes) if reference is None else reference)

    def _decibels(self, magnitudes: Iterable[Tensor], reference: Tensor) -> Tensor:
        """Make the spectrogram (B, F, T) of magnitudes (FFT bins, B, t), which it changes."""
        floor = (reference * 10 ** (-self.top_db / 20)).clamp(min=self.min_power**0.5)[:, None]
        return 20 * self._banded(_log10(magnitude.clamp_(min=floor)) for magnitude in magnitudes) + self.offset_db

    def _lasting(self, magnitudes: Tensor) -> Tensor:
        return magnitudes  # the level decides which of them are cut off

    def relate(self, lasting: Tensor, level: Level, gain: float = 1.0) -> Tensor:
        """Make the spectrogram (F, T) of measured frames in a wave of this level, times `gain`."""
        reference = torch.full((1,), level.magnitude * gain, device=lasting.device)
        return self._decibels([(lasting * gain)[:, None]], reference)[0]


class LogFrontEnd(FourierFrontEnd):
    """Logarithmic magnitudes in bands evenly spaced by octaves, of the signal scaled to a peak of 1.

    Frame t begins at sample t * hop. Source: the writeup's code for Version 2, as madmom computes it.
    """

    def __init__(
        self,
        sample_rate_hz: RateHz = SAMPLE_RATE_HZ,
        hop_samples: Samples = 128,
        n_fft: Samples = N_FFT,
        bands_per_octave: Annotated[int, Field(ge=1, le=1024)] = 26,
        fmin_hz: Hz = 20.0,
        fmax_hz: Hz = 14_000.0,
    ) -> None:
        _check_range(fmin_hz, fmax_hz, sample_rate_hz)
        bank, center_bins = log_filterbank(bands_per_octave, fmin_hz, fmax_hz, n_fft, sample_rate_hz)
        hann = torch.hann_window(n_fft, periodic=False, dtype=torch.float64)
        super().__init__(sample_rate_hz, hop_samples, hann, bank, center_bins * sample_rate_hz / n_fft)
        self.n_bins = int(self._bins.max()) + 1  # nothing is needed of those above

    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples`."""
        return -(-max(n_samples, self.min_samples) // self.hop_samples)

    def _before(self, wave: Tensor) -> Tensor:
        return wave[..., :0]

    def _after(self, wave: Tensor, n_samples: int) -> Tensor:
        missing = (self.n_frames(n_samples) - 1) * self.hop_samples + self.n_fft - n_samples
        return wave.new_zeros((*wave.shape[:-1], missing))

    def _reference(self, padded: Tensor) -> Tensor:
        return padded.abs().amax(dim=-1)

    def _spectrogram(self, padded: Tensor, reference: Tensor | None = None) -> Tensor:
        reference = self._reference(padded) if reference is None else reference
        scaled = padded / reference.clamp(min=FAINTEST)[:, None]  # silence stays silence
        return _log10(1 + self._banded(self._magnitudes(scaled)))

    def _lasting(self, magnitudes: Tensor) -> Tensor:
        return self._banded([magnitudes[:, None]])[0]

    def relate(self, lasting: Tensor, level: Level, gain: float = 1.0) -> Tensor:
        """Make the spectrogram (F, T) of measured frames in a wave of this level; `gain` changes nothing."""
        return _log10(1 + lasting / max(level.peak, FAINTEST))


# On a CPU by NumPy: on an AMD processor PyTorch's magnitudes took ten times, its logarithms five times as long.


def _magnitudes(spectrum: Tensor) -> Tensor:
    """Return the magnitudes (bins, frames) of a complex spectrum (frames, bins)."""
    if spectrum.device.type == "cpu":
        return torch.from_numpy(np.ascontiguousarray(np.abs(spectrum.numpy()).T))
    return spectrum.abs().T.contiguous()


def _log10(values: Tensor) -> Tensor:
    return torch.from_numpy(np.log10(values.numpy())) if values.device.type == "cpu" else values.log10()


def _check_range(fmin_hz: float, fmax_hz: float, sample_rate_hz: int) -> None:
    if not 0 <= fmin_hz < fmax_hz <= sample_rate_hz / 2:
        raise ValueError(f"fmin_hz={fmin_hz} and fmax_hz={fmax_hz} must lie in order in 0 to {sample_rate_hz / 2:g} Hz")


def mel_filterbank(
    bands: int, fmin_hz: float, fmax_hz: float, n_fft: int, sample_rate_hz: int
) -> tuple[NDArray[np.float32], NDArray[np.float64]]:
    """Make overlapping triangular filters (F, FFT bins) spaced evenly by mel, each of the same area.

    Returns also the frequency (F,) in Hz at which each peaks. To the bit those of librosa's `filters.mel`, with which
    half a second of compilers would be imported at every start.
    """
    hz_per_mel, log_from_hz, log_step = 200 / 3, 1000.0, np.log(6.4) / 27  # Slaney's: linear, from 1 kHz logarithmic
    log_from = log_from_hz / hz_per_mel
    ends_hz = np.array([fmin_hz, fmax_hz])
    logarithmic = log_from + np.log(np.maximum(ends_hz, log_from_hz) / log_from_hz) / log_step
    lowest, highest = np.where(ends_hz >= log_from_hz, logarithmic, ends_hz / hz_per_mel)
    mels = np.linspace(lowest, highest, bands + 2)
    exponential = log_from_hz * np.exp(log_step * (mels - log_from))
    corners_hz = np.where(mels >= log_from, exponential, hz_per_mel * mels)
    slopes = np.subtract.outer(corners_hz, np.fft.rfftfreq(n_fft, 1 / sample_rate_hz))  # (F + 2, FFT bins)
    steps = np.diff(corners_hz)[:, None]
    bank = np.maximum(0, np.minimum(-slopes[:-2] / steps[:-1], slopes[2:] / steps[1:])).astype(np.float32)
    bank *= (2 / (corners_hz[2:] - corners_hz[:-2]))[:, None]
    return bank, corners_hz[1:-1]


def a_weighting_db(hz: NDArray[np.floating]) -> NDArray[np.floating]:
    """Return the A-weighting of frequencies (IEC 61672), -80 dB at least: to the bit as librosa computes it."""
    squared = hz**2
    c = np.array([12194.217, 20.598997, 107.65265, 737.86223]) ** 2
    logs = np.log10(c[0]) + 2 * np.log10(squared) - np.log10(squared + c[0]) - np.log10(squared + c[1])
    logs = logs - 0.5 * np.log10(squared + c[2]) - 0.5 * np.log10(squared + c[3])
    return np.maximum(-80, 2 + 20 * logs)


def log_filterbank(
    bands_per_octave: int, fmin_hz: float, fmax_hz: float, n_fft: int, sample_rate_hz: int
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Make overlapping triangular filters (F, FFT bins without the highest) spaced evenly by octaves from A4 = 440 Hz.

    Corners are rounded to the nearest FFT bin, each bin used once, so that the lowest filters are one bin wide; every
    filter's weights sum to 1. Returns also the bin (F,) each filter peaks at. Source: madmom's LogFilterbank.
    """
    lowest, highest = (np.log2(max(f, 1e-3) / 440.0) * bands_per_octave for f in (fmin_hz, fmax_hz))
    corners_hz = 440.0 * 2 ** (np.arange(np.ceil(lowest), np.floor(highest) + 1) / bands_per_octave)
    corners = np.unique(np.rint(corners_hz * n_fft / sample_rate_hz).astype(int))
    if len(corners) < 3:
        raise ValueError(f"there is no band between fmin_hz={fmin_hz} and fmax_hz={fmax_hz}")
    bins = np.arange(n_fft // 2)
    triangles = np.stack(
        [np.interp(bins, corners[k : k + 3], (0.0, 1.0, 0.0)) for k in range(len(corners) - 2)]
    )  # (F, FFT bins)
    return triangles / triangles.sum(axis=1, keepdims=True), corners[1:-1].astype(np.float64)


def front_end_of(features: Features) -> FrontEnd:
    """Return this process's front end of these settings, on the CPU.

    Raises ConfigError if the class cannot be imported, its arguments are wrong, or it breaks its contract.
    """
    return _built(json.dumps(features.front_end))


@functools.cache
def _built(leaf: str) -> FrontEnd:
    front_end: FrontEnd = build(json.loads(leaf), SETTING)
    missing = [name for name in FrontEnd.__annotations__ if not hasattr(front_end, name)]
    missing += [name for name in ("frames_per_second", "n_frames", "stream") if not hasattr(front_end, name)]
    problems = [f"{SETTING}: {json.loads(leaf)['_target_']} has no {', '.join(missing)}"] if missing else []
    if not missing:
        n_samples = front_end.sample_rate_hz
        expected = (2, front_end.bands, front_end.n_frames(n_samples))
        with torch.inference_mode():
            made = front_end(torch.linspace(-1, 1, 2 * n_samples).reshape(2, n_samples))
        if tuple(made.shape) != expected or made.dtype != torch.float32:
            problems.append(
                f"{SETTING}: a second of two clips became {made.dtype} of shape {tuple(made.shape)}; it must be "
                f"float32 (clips, bands, n_frames({n_samples})) = {expected}"
            )
        elif not made.half().isfinite().all():
            problems.append(f"{SETTING}: its values are not finite in half precision")
    if problems:
        raise ConfigError("The front end cannot be used:", problems)
    return front_end


def as_seen(features: Features) -> Features:
    """Return the features by which a recording is shown: its own or, where bands are no frequencies, those of v1."""
    if np.isnan(front_end_of(features).center_hz).any():
        return dataclasses.replace(features, name="v1", front_end=V1)
    return features


def front_end_settings(features: Features) -> dict[str, Any]:
    """Return what determines a front end's values: the key under which spectrograms are stored."""
    identity = leaf_identity(features.front_end, SETTING)
    by_content = ("file", "sha256") if "sha256" in identity else ()  # what a file holds, the revision says
    settings = {name: value for name, value in identity.items() if name not in by_content}
    return {**settings, "revision": front_end_of(features).revision}


@torch.inference_mode()
def frames(audio: AudioStream, front_end: FrontEnd) -> Iterator[NDArray[np.float16]]:
    """Yield a recording's spectrogram in pieces (t, F), half precision as the store holds it; of a short one, whole."""
    if audio.n_samples <= WHOLE_S * front_end.sample_rate_hz:
        pieces = iter([front_end(torch.from_numpy(audio.whole())[None])[0]])
    else:
        pieces = front_end.stream(audio)
    for piece in pieces:
        with one_thread():
            halved = piece.half().T.contiguous().numpy()
        yield halved

"""A network that turns sound into vectors, trained elsewhere and left as it is, as a front end: a vector per window.

Shapes: B clips, F values of a vector, T windows. The files are opened by `audiotag.features.network_file`.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from typing import Annotated, Any

import numpy as np
import torch
from numpy.typing import NDArray
from pydantic import Field
from torch import Tensor

from audiotag.config import Features
from audiotag.errors import AudiotagError
from audiotag.features.network_file import Shape, open_network, read_network
from audiotag.features.spectrogram import FrontEnd, RateHz, front_end_of
from audiotag.features.trimming import Wave

REVISION = 1  # to be raised when the same network comes to mean other values
LARGEST = float(np.finfo(np.float16).max)  # vectors are stored in half precision
Seconds = Annotated[float, Field(gt=0, le=600)]


class EmbeddingFrontEnd:
    """What a network says to windows of a wave: vectors (B, F, T) for spectrograms, computed by one thread.

    `file` is an ONNX or .tflite file with one input: samples or, with `front_end`, another front end's spectrogram of
    them. `window_s` and `sample_rate_hz` are needed where neither the file nor `front_end` says them. Window t begins
    at t * `hop_s` (null: half a window), but the last one ends with the wave; a shorter wave is repeated to a window.
    `output` names one of several outputs, or a tensor inside. Raises ValueError for a file that is missing, has another
    `sha256` than is given, or does not turn a window into a vector, AudiotagError if its runtime is not installed.
    """

    def __init__(
        self,
        file: str,
        window_s: Seconds | None = None,
        hop_s: Seconds | None = None,
        sample_rate_hz: RateHz | None = None,
        output: str | None = None,
        front_end: dict[str, Any] | None = None,
        sha256: str | None = None,
    ) -> None:
        content, found = read_network(file, sha256)
        self._file, self._network = file, open_network(file, content, output)
        self._inner = None if front_end is None else front_end_of(Features(front_end=front_end))
        self.sample_rate_hz = self._rate(sample_rate_hz)
        takes = self._network.takes
        layout = WaveLayout(file, takes) if self._inner is None else SpectrogramLayout(file, takes, self._inner)
        self._layout = layout
        self.window_samples = self._window(window_s, layout.window_samples)
        self.hop_samples = round((self.window_samples / 2) if hop_s is None else hop_s * self.sample_rate_hz)
        if self.hop_samples < 1:
            raise ValueError(f"hop_s={hop_s} is less than a sample")
        inner_revision = [] if self._inner is None else [str(self._inner.revision)]
        self.revision = ":".join([str(REVISION), found, *inner_revision])  # so the file's content is part of the key
        self.bands = len(self._vector(np.zeros(self.window_samples, np.float32)))
        self.center_hz = np.full(self.bands, np.nan)

    def __str__(self) -> str:
        return f"the network in {self._file}"

    @property
    def frames_per_second(self) -> float:
        """Windows per second of audio."""
        return self.sample_rate_hz / self.hop_samples

    def n_frames(self, n_samples: int) -> int:
        """Return T for a wave of `n_samples`."""
        return 1 + max(0, -(-(n_samples - self.window_samples) // self.hop_samples))

    def __call__(self, wave: Tensor) -> Tensor:
        """Turn waves (B, samples) into vectors (B, F, T)."""
        if wave.ndim != 2 or wave.dtype != torch.float32:
            raise AudiotagError(f"a front end takes float32 waves (clips, samples), not {wave.dtype} {wave.shape}")
        return torch.stack([torch.cat(list(self.stream([one])), dim=1) for one in wave])

    def stream(self, blocks: Iterable[Tensor | NDArray[np.float32]]) -> Iterator[Tensor]:
        """Yield the vectors (F, 1) of one wave, `blocks` (samples,), as its windows are complete.

        Raises AudiotagError for a wave without samples, and for values that half precision does not hold.
        """
        held, start, length, hop = np.zeros(0, np.float32), 0, self.window_samples, self.hop_samples
        for block in blocks:
            # What the window before began with is kept: the last window ends with the wave.
            held = np.concatenate((held[max(start - hop, 0) :], np.asarray(block, np.float32)))
            start = min(start, hop)
            while start + length <= len(held):
                yield self._column(held[start : start + length])
                start += hop
        if not len(held):
            raise AudiotagError("a wave without samples has no vectors: leave the recording out")
        if start == 0:
            yield self._column(np.resize(held, length))  # repeated
        elif start - hop + length < len(held):
            yield self._column(held[-length:])

    def _column(self, window: Wave) -> Tensor:
        return torch.from_numpy(self._vector(window)[:, None].copy())

    def _vector(self, window: Wave) -> NDArray[np.float32]:
        """Return the vector (F,) of a window (samples,)."""
        found = self._network(self._layout.arranged(window))
        if found.size != max(found.shape, default=1):
            raise ValueError(
                f"{self._file}: {self._network.gives} is {found.shape} of a window, and a vector is needed: name "
                f"another with output=; {self._network.outputs}"
            )
        vector = np.asarray(found, np.float32).reshape(-1)
        if not (np.abs(vector) <= LARGEST).all():  # written so that NaN is caught, too
            raise AudiotagError(f"{self._file}: {self._network.gives} is not finite, or beyond {LARGEST:g}")
        return vector

    def _rate(self, given: int | None) -> int:
        """Return the sample rate that is given, or else said by the inner front end or the file."""
        said = self._network.sample_rate_hz if self._inner is None else self._inner.sample_rate_hz
        if given is None and said is None:
            raise ValueError(f"{self._file} does not say at which rate it hears: set sample_rate_hz=")
        if None not in (given, said) and given != said:
            hearing = self._file if self._inner is None else "front_end"
            raise ValueError(f"sample_rate_hz={given}, but {hearing} hears {said} Hz: leave it out")
        return int(said if given is None else given)  # type: ignore[arg-type] # one of them is there

    def _window(self, given_s: float | None, said: int | None) -> int:
        """Return the samples of a window, as they are given in seconds, or else said by the file's input."""
        given = None if given_s is None else round(given_s * self.sample_rate_hz)
        takes = f"{self._file} takes {self._network.takes}"
        if given is None and said is None:
            raise ValueError(f"{takes}, windows of any length: set window_s=, as it was trained")
        if None not in (given, said) and given != said:
            raise ValueError(f"window_s={given_s}, but {takes}: leave it out, a window has {said} samples")
        return int(said if given is None else given)  # type: ignore[arg-type]


class WaveLayout:
    """How a network takes samples: (samples,), (1, samples), (1, 1, samples) or (1, samples, 1)."""

    def __init__(self, file: str, takes: Shape) -> None:
        at = max(len(takes) - 1, 0) if not takes or takes[-1] != 1 else len(takes) - 2
        others = [size for axis, size in enumerate(takes) if axis != at]
        if not 1 <= len(takes) <= 3 or any(size not in (1, None) for size in others):
            raise ValueError(
                f"{file} takes {takes}, which is no wave: name the front end that makes spectrograms with front_end="
            )
        self.window_samples = takes[at]
        self._shape = [-1 if axis == at else 1 for axis in range(len(takes))]

    def arranged(self, window: Wave) -> NDArray[np.float32]:
        """Return a window (samples,) as the network takes it."""
        return window.reshape(self._shape)


class SpectrogramLayout:
    """How a network takes spectrograms: bands and frames on two axes in either order, and 1 on all others.

    Frames that the inner front end makes beyond those that the network takes are left out.
    """

    def __init__(self, file: str, takes: Shape, inner: FrontEnd) -> None:
        axes = [axis for axis, size in enumerate(takes) if size != 1 and (axis > 0 or len(takes) == 2)][-2:]
        others = [size for axis, size in enumerate(takes) if axis not in axes]
        fit = [axis for axis in axes if takes[axis] == inner.bands] or [axis for axis in axes if takes[axis] is None]
        if len(axes) < 2 or not fit or any(size not in (1, None) for size in others):
            raise ValueError(
                f"{file} takes {takes}, which are no spectrograms of {inner.bands} bands as front_end= makes"
            )
        self._bands, self._frames = fit[0], axes[0] if fit[0] == axes[1] else axes[1]
        self._inner, self._n_frames, self._axes = inner, takes[self._frames], len(takes)
        self.window_samples = None if self._n_frames is None else _samples_for(inner, self._n_frames)

    def arranged(self, window: Wave) -> NDArray[np.float32]:
        """Return the spectrogram of a window (samples,) as the network takes it."""
        spectrogram = self._inner(torch.from_numpy(window)[None])[0, :, : self._n_frames].numpy()
        shape = [1] * self._axes
        shape[self._bands], shape[self._frames] = spectrogram.shape
        return np.ascontiguousarray(spectrogram if self._bands < self._frames else spectrogram.T).reshape(shape)


def _samples_for(front_end: FrontEnd, n_frames: int) -> int:
    """Return the fewest whole hops of samples of which a front end makes so many frames."""
    samples = front_end.hop_samples
    while front_end.n_frames(samples) < n_frames:
        samples += front_end.hop_samples
    return samples

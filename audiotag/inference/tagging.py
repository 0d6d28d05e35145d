"""From recordings to posteriors: the networks' weights, the windows that they hear, and the mean of what they say.

Shapes: M members, N recordings, K networks, B windows, F bands, T frames, C classes.
"""

from __future__ import annotations

import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from itertools import groupby, islice
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiotag.config import Hardware
from audiotag.distributed.hardware import choose_device, choose_precision
from audiotag.errors import RunError
from audiotag.features.audio import AudioError
from audiotag.features.spectrogram import front_end_of, one_thread
from audiotag.inference.labelling import Heard, Key, Labelled, OnWindow, Shown, label_each
from audiotag.inference.recordings import Recording
from audiotag.inference.spectrograms import (
    Frames,
    SpectrogramStream,
    WindowSpec,
    cut_windows,
    file_spectrograms,
    place_windows,
)
from audiotag.models.network import ask, build_network
from audiotag.models.weights import load_weights
from audiotag.run.folder import Cell, RunFolder

MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
TRUE = {"bf16-true": torch.bfloat16, "64-true": torch.float64}
# Of windows that share a pass, if a clip is shorter. What PyTorch prepares in each takes as long as half a narrow
# network's window of 768.
PASS_FRAMES = 3072


class Asked(ABC):
    """Networks that hear the same spectrograms, by (member, fold), whatever computes them."""

    by_key: Mapping[Key, Any]
    workers: int | None
    """Processes that compute spectrograms for them; None: one per core."""

    @abstractmethod
    def each(self, windows: Iterable[Frames], per_pass: int, keys: Sequence[Key]) -> Iterator[NDArray[np.float64]]:
        """Yield the posteriors (K, B, C) of the next windows (T, F), `per_pass` of them at a time."""

    def posteriors(
        self,
        spectrogram: SpectrogramStream,
        spec: WindowSpec,
        keys: Sequence[Key],
        on_window: OnWindow = lambda window, n_windows: None,
    ) -> dict[Key, NDArray[np.float64]]:
        """Return each network's posterior (C,) of a recording: the weighted mean over its windows.

        `on_window` is called with the number of each window and of all as it comes. Raises AudioError if the recording
        cannot be read to its end.
        """
        (heard,) = self.hear([spectrogram], spec, keys, on_window)
        if isinstance(heard, AudioError):
            raise heard
        return heard[0]

    def hear(
        self,
        spectrograms: Iterable[SpectrogramStream | AudioError],
        spec: WindowSpec,
        keys: Sequence[Key],
        on_window: OnWindow,
    ) -> Iterator[Heard | AudioError]:
        """Yield the same of many recordings, in order, or why one cannot be read; their windows share passes."""
        begun: deque[_Begun] = deque()

        def coming() -> Iterator[Frames]:
            for spectrogram in spectrograms:
                begun.append(_Begun())
                yield from begun[-1].windows(spectrogram, spec, on_window)

        length = spec.features.excerpt_frames if spec.excerpts else spec.features.clip_frames
        per_pass = max(1, max(spec.features.clip_frames, PASS_FRAMES) // length)
        for posteriors in self.each(coming(), per_pass, keys):
            for of_window in posteriors.transpose(1, 0, 2):
                while begun[0].done:
                    yield begun.popleft().heard(keys)
                begun[0].add(of_window)
        while begun:
            yield begun.popleft().heard(keys)


class _Begun:
    """A recording whose windows are given to networks, and what these have said of it so far."""

    def __init__(self) -> None:
        self._weights, self._silent = np.zeros(0), False
        self._n_given = self._n_heard = 0
        self._sum: NDArray[np.float64] = np.zeros(())  # (K, C)
        self._ended = False
        self._error: AudioError | None = None

    def windows(
        self, spectrogram: SpectrogramStream | AudioError, spec: WindowSpec, on_window: OnWindow
    ) -> Iterator[Frames]:
        """Yield the windows (T, F), as far as the recording can be read."""
        try:
            if isinstance(spectrogram, AudioError):
                raise spectrogram
            windows = place_windows(spectrogram.n_frames, spec)
            self._weights, self._silent = windows.weights, spectrogram.silent
            for window in cut_windows(spectrogram.pieces, spectrogram.n_frames, windows):
                on_window(self._n_given, len(windows.starts))
                self._n_given += 1
                yield window
        except AudioError as error:
            self._error = error
        self._ended = True

    def add(self, posteriors: NDArray[np.float64]) -> None:
        """Take what is said of the next window (K, C)."""
        self._sum = self._sum + self._weights[self._n_heard] * posteriors
        self._n_heard += 1

    @property
    def done(self) -> bool:
        """Whether all windows were given and heard."""
        return self._ended and self._n_heard == self._n_given

    def heard(self, keys: Sequence[Key]) -> Heard | AudioError:
        """Return each network's posterior (C,), or why the recording cannot be read."""
        if self._error is not None:
            return self._error
        assert self._n_heard == len(self._weights), "not every window was heard"
        return dict(zip(keys, self._sum, strict=True)), self._silent


class Networks(Asked):
    """The same as PyTorch's modules, on a device."""

    def __init__(self, by_key: Mapping[Key, nn.Module], hardware: Hardware) -> None:
        self.device = choose_device(hardware)
        if hardware.accelerator == "gpu" and self.device.type == "cpu":
            raise RunError("hardware.accelerator=gpu: there is no GPU that PyTorch can use here; set cpu or auto")
        self.precision = choose_precision(hardware)
        self.dtype = TRUE.get(self.precision, torch.float32)
        layout = torch.preserve_format if hardware.channels_last is False else torch.channels_last
        self.by_key = {
            key: network.eval().to(self.device, self.dtype, memory_format=layout)  # type: ignore[call-overload]
            for key, network in by_key.items()
        }
        # Threads of a network that share their cores with processes wait for each other: measured 100 times as slow.
        self.workers = 0 if hardware.workers is None and self.device.type == "cpu" else hardware.workers

    def each(self, windows: Iterable[Frames], per_pass: int, keys: Sequence[Key]) -> Iterator[NDArray[np.float64]]:
        """Yield the posteriors (K, B, C) of the next windows (T, F), `per_pass` of them at a time."""
        coming = iter(windows)
        with self._side_by_side(len(keys)) as ask_each:
            while batch := list(islice(coming, per_pass)):
                with one_thread():
                    x = torch.from_numpy(np.stack(batch)).transpose(1, 2).unsqueeze(1).float()  # (B, 1, F, T)
                posteriors = np.stack([*ask_each(lambda key, x=x: self._posteriors(self.by_key[key], x), keys)])
                if not np.isfinite(posteriors).all():
                    advice = "set hardware.precision=32-true"
                    raise RunError(f"posteriors are not finite in precision {self.precision}; {advice}")
                yield posteriors

    @contextlib.contextmanager
    def _side_by_side(self, n_networks: int) -> Iterator[Callable[..., Iterable[Any]]]:
        """Yield what is used as `map`; on a CPU it works in threads, among which PyTorch's are shared out.

        All of these for one network after the other, waiting for each other at every layer, took five times as long on
        a busy machine. Threads end with the block: what is forked or pickled after it has none.
        """
        threads = torch.get_num_threads()
        at_once = min(n_networks, threads) if self.device.type == "cpu" else 1
        if at_once <= 1:
            yield map
            return
        with ThreadPoolExecutor(at_once, "network", torch.set_num_threads, (threads // at_once,)) as pool:
            yield pool.map

    @torch.inference_mode()
    def _posteriors(self, network: nn.Module, x: Tensor) -> NDArray[np.float64]:
        mixed = MIXED.get(self.precision)
        with contextlib.nullcontext() if mixed is None else torch.autocast(self.device.type, mixed):
            logits = ask(network, x.to(self.device, self.dtype))
        return logits.softmax(dim=1).double().cpu().numpy()


def load_networks(folder: RunFolder, round_: int, folds: Iterable[int], member: int = 0) -> dict[Key, nn.Module]:
    """Load the best weights of a round's folds; raises RunError if they are missing or damaged."""
    networks: dict[Key, nn.Module] = {}
    bands = front_end_of(folder.config.features).bands
    for fold in folds:
        cell = Cell(round_, fold)
        networks[member, fold] = build_network(folder.config.model, len(folder.classes), bands)
        load_weights(networks[member, fold], folder.checked(cell, "best.ckpt"), folder.best_epoch(cell))
    return networks


def label(
    recordings: Sequence[Recording],
    groups: Sequence[tuple[WindowSpec, Asked]],
    may_ask: Callable[[Recording, Key], bool] = lambda recording, key: True,
) -> Labelled:
    """Ask the networks about every recording, as far as `may_ask` allows it.

    Each spectrogram is computed once for all networks of a group.
    """

    def hear(shown: Shown) -> Iterator[Heard | AudioError]:
        for by_group in zip(*(_heard(recordings, *group, may_ask, shown) for group in groups), strict=True):
            answers: dict[Key, NDArray[np.float64]] = {}
            for heard in by_group:
                if isinstance(heard, AudioError):
                    yield heard
                    break
                answers |= heard[0]
            else:
                yield answers, any(is_silent for _, is_silent in by_group)

    return label_each(recordings, hear)


def _heard(
    recordings: Sequence[Recording],
    spec: WindowSpec,
    networks: Asked,
    may_ask: Callable[[Recording, Key], bool],
    shown: Shown,
) -> Iterator[Heard | AudioError]:
    """Yield what networks of a group say to each recording; those of whom the same ones are asked share passes."""
    computed = file_spectrograms([recording.path for recording in recordings], spec.features, networks.workers)

    def reading() -> Iterator[SpectrogramStream | AudioError]:
        for number in range(len(recordings)):
            shown.reading(number)
            yield next(computed)

    coming = reading()
    asked = ([key for key in networks.by_key if may_ask(recording, key)] for recording in recordings)
    for keys, alike in groupby(asked):
        yield from networks.hear(islice(coming, len(list(alike))), spec, keys, shown.window)

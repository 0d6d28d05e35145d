"""An exported file taken apart: its networks, asked about windows of spectrograms as PyTorch's are.

Shapes: B windows, K networks, F bands, T frames, C classes.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from itertools import islice
from pathlib import Path

import numpy as np
from numpy.typing import NDArray

from audiotag.console import as_called
from audiotag.errors import RunError
from audiotag.features.audio import AudioStream
from audiotag.inference.labelling import Key, OnWindow
from audiotag.inference.onnx_file import About, open_session
from audiotag.inference.spectrograms import Frames, WindowSpec, spectrogram_in_pieces
from audiotag.inference.tagging import Asked


@dataclass(frozen=True)
class OnnxNetwork:
    """One of a file's networks, by its number in the graph, and the only number of frames that it takes."""

    number: int
    fixed_frames: int


class OnnxNetworks(Asked):
    """Networks of a file that hear the same spectrograms; they are asked all at once."""

    workers = 0

    def __init__(self, model: bytes, name: str, keys: Sequence[Key], spec: WindowSpec, threads: int | None) -> None:
        self._session, self._name = open_session(model, threads), name
        self.frames = spec.features.excerpt_frames if spec.excerpts else spec.features.clip_frames
        self.by_key = {key: OnnxNetwork(number, self.frames) for number, key in enumerate(keys)}

    def each(self, windows: Iterable[Frames], per_pass: int, keys: Sequence[Key]) -> Iterator[NDArray[np.float64]]:
        """Yield the posteriors (K, B, C) of the next windows (T, F), `per_pass` of them at a time.

        Raises RunError for windows of another length than the file was exported for.
        """
        coming = iter(windows)
        while batch := list(islice(coming, per_pass)):
            x = np.stack(batch).transpose(0, 2, 1)[:, None].astype(np.float32)  # (B, 1, F, T)
            if x.shape[3] != self.frames:
                advice = f"export it with window_frames={x.shape[3]}"
                raise RunError(f"the ONNX file hears windows of {self.frames} frames, not {x.shape[3]}: {advice}")
            (found,) = self._session.run(None, {self._name: x})
            yield found[[self.by_key[key].number for key in keys]].astype(np.float64)


class Parts:
    """A file's networks, in `groups` as `EnsembleTagger` has them, and how what they say becomes one."""

    def __init__(self, path: Path, about: About, threads: int | None) -> None:
        try:
            import onnx
            import onnx.utils
        except ModuleNotFoundError as error:
            raise RunError(
                "a recording of more than a minute, and windows of a stream, need onnx, which is not installed: "
                + as_called("pip install -e '.[onnx]'")
            ) from error
        extract = onnx.utils.Extractor(onnx.load(path)).extract_model
        self.groups: list[tuple[WindowSpec, OnnxNetworks]] = []
        for number, (features, keys) in enumerate(zip(about.specs(), about.networks, strict=True)):
            spec, name = WindowSpec(features, about.windows, about.cut), f"g{number}_windows"
            model = extract([name], [f"g{number}_each"]).SerializeToString()
            self.groups.append((spec, OnnxNetworks(model, name, keys, spec, threads)))
        self._fuse = open_session(extract(["each"], ["posteriors"]).SerializeToString(), threads)

    def posteriors(self, audio: AudioStream, on_window: OnWindow) -> NDArray[np.float64]:
        """Return the posterior (C,) of a recording of any length, in bounded memory."""
        found: list[NDArray[np.float64]] = []
        for spec, networks in self.groups:
            spectrogram = spectrogram_in_pieces(audio, spec.features)
            found += networks.posteriors(spectrogram, spec, list(networks.by_key), on_window).values()
        return self.fuse(np.stack(found)[:, None])[0]

    def fuse(self, each: NDArray[np.float64]) -> NDArray[np.float64]:
        """Return the posteriors (N, C) of those (K, N, C) of all networks, in the order of the groups."""
        posteriors: NDArray[np.float32] = self._fuse.run(None, {"each": each.astype(np.float32)})[0]
        return posteriors.astype(np.float64)

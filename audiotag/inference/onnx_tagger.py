"""An ensemble in an ONNX file, asked by ONNX Runtime; needs no PyTorch.

The graph hears trimmed and resampled waves; both are done here, by the code that does it for training. What is longer
than `WHOLE_S` is heard in pieces, and then PyTorch computes the spectrogram. Shapes: N recordings, C classes.
"""

from __future__ import annotations

import functools
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from numpy.typing import NDArray

from audiotag.config import Hardware
from audiotag.console import as_called
from audiotag.errors import RunError
from audiotag.features.audio import AudioError, AudioStream, WaveStream
from audiotag.features.trimming import Wave
from audiotag.inference.labelling import Fused, Heard, Key, Labelled, OnWindow, Shown, label_each
from audiotag.inference.onnx_file import AGAIN, open_session, read_about
from audiotag.inference.recordings import Recording

if TYPE_CHECKING:
    from audiotag.inference.onnx_networks import OnnxNetworks, Parts
    from audiotag.inference.spectrograms import WindowSpec

WHOLE_S = 60  # longest wave given to the graph at once


class OnnxTagger:
    """What an exported file says to recordings; raises RunError if it is missing, damaged or not one of ours."""

    def __init__(self, path: Path, hardware: Hardware) -> None:
        self.path = path
        self._session = open_session(path, hardware.threads)
        self._threads = hardware.threads
        self.about = read_about(path, self._session.get_modelmeta().custom_metadata_map)
        self.names, self.classes, self.window_s = self.about.runs, self.about.classes, self.about.window_s

    def label(self, recordings: Sequence[Recording]) -> Labelled:
        """Hear every recording."""

        def hear(shown: Shown) -> Iterator[Heard | AudioError]:
            for number, recording in enumerate(recordings):
                shown.reading(number)
                try:
                    audio = AudioStream(recording.path, self.about.trim, rate_hz=self.about.sample_rate_hz)
                    shown.window(0, 1)
                    yield {(0, 0): self._ask(audio, shown.window)}, audio.silent
                except AudioError as error:
                    yield error

        return label_each(recordings, hear)

    @property
    def groups(self) -> list[tuple[WindowSpec, OnnxNetworks]]:
        """The file's networks, to be asked about windows of spectrograms, as those of an ensemble; imports PyTorch."""
        return self.parts.groups

    @property
    def window_frames(self) -> int:
        """How many frames a window has, at the first front end; imports PyTorch."""
        return self.groups[0][1].frames

    def fuse(self, answers: Sequence[Mapping[Key, NDArray[np.float64]]]) -> Fused:
        """Put together what the networks say to windows, at least one."""
        keys = [key for _, networks in self.groups for key in networks.by_key]
        return Fused(self.parts.fuse(np.stack([[own[key] for own in answers] for key in keys])))

    def together(self, labelled: Labelled) -> NDArray[np.float64]:
        """Return the posteriors (N, C) of what was labelled."""
        return np.stack([own[0, 0] for own in labelled.posteriors])

    def posteriors(self, wave: Wave, sample_rate_hz: int) -> NDArray[np.float64]:
        """Return the posterior (C,) of a wave (samples,) in memory; raises AudioError if it is too short."""
        return self._ask(WaveStream(wave, sample_rate_hz, self.about.trim, self.about.sample_rate_hz))

    def networks(self) -> Mapping[Key, Any]:
        """Raise RunError: there are none."""
        raise RunError(f"{self.path} holds a graph, no PyTorch networks: load the run that it was exported from")

    @functools.cached_property
    def parts(self) -> Parts:
        """The file taken apart, for windows of spectrograms; imports PyTorch."""
        from audiotag.inference.onnx_networks import Parts

        return Parts(self.path, self.about, self._threads)

    def _ask(self, audio: AudioStream, on_window: OnWindow = lambda window, n_windows: None) -> NDArray[np.float64]:
        if audio.n_samples > WHOLE_S * audio.rate_hz:
            found = self.parts.posteriors(audio, on_window)
        else:
            found = self._session.run(["posteriors"], {"wave": audio.whole()[None]})[0][0]
        if not np.isfinite(found).all():
            raise RunError(f"{self.path}: its posteriors are not finite: {as_called(AGAIN)}")
        return found.astype(np.float64)

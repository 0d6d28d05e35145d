"""Where sound comes from while it is labelled: the microphone, a file, or standard input."""

from __future__ import annotations

import contextlib
import functools
import os
import sys
from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from audiotag.config import PredictConfig
from audiotag.config.predict import MICROPHONE, STANDARD_INPUT
from audiotag.console import as_called
from audiotag.errors import AudiotagError, DataError
from audiotag.features.audio import LARGEST_SAMPLE, mono, read_frames, read_rate_hz
from audiotag.features.trimming import Wave
from audiotag.live.feed import Block, Feed, capture, in_step
from audiotag.live.pcm import PcmReader

BLOCK_S = 0.02  # of sound that is played at its own speed


@dataclass(frozen=True)
class Source:
    """Sound that comes: its name, its rate, and whether it waits for whoever hears it; else what is late is dropped.

    `blocks` are its mono samples (samples,); None: `device` gives them.
    """

    name: str
    sample_rate_hz: int
    waits: bool
    blocks: Iterable[Wave] | None = None
    paced: bool = False
    device: int | None = None
    late_s: float = 0.0
    """How long the device itself holds sound back, in seconds, as it says."""
    feed: Feed | None = None
    """Where somebody else puts the samples, and says when they end."""

    @contextlib.contextmanager
    def listen(self) -> Iterator[Iterable[Block]]:
        """Yield the blocks as they come; nothing is captured any more after the block."""
        if self.feed is not None:
            yield self.feed
            return
        if self.waits and self.blocks is not None:
            yield in_step(self.blocks)
            return
        feed = Feed(self.sample_rate_hz, waits=self.device is None)
        try:
            if self.blocks is None:
                with _stream(self, feed):
                    yield feed
            else:
                capture(self.blocks, feed, self.sample_rate_hz if self.paced else None)
                yield feed
        finally:
            feed.stopped = True


def open_source(config: PredictConfig) -> Source:
    """Return the source that the configuration names; raises AudiotagError if it is not there."""
    if config.source == MICROPHONE:
        return microphone(config.device)
    if config.source == STANDARD_INPUT:
        if sys.stdin is None or sys.stdin.isatty():
            raise AudiotagError("source=- hears standard input, through which nothing is sent here: use a pipe")
        reader = PcmReader(functools.partial(os.read, sys.stdin.fileno()), config.pcm)
        return Source("standard input", reader.sample_rate_hz, config.speed != "sound", reader.blocks())
    path = Path(str(config.source)).expanduser()
    if path.is_dir():
        raise DataError("This source cannot be heard live:", [f"{path} is a folder: name a file in it"])
    rate_hz, waits = read_rate_hz(path), config.speed == "max"
    whole = (mono(frames) for frames in read_frames(path))
    return Source(path.name, rate_hz, waits, whole if waits else _cut(whole, round(BLOCK_S * rate_hz)), paced=not waits)


def _cut(waves: Iterable[Wave], length: int) -> Iterator[Wave]:
    for wave in waves:
        for at in range(0, len(wave), length):
            yield wave[at : at + length]


# The microphone


def microphone(device: str | None) -> Source:
    """Return a microphone, by number or part of its name; raises AudiotagError if there is none, or none such."""
    sounddevice = _sounddevice()
    inputs = [d for d in sounddevice.query_devices() if d["max_input_channels"] > 0]
    listed = ", ".join(f"{one['index']} {one['name']}" for one in inputs)
    if not inputs:
        raise AudiotagError("source=mic: there is no microphone here; source=FILE and source=- need none")
    try:
        asked: Any = None if device is None else int(device) if device.isdigit() else device
        found = sounddevice.query_devices(asked, "input")
        sounddevice.check_input_settings(found["index"], 1, "float32", None, found["default_samplerate"])
    except (ValueError, sounddevice.PortAudioError) as error:
        name = "the system's own choice" if device is None else f"device={device}"
        raise AudiotagError(f"source=mic: {name} cannot be heard ({error}); there are: {listed}") from error
    rate_hz = round(found["default_samplerate"])
    late_s = float(found["default_low_input_latency"])
    return Source(f"microphone {found['name']}", rate_hz, False, device=int(found["index"]), late_s=late_s)


def _sounddevice() -> Any:
    try:
        import sounddevice
    except ModuleNotFoundError as error:
        raise AudiotagError(as_called("source=mic: sounddevice is not installed: pip install -e '.[live]'")) from error
    except OSError as error:
        advice = "install it (Debian and Ubuntu: apt install libportaudio2)"
        raise AudiotagError(f"source=mic: {error}: {advice}; source=FILE and source=- need none") from error
    return sounddevice


@contextlib.contextmanager
def _stream(source: Source, feed: Feed) -> Iterator[None]:
    """Give a feed what a device records, within the block."""
    sounddevice = _sounddevice()

    def put(data: Any, frames: int, time: Any, status: Any) -> None:
        wave = np.array(data[:, 0], np.float32)
        if not (wave.min() >= -LARGEST_SAMPLE and wave.max() <= LARGEST_SAMPLE):  # so that NaN is caught, too
            feed.end(AudiotagError(f"{source.name} gives samples that are no audio"))
            raise sounddevice.CallbackAbort
        feed.put(wave, bool(status.input_overflow))

    try:
        stream = sounddevice.InputStream(source.sample_rate_hz, 0, source.device, 1, "float32", "low", callback=put)
        stream.start()
    except sounddevice.PortAudioError as error:
        raise AudiotagError(f"source=mic: {source.name} cannot be heard: {error}") from error
    with stream:
        yield

"""Parts of recordings with a label: windows along a recording are asked, and their posteriors say where a label begins.

Shapes: B windows, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audiotag.config import Features, PredictConfig, Segmentation
from audiotag.console import progress
from audiotag.errors import AudiotagError
from audiotag.features.audio import AudioError, AudioStream, WaveStream
from audiotag.features.spectrogram import FrontEnd, frames, front_end_of
from audiotag.features.trimming import Wave
from audiotag.inference.labelling import Key
from audiotag.inference.load import Answering
from audiotag.inference.recordings import Recording
from audiotag.inference.spectrograms import Windows, cut_windows

Row = tuple[str, float, float, str, float]
COLUMNS = ["fname", "start_s", "end_s", "label", "probability"]
AT_ONCE = 8  # windows in a pass of the networks, at least
STEPS = 8  # from window to window that make a window's length, if nothing is said

Sound = Path | tuple[Wave, int]  # a file, or a wave (samples,) and its rate
Stretch = tuple[float, float, NDArray[np.float64]]  # from, to in seconds; posterior (C,)


@dataclass(frozen=True)
class Segment:
    """A part of a recording with a label; `probability` is the mean of the label's along it, gaps left out."""

    start_s: float
    end_s: float
    label: int
    probability: float
    heard_s: float
    """How much of it is no gap."""


def find_segments(stretches: Iterable[Stretch], settings: Segmentation) -> Iterator[Segment]:
    """Yield the parts of a recording, in order and without overlap, of the posteriors of stretch after stretch.

    A part begins where its label is the most probable and has a probability of `on`, and ends where that falls below
    `off`, or another label begins. Parts of a label with no longer gap than `gap_s` are then one, and what is shorter
    than `shortest_s` is left out.
    """
    for segment in _joined(_parts(stretches, settings), settings.gap_s + 1e-9):
        if segment.end_s - segment.start_s >= settings.shortest_s - 1e-9:
            yield segment


def _parts(stretches: Iterable[Stretch], settings: Segmentation) -> Iterator[Segment]:
    label, start_s, end_s, mass = -1, 0.0, 0.0, 0.0  # of the part that has begun; -1: none
    for from_s, to_s, posterior in stretches:
        top = int(posterior.argmax())
        begins = top != label and posterior[top] >= settings.on
        if label >= 0 and (begins or posterior[label] < settings.off):
            yield Segment(start_s, end_s, label, mass / (end_s - start_s), end_s - start_s)
            label = -1
        if begins:
            label, start_s, mass = top, from_s, 0.0
        if label >= 0:
            end_s, mass = to_s, mass + float(posterior[label]) * (to_s - from_s)
    if label >= 0:
        yield Segment(start_s, end_s, label, mass / (end_s - start_s), end_s - start_s)


def _joined(parts: Iterable[Segment], gap_s: float) -> Iterator[Segment]:
    last: Segment | None = None
    for part in parts:
        if last is not None and last.label == part.label and part.start_s - last.end_s <= gap_s:
            heard_s = last.heard_s + part.heard_s
            mean = (last.probability * last.heard_s + part.probability * part.heard_s) / heard_s
            last = Segment(last.start_s, part.end_s, part.label, mean, heard_s)
            continue
        if last is not None:
            yield last
        last = part
    if last is not None:
        yield last


# Windows along a recording


@dataclass(frozen=True)
class WindowSteps:
    """Windows of `length_s` seconds, one every `hop_s`."""

    length_s: float
    hop_s: float


def window_steps(tagger: Answering, config: PredictConfig) -> WindowSteps:
    """Return the windows that the configuration asks for, counted in frames of the first run."""
    length = config.window_frames or tagger.window_frames
    hop = config.every_frames or max(1, length // STEPS)
    rate = front_end_of(tagger.groups[0][0].features).frames_per_second
    return WindowSteps(length / rate, hop / rate)


def stretches_of(
    sound: Sound, tagger: Answering, steps: WindowSteps, advance: Callable[[float], None] = lambda share: None
) -> Iterator[Stretch]:
    """Yield, for stretch after stretch of a recording, the posterior of the window whose middle lies in its middle.

    Times are those of the file: the first stretch begins, and the last ends, with what trimming keeps; both are half a
    window longer. A recording shorter than a window is repeated to fill it; one that is silent has no stretch. Memory
    does not grow with the recording. Raises AudioError if it cannot be read.
    """
    tracks = [_Track(sound, spec.features, steps) for spec, _ in tagger.groups]
    first = tracks[0]
    if first.audio.silent:
        return
    count = max(1, min(1 + round((track.n_frames - track.length) / (track.rate * steps.hop_s)) for track in tracks))
    per_pass = max(AT_ONCE, tagger.groups[0][0].features.clip_frames // first.length)
    answers = [
        networks.each(track.windows(count), per_pass, list(networks.by_key))
        for track, (_, networks) in zip(tracks, tagger.groups, strict=True)
    ]
    begin_s, end_s = first.audio.kept_s
    done = 0
    for batches in zip(*answers, strict=True):  # (K, B, C) of each group
        by_window: list[dict[Key, NDArray[np.float64]]] = [{} for _ in range(batches[0].shape[1])]
        for (_, networks), batch in zip(tagger.groups, batches, strict=True):
            for number, own in enumerate(by_window):
                own |= dict(zip(networks.by_key, batch[:, number], strict=True))
        for posterior in tagger.fuse(by_window).posteriors:
            middle_s = begin_s + done * steps.hop_s + steps.length_s / 2
            from_s = begin_s if done == 0 else middle_s - steps.hop_s / 2
            done += 1
            yield from_s, end_s if done == count else min(middle_s + steps.hop_s / 2, end_s), posterior
        advance(done / count)


class _Track:
    """A recording as networks of equal features hear it."""

    def __init__(self, sound: Sound, features: Features, steps: WindowSteps) -> None:
        self._front_end: FrontEnd = front_end_of(features)
        self.rate = self._front_end.frames_per_second
        rate_hz = self._front_end.sample_rate_hz
        if isinstance(sound, Path):
            self.audio = AudioStream(sound, features.trim, rate_hz=rate_hz)
        else:
            self.audio = WaveStream(*sound, features.trim, rate_hz)
        self.n_frames = self._front_end.n_frames(self.audio.n_samples)
        self.length, self._hop_s = round(steps.length_s * self.rate), steps.hop_s

    def windows(self, count: int) -> Iterator[NDArray[np.float16]]:
        starts = np.rint(np.arange(count) * self._hop_s * self.rate).astype(np.int64)
        starts = np.minimum(starts, max(self.n_frames - self.length, 0))
        places = Windows(starts, np.full(count, 1 / count), self.length)
        return cut_windows(frames(self.audio, self._front_end), self.n_frames, places)


def segment_recordings(
    recordings: Sequence[Recording], tagger: Answering, config: PredictConfig, classes: Sequence[str]
) -> tuple[pd.DataFrame, dict[str, str]]:
    """Return the parts of all recordings (columns `COLUMNS`), and by name why others cannot be read."""
    rows: list[Row] = []
    unread: dict[str, str] = {}
    with progress("recordings") as bar:
        task = bar.add_task("Listening", total=len(recordings))
        for done, recording in enumerate(recordings):

            def advance(share: float, done: int = done) -> None:
                bar.update(task, completed=done + share)

            try:
                rows += segment_rows(recording.fname, recording.path, tagger, config, classes, advance)
            except AudioError as error:
                unread[recording.fname] = str(error)
    return pd.DataFrame(rows, columns=COLUMNS), unread


def segment_rows(
    name: str,
    sound: Sound,
    tagger: Answering,
    config: PredictConfig,
    classes: Sequence[str],
    advance: Callable[[float], None] = lambda share: None,
) -> list[Row]:
    """Return the parts of one recording (columns `COLUMNS`); raises AudioError if it cannot be read."""
    steps = window_steps(tagger, config)
    check_windows(tagger, steps.length_s)
    found = find_segments(stretches_of(sound, tagger, steps, advance), config.segment)
    return [(name, one.start_s, one.end_s, classes[one.label], one.probability) for one in found]


def check_windows(tagger: Answering, window_s: float) -> None:
    """Raise AudiotagError if networks do not take windows of so many seconds."""
    problems = []
    for spec, networks in tagger.groups:
        rate = front_end_of(spec.features).frames_per_second
        only = getattr(networks, "frames", None)  # of an exported file
        if only not in (None, round(window_s * rate)):
            asked = round(window_s * rate)
            problems.append(f"the file hears windows of {only} frames: export it with window_frames={asked}")
            continue
        for (member, _), network in networks.by_key.items():
            fixed = getattr(network, "fixed_frames", None)
            least: int = getattr(network, "min_frames", 1) if fixed is None else fixed
            if window_s * rate < least - 0.5:
                name = tagger.names[member]
                problems.append(f"{name} needs windows of {least} frames or more, not {round(window_s * rate)}")
    if problems:
        raise AudiotagError(f"window_frames: {'; '.join(dict.fromkeys(problems))}")

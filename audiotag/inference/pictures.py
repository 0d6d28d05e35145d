"""Pictures of recordings: waveform and spectrogram, and the posteriors of a run's networks along time."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from audiotag.config import Features, Hardware
from audiotag.console import progress
from audiotag.distributed.hardware import set_numerics
from audiotag.features.audio import AudioError, AudioStream
from audiotag.features.spectrogram import as_seen, frames, front_end_of
from audiotag.files import write_csv
from audiotag.inference.members import choose_folds, choose_round
from audiotag.inference.recordings import Recording
from audiotag.inference.spectrograms import Frames, covering_windows, cut_windows
from audiotag.inference.tagging import Networks, load_networks
from audiotag.plots.figures import save_png
from audiotag.plots.recording_plot import ColumnMaxima, PosteriorTrack, RecordingData, draw_recording
from audiotag.run.folder import RunFolder

OVERLAP = 4  # windows that hold each moment, as long as they are no more than
MOST_WINDOWS = 200  # of a longer recording, fewer overlap, and in the end one follows the other: nothing is left out


def draw(
    recordings: Sequence[Recording], names: Sequence[str], out: Path, features: Features, folder: RunFolder | None
) -> tuple[list[dict[str, object]], list[str]]:
    """Draw every recording as `out`/NAME.png, with a run also the posteriors of its networks, as NAME.csv too.

    Returns path and duration_s of what was drawn, and what is wrong with the others.
    """
    tagger = None if folder is None else SlidingWindowTagger(folder)
    problems: list[str] = []
    lengths: list[dict[str, object]] = []
    with progress("recordings") as bar:
        task = bar.add_task("Drawing", total=len(recordings))
        for done, (recording, name) in enumerate(zip(recordings, names, strict=True)):
            bar.update(task, completed=done)
            try:
                picture, posteriors = picture_of(recording, features, tagger, lambda share: bar.advance(task, share))
            except AudioError as error:
                problems.append(str(error))
                continue
            lengths.append({"path": recording.fname, "duration_s": picture.length_s})
            save_png(out / f"{name}.png", draw_recording(picture, posteriors))
            if posteriors is not None:
                table = pd.DataFrame(posteriors.posteriors, columns=posteriors.classes)
                write_csv(
                    out / f"{name}.csv",
                    table.assign(begin_s=posteriors.begins_s, end_s=posteriors.ends_s)[
                        ["begin_s", "end_s", *posteriors.classes]
                    ],
                )
    return lengths, problems


class SlidingWindowTagger:
    """The networks of a run's best round, asked about overlapping windows of a recording."""

    def __init__(self, folder: RunFolder) -> None:
        self.folder, self.features = folder, folder.config.features
        folds = choose_folds(folder, None)
        self.round = choose_round(folder, "best", folds)
        set_numerics(Hardware())
        self.networks = Networks(load_networks(folder, self.round, folds), Hardware())

    def posteriors(
        self,
        pieces: Iterable[Frames],
        n_frames: int,
        hop_s: float,
        begin_s: float,
        advance: Callable[[float], None] = lambda share: None,
    ) -> PosteriorTrack:
        """Return the mean posterior of all folds in windows of `features.excerpt_frames` that cover a spectrogram.

        It is (T, F), comes in `pieces`, and begins at `begin_s`; one shorter than a window is repeated to fill it.
        `advance` is called with each further share that is done.
        """
        length = self.features.excerpt_frames
        windows = covering_windows(n_frames, length, OVERLAP, MOST_WINDOWS)
        per_pass = max(1, self.features.clip_frames // length)
        means = []
        for by_fold in self.networks.each(cut_windows(pieces, n_frames, windows), per_pass, list(self.networks.by_key)):
            means.append(by_fold.mean(axis=0))  # (B, C)
            advance(len(means[-1]) / len(windows.starts))
        begins_s = np.asarray(begin_s + windows.starts * hop_s, np.float64)
        title = f"{self.folder.path.name}, round {self.round}: windows of {length * hop_s:.2f} s"
        ends_s = begins_s + min(length, n_frames) * hop_s
        return PosteriorTrack(np.concatenate(means), begins_s, ends_s, self.folder.classes, title)


def picture_of(
    recording: Recording,
    features: Features,
    tagger: SlidingWindowTagger | None,
    advance: Callable[[float], None] = lambda share: None,
) -> tuple[RecordingData, PosteriorTrack | None]:
    """Read a recording and compute what is drawn of it, in memory that does not grow with it; raises AudioError."""
    front_end, shown = front_end_of(features), front_end_of(as_seen(features))
    audio = AudioStream(recording.path, features.trim, rate_hz=front_end.sample_rate_hz)
    wave = ColumnMaxima(audio.n_source)
    for block in audio.source():
        wave.add(np.stack((block, -block), axis=1))
    seen = audio if shown is front_end else AudioStream(recording.path, features.trim, rate_hz=shown.sample_rate_hz)
    spectrogram = ColumnMaxima(shown.n_frames(seen.n_samples))

    def kept() -> Iterator[Frames]:
        for piece in frames(seen, shown):
            spectrogram.add(piece)
            yield piece

    pieces = kept()
    posteriors = None
    if tagger is not None:
        heard = pieces if shown is front_end else frames(audio, front_end)
        n_frames, hop_s = front_end.n_frames(audio.n_samples), 1 / front_end.frames_per_second
        posteriors = tagger.posteriors(heard, n_frames, hop_s, audio.kept_s[0], advance)
    for _ in pieces:  # what the networks were not asked about
        pass
    picture = RecordingData(
        recording.fname,
        -wave.largest[:, 1],
        wave.largest[:, 0],
        wave.step / audio.source_rate_hz,
        audio.duration_s,
        audio.kept_s,
        spectrogram.largest.T,
        spectrogram.step / shown.frames_per_second,
        shown.center_hz,
        as_seen(features).title,
    )
    return picture, posteriors

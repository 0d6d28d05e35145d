"""Pictures of recordings, and how long those of a data set are.

Draws for every recording its waveform, with what trimming cuts off shaded, and its spectrogram; with run=NAME also what
the run's networks hear along time. For a folder, or a data set (data=kaggle data.root=DIR, settings as of train.py),
the lengths of its recordings are printed, and written with their histogram to lengths.csv and lengths.png.
"""

from __future__ import annotations

import argparse
import re
import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path

import numpy as np
import pandas as pd

from audiotag.command import reported
from audiotag.config import Features, Hardware
from audiotag.console import console, progress
from audiotag.data.manifest import build_manifest
from audiotag.data.plan import configure
from audiotag.errors import AudiotagError, ConfigError, DataError
from audiotag.evaluation.lengths import length_histogram, length_table, show_lengths
from audiotag.evaluation.plots import PNG_MARK, save_png
from audiotag.evaluation.recording_plot import Columns, Heard, Picture, draw_recording
from audiotag.experiment.hardware import set_numerics
from audiotag.experiment.run_folder import RunFolder, find_run
from audiotag.features.audio import AudioError, stream
from audiotag.features.spectrogram import FRONT_ENDS, frames, shared_front_end
from audiotag.files import check_output, write_csv
from audiotag.inference.members import choose_folds, choose_round
from audiotag.inference.networks import Networks, load_networks
from audiotag.inference.recordings import Recording, find_recordings
from audiotag.inference.windows import Frames, along, cut

SETTING = re.compile(r"[~+]*[A-Za-z_][\w./]*=")
OVERLAP = 4  # windows that hold each moment, as long as they are no more than
MOST_WINDOWS = 200  # of a longer recording, fewer overlap, and in the end one follows the other: nothing is unheard


class Listener:
    """The networks of a run's best round, asked about overlapping windows of a recording."""

    def __init__(self, run: str, runs_dir: str) -> None:
        self.folder: RunFolder = find_run(run, runs_dir)
        self.folds = choose_folds(self.folder, None)
        self.round = choose_round(self.folder, "best", self.folds)
        set_numerics(Hardware())
        self.networks: Networks = load_networks(self.folder, self.round, self.folds, Hardware())
        self.features: Features = self.folder.config.features

    def hear(
        self,
        pieces: Iterable[Frames],
        n_frames: int,
        hop_s: float,
        begin_s: float,
        advance: Callable[[float], None] = lambda share: None,
    ) -> Heard:
        """Return the mean posterior of all folds in windows of `features.excerpt_frames` that cover a spectrogram.

        It is (T, F) and comes in `pieces`; one shorter than a window is repeated to fill it, and heard once. `advance`
        is told which share has been heard since.
        """
        length = self.features.excerpt_frames
        windows = along(n_frames, length, OVERLAP, MOST_WINDOWS)
        per_pass = max(1, self.features.clip_frames // length)
        heard = []
        for by_fold in self.networks.each(cut(pieces, n_frames, windows), per_pass, self.folds):
            heard.append(by_fold.mean(axis=0))  # (B, C)
            advance(len(heard[-1]) / len(windows.starts))
        begins_s = np.asarray(begin_s + windows.starts * hop_s, np.float64)
        ends_s = np.asarray(begins_s + min(length, n_frames) * hop_s, np.float64)
        title = f"{self.folder.path.name}, round {self.round}: windows of {length * hop_s:.2f} s"
        return Heard(np.concatenate(heard), begins_s, ends_s, self.folder.classes, title)


def look_at(
    recording: Recording,
    features: Features,
    listener: Listener | None,
    advance: Callable[[float], None] = lambda share: None,
) -> tuple[Picture, Heard | None]:
    """Read a recording and compute what is drawn of it, in memory that does not grow with it; raises AudioError."""
    audio = stream(recording.path, features.trim)
    wave = Columns(audio.n_source)
    for block in audio.source():
        wave.add(np.stack((block, -block), axis=1))
    front_end = shared_front_end(features.front_end)
    n_frames, hop_s = front_end.n_frames(audio.n_samples), 1 / front_end.frames_per_second
    spectrogram = Columns(n_frames)

    def seen() -> Iterator[Frames]:
        for piece in frames(audio, front_end):
            spectrogram.add(piece)
            yield piece

    heard, pieces = None, seen()
    if listener is not None:
        heard = listener.hear(pieces, n_frames, hop_s, audio.kept_s[0], advance)
    for _ in pieces:  # what the networks were not asked about
        pass
    picture = Picture(
        recording.fname,
        -wave.largest[:, 1],
        wave.largest[:, 0],
        wave.step / audio.source_rate_hz,
        audio.duration_s,
        audio.kept_s,
        spectrogram.largest.T,
        spectrogram.step * hop_s,
        front_end.center_hz,
        features.front_end,
    )
    return picture, heard


def show_recordings(sources: Sequence[str], out: Path, front_end: str | None, run: str | None, runs_dir: str) -> None:
    """Draw every recording, and the lengths of those in folders; raises DataError where some cannot be read."""
    recordings, folders = _find(sources)
    names = _names(recordings)
    for name in names:
        check_output(out / f"{name}.png", PNG_MARK, (f"{name}.csv",) if run else ())
    if folders:
        check_lengths(out)
    listener = None if run is None else Listener(run, runs_dir)
    features = Features(front_end=front_end or "v1") if listener is None else listener.features
    if front_end not in (None, features.front_end):
        raise ConfigError("These do not go together:", [f"--front-end {front_end}, but {run} has {features.front_end}"])
    problems, lengths = [], []
    with progress("recordings") as bar:
        task = bar.add_task("Drawing", total=len(recordings))
        for done, (recording, name) in enumerate(zip(recordings, names, strict=True)):
            bar.update(task, completed=done)
            try:
                picture, heard = look_at(recording, features, listener, lambda share: bar.advance(task, share))
            except AudioError as error:
                problems.append(str(error))
                continue
            lengths.append({"path": recording.fname, "duration_s": picture.length_s})
            save_png(out / f"{name}.png", draw_recording(picture, heard))
            if heard is not None:
                _write_heard(out / f"{name}.csv", heard)
    if folders and lengths:
        _lengths(pd.DataFrame(lengths), out)
    console.print(f"Drawn: {len(lengths)} of {len(recordings)}, in {out}", soft_wrap=True)
    if problems:
        counts = f"{len(problems)} of {len(recordings)}"
        raise DataError(f"{counts} recordings cannot be read (the others are drawn):", problems)


def _find(sources: Sequence[str]) -> tuple[list[Recording], list[Path]]:
    """Return the recordings, each once, and which sources are folders; raises DataError with all that is not there."""
    problems: list[str] = []
    found: dict[Path, Recording] = {}
    for source in sources:
        try:
            for recording in find_recordings(source, ()).recordings:
                found.setdefault(recording.path.absolute(), recording)
        except DataError as error:
            problems += error.problems
    if problems:
        raise DataError("These cannot be drawn:", problems)
    return list(found.values()), [Path(source) for source in sources if Path(source).is_dir()]


def _names(recordings: Sequence[Recording]) -> list[str]:
    """Return a file name for each, made of as much of its path as tells it from the others."""
    parts = [recording.path.absolute().parts[1:] for recording in recordings]
    for n in range(1, max(map(len, parts)) + 1):
        names = ["_".join(own[-n:]) for own in parts]
        if len({name.lower() for name in names}) == len(names):  # some disks do not tell a from A
            return names
    return [f"{i:04d}_{own[-1]}" for i, own in enumerate(parts)]


def _write_heard(path: Path, heard: Heard) -> None:
    table = pd.DataFrame(heard.posteriors, columns=heard.classes)
    table.insert(0, "begin_s", heard.begins_s)
    table.insert(1, "end_s", heard.ends_s)
    write_csv(path, table)


def _lengths(clips: pd.DataFrame, out: Path) -> None:
    show_lengths(clips)
    write_csv(out / "lengths.csv", length_table(clips))
    save_png(out / "lengths.png", length_histogram(clips))


def check_lengths(out: Path) -> None:
    """Raise AudiotagError where the lengths of recordings may not be written."""
    check_output(out / "lengths.csv", "part,clips,", ("lengths.png",))


def show_data_set(settings: list[str], out: Path) -> None:
    """Print and draw how long the recordings of a data set are; raises DataError where it cannot be trained on."""
    check_lengths(out)
    _lengths(build_manifest(configure(settings)).frame, out)
    console.print(f"Lengths: {out / 'lengths.png'}", soft_wrap=True)


def main(arguments: list[str]) -> None:
    """Draw recordings, or the lengths of a data set."""
    parser = argparse.ArgumentParser(
        prog="python -m audiotag.show", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("source", nargs="*", help="recordings and folders; or data=... data.root=... of a data set")
    parser.add_argument(
        "--front-end", choices=sorted(FRONT_ENDS), help="spectrogram to draw (default: v1, or the run's)"
    )
    parser.add_argument("--run", help="run whose networks are asked; run=NAME works too")
    parser.add_argument("--runs-dir", default="runs", help="folder that holds the run folders")
    parser.add_argument("--out", required=True, type=Path, help="folder for the pictures")
    given = parser.parse_args(arguments)
    settings = [text for text in given.source if SETTING.match(text) and not Path(text).exists()]
    sources = [text for text in given.source if text not in settings]
    runs = [text.removeprefix("run=") for text in settings if text.startswith("run=")]
    of_data = [text for text in settings if not text.startswith("run=")]
    run = (runs or [given.run])[-1]
    if bool(sources) == bool(of_data) or (of_data and (run or given.front_end)):
        raise ConfigError(
            "There is nothing to show:" if not given.source else "These do not go together:",
            ["give recordings and folders, or the settings of a data set (data=kaggle data.root=DIR) and nothing else"],
        )
    if given.out.is_file():
        raise AudiotagError(f"--out {given.out} is a file: name a folder")
    if of_data:
        show_data_set(of_data, given.out)
    else:
        show_recordings(sources, given.out, given.front_end, run, given.runs_dir)


if __name__ == "__main__":
    reported(lambda: main(sys.argv[1:]))

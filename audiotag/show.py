"""Pictures of recordings, and how long those of a data set are.

Draws for every recording its waveform, with what trimming cuts off shaded, and its spectrogram; with run=NAME also what
the run's networks hear along time. For a folder, or a data set (data=kaggle data.root=DIR, settings as of train.py),
the lengths of its recordings are printed, and written with their histogram to lengths.csv and lengths.png.
"""

from __future__ import annotations

import argparse
import re
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pandas as pd
from omegaconf import OmegaConf

from audiotag.cli.arguments import CONF
from audiotag.cli.program import run_command
from audiotag.config import Features
from audiotag.console import as_called, console
from audiotag.data.manifest import build_manifest
from audiotag.errors import AudiotagError, ConfigError, DataError
from audiotag.files import PNG_MARK, check_output, write_csv
from audiotag.inference.members import choose_folds, choose_round
from audiotag.inference.recordings import Recording, find_recordings
from audiotag.plan import compose_training
from audiotag.run.folder import find_run

SETTING = re.compile(r"[~+]*[A-Za-z_][\w./]*=")


def show_recordings(sources: Sequence[str], out: Path, front_end: str | None, run: str | None, runs_dir: str) -> None:
    """Draw every recording, and the lengths of those in folders; raises DataError if some cannot be read."""
    recordings, folders = _find(sources)
    names = _names(recordings)
    for name in names:
        check_output(out / f"{name}.png", PNG_MARK, (f"{name}.csv",) if run else ())
    if folders:
        check_lengths(out)
    folder = None if run is None else find_run(run, runs_dir)
    if folder is not None:
        choose_round(folder, "best", choose_folds(folder, None))  # raises if there is none
    features = _features(front_end or "v1") if folder is None else folder.config.features
    if front_end not in (None, features.title):
        raise ConfigError("These do not go together:", [f"--front-end {front_end}, but {run} has {features.title}"])
    # Here: PyTorch takes seconds, and a wrong name or file has been reported before.
    from audiotag.inference.pictures import draw

    lengths, problems = draw(recordings, names, out, features, folder)
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


def _lengths(clips: pd.DataFrame, out: Path) -> None:
    from audiotag.evaluation.lengths import length_histogram, length_table, show_lengths
    from audiotag.plots.figures import save_png

    show_lengths(clips)
    write_csv(out / "lengths.csv", length_table(clips))
    save_png(out / "lengths.png", length_histogram(clips))


def _features(name: str) -> Features:
    values: Any = OmegaConf.to_container(OmegaConf.load(CONF / "features" / f"{name}.yaml"))
    return Features(**values)


def check_lengths(out: Path) -> None:
    """Raise AudiotagError if the lengths of recordings may not be written."""
    check_output(out / "lengths.csv", "part,clips,", ("lengths.png",))


def show_data_set(settings: list[str], out: Path) -> None:
    """Print and draw how long the recordings of a data set are; raises DataError if it cannot be trained on."""
    check_lengths(out)
    _lengths(build_manifest(compose_training(settings)).frame, out)
    console.print(f"Lengths: {out / 'lengths.png'}", soft_wrap=True)


def main(arguments: list[str]) -> None:
    """Draw recordings, or the lengths of a data set."""
    parser = argparse.ArgumentParser(
        prog=as_called("python -m audiotag.show"),
        description=as_called(str(__doc__)),
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("source", nargs="*", help="recordings and folders; or data=... data.root=... of a data set")
    parser.add_argument(
        "--front-end",
        choices=sorted(file.stem for file in (CONF / "features").glob("*.yaml") if "???" not in file.read_text()),
        help="spectrogram to draw (default: v1, or the run's)",
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
    run_command(main, None)

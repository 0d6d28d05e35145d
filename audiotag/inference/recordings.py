"""Which recordings to label: files and folders, or a split of the run's data set. All is checked before any work."""

from __future__ import annotations

import glob
import itertools
import os
from collections import defaultdict
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pandas as pd

from audiotag.config.checks import formula_problem, is_formula
from audiotag.config.data import SYNTHETIC
from audiotag.config.leaf import TARGET
from audiotag.data.answers import scored
from audiotag.data.checking import data_root
from audiotag.data.clips import UNLABELLED
from audiotag.data.corrections import verified_by_correction
from audiotag.data.paths import is_recording, is_utf8, leading_out
from audiotag.data.source import build_source
from audiotag.errors import DataError, LeakError, RunError
from audiotag.run.folder import TRAINING, Cell, RunFolder

CACHE = "cache"  # the folder of this name here, which training fills if cache_dir= does not say otherwise


@dataclass(frozen=True)
class Recording:
    """A recording to label. `label` is empty if it is not known; `folds` are the networks that may be asked."""

    fname: str
    path: Path
    folds: tuple[int, ...]
    label: str = ""
    scored: bool = False


@dataclass(frozen=True)
class Found:
    """Recordings, and files in the folders that are none."""

    recordings: list[Recording]
    passed_over: list[Path] = field(default_factory=list)


def find_recordings(source: Any, folds: Sequence[int]) -> Found:
    """Return the recordings of one or more files and folders; a folder's are named by their path in it.

    Raises DataError with every source that does not exist or holds nothing, and every name that is given twice.
    """
    found: list[tuple[str, Path]] = []
    passed_over: list[Path] = []
    problems: list[str] = []
    for path in [Path(str(name)).expanduser() for name in (source if isinstance(source, list) else [source])]:
        if path.is_dir():
            recordings, others = _search(path)
            if not recordings:
                problems.append(f"{path}: there is no recording in this folder ({len(others)} other files)")
            found += [(file.relative_to(path).as_posix(), file) for file in recordings]
            passed_over += others
        elif path.is_file():
            found.append((path.name, path))
        elif path.exists():
            problems.append(f"{path} is neither a file nor a folder")
        elif glob.has_magic(str(path)):
            matched = _matches(path)
            found += matched
            if not matched:
                problems.append(f"{path}: no file has a name like this")
        else:
            problems.append(f"{path}: there is no such file or folder")
    problems += _name_problems(found)
    if problems:
        raise DataError("These sources cannot be labelled:", problems)
    return Found([Recording(name, file, tuple(folds)) for name, file in found], passed_over)


def _matches(pattern: Path) -> list[tuple[str, Path]]:
    """Return the files that a pattern names (clips/*.wav, clips/**/*.wav), by their path below its fixed part."""
    fixed = Path(*itertools.takewhile(lambda part: not glob.has_magic(part), pattern.parts))
    files = [Path(name) for name in sorted(glob.glob(str(pattern), recursive=True))]
    return [(file.relative_to(fixed).as_posix(), file) for file in files if file.is_file()]


def _search(folder: Path) -> tuple[list[Path], list[Path]]:
    """Return the recordings and the other files below a folder, hidden ones among the others, links followed."""
    recordings: list[Path] = []
    others: list[Path] = []
    for path in sorted(_files(folder, set())):
        (recordings if is_recording(path) and path.is_file() else others).append(path)
    return recordings, others


def _files(folder: Path, seen: set[Path]) -> Iterator[Path]:
    seen.add(folder.resolve())
    try:
        entries = list(os.scandir(folder))
    except PermissionError as error:
        raise DataError("A folder cannot be read:", [f"{folder}: {error.strerror}"]) from error
    for path in (Path(entry.path) for entry in entries):
        if not path.is_dir():  # entry.is_dir() raises an error for a link to itself
            yield path
        elif path.resolve() not in seen:  # a link may lead in a circle
            yield from _files(path, seen)


def _name_problems(found: Iterable[tuple[str, Path]]) -> list[str]:
    by_name = defaultdict(list)
    for name, path in found:
        by_name[name].append(str(path))
    problems = [
        f"{' and '.join(paths)}: all would be called {name} in the predictions; label them one by one, or name a "
        "folder that holds them all"
        for name, paths in by_name.items()
        if len(paths) > 1
    ]
    problems += [formula_problem(name) for name in by_name if is_formula(name)]
    return problems + [f"{name!a}: this name is not UTF-8; rename the file" for name in by_name if not is_utf8(name)]


def split_recordings(folder: RunFolder, split: str, usage: str | None, folds: Sequence[int], root: str | None) -> Found:
    """Return the clips of a split: test and unlabelled, each for all of `folds`, or valid, verified clips for the fold
    without them.

    `usage` (public, private, private_public) says which test clips are scored, None: all that have a label. Raises
    DataError if clips are missing, or there are none; RunError if a network was trained on its clips.
    """
    clips = split_clips(folder, split, usage, folds)
    place = _root(folder, root)
    recordings = [
        Recording(
            row["clip_id"],
            place / row["path"],
            (int(row["fold"]),) if split == "valid" else tuple(folds),
            row["label"],
            bool(row["scored"]),
        )
        for row in clips.to_dict("records")
    ]
    _check_files([recording.path for recording in recordings], place, root, folder.config.data.allow_outside)
    return Found(recordings)


def training_paths(folder: RunFolder, clips: pd.DataFrame, root: str | None) -> list[Path]:
    """Return the recordings of a manifest's rows; raises DataError if some are missing, or not in the data's folder."""
    place = _root(folder, root)
    paths = [place / path for path in clips["path"]]
    _check_files(paths, place, root, folder.config.data.allow_outside)
    return paths


def split_clips(folder: RunFolder, split: str, usage: str | None, folds: Sequence[int]) -> pd.DataFrame:
    """Return the manifest's rows of a split, with a column `scored`; raises as `split_recordings` does."""
    manifest = folder.manifest
    clips = manifest[manifest["split"] == ("train" if split == "valid" else split)]
    if split == "valid":
        if folder.config.data.train_on_all:
            raise RunError(f"{folder.path}: trained with data.train_on_all=true: no clip was held out to validate on")
        before = clips["verified"] & ~clips["clip_id"].isin(verified_by_correction(folder.corrections))
        clips = clips[before & clips["fold"].isin([str(fold) for fold in folds])]
    if clips.empty:
        what, why, advice = {
            "valid": ("clips to validate on", f"no verified clip is in fold {folds}", ""),
            "test": ("test clips", "its data set has no test table", "Use source= instead."),
            UNLABELLED: ("clips without a label", "see data.unlabelled", "Use source= instead."),
        }[split]
        raise DataError(f"{folder.path} has no {what}:", [why], advice)
    return clips.assign(scored=scored(clips, usage, folder.manifest_file) if split == "test" else split == "valid")


def check_no_leak(folder: RunFolder, recordings: Iterable[Recording], round_: int) -> None:
    """Make sure that no network is asked about a recording it was trained on, in any round; raises LeakError."""
    trained_on: dict[int, set[str]] = {}
    for recording in recordings:
        for fold in recording.folds:
            if fold not in trained_on:
                tables = [folder.table(Cell(r, fold), TRAINING) for r in range(round_ + 1)]
                trained_on[fold] = {clip for table in tables for clip in table["clip_id"]}
            if recording.fname in trained_on[fold]:
                raise LeakError(f"fold {fold} was trained on {recording.fname}")


def _root(folder: RunFolder, root: str | None) -> Path:
    if root is not None:
        return Path(root).expanduser().absolute()
    place = data_root(folder.config)
    # The embedded data set is made again where its cache was deleted; never where only a stranger's run says.
    if folder.config.data.source == {TARGET: SYNTHETIC} and place.is_relative_to(Path(CACHE).absolute()):
        build_source(folder.config.data).prepare(place, folder.config.data)
    return place


def _check_files(paths: Sequence[Path], root: Path, moved_to: str | None, allow_outside: bool) -> None:
    """Raise DataError if files of the split are missing, or lie outside its folder."""
    missing = [path for path in paths if not path.is_file()]
    if missing:
        gone = {path.parent for path in missing if not path.parent.is_dir()}
        problems = [f"{folder}: there is no such folder" for folder in sorted(gone)]
        problems += [f"{path}: there is no such file" for path in missing if path.parent not in gone]
        advice = f"Set root=DIR if the data set left {root}."
        advice = "Correct root=, the folder of the data set." if moved_to else advice
        raise DataError(f"{len(missing)} of {len(paths)} recordings of the split are missing:", problems, advice)
    outside = [] if allow_outside else leading_out(paths, root)
    if outside:
        headline = f"{len(outside)} recordings are not below {root}, links followed:"
        advice = "A run trained with data.allow_outside=true may label such files."
        raise DataError(headline, sorted(map(str, outside)), advice)

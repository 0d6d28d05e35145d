"""The manifest: one row per clip, with its label, fold, duration and content hash."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd

from audiotag.config import Data, TrainConfig
from audiotag.console import console
from audiotag.data import csv_table, kaggle
from audiotag.data.folds import assign_folds
from audiotag.data.scan import scan_files
from audiotag.data.tables import Problem, Rows, TableSource, read_labels, read_tables
from audiotag.errors import DataError
from audiotag.files import write_csv
from audiotag.randomness import key

COLUMNS = ["clip_id", "path", "label", "verified", "fold", "split", "usage", "group", "duration_s", "content_hash"]


@dataclass(frozen=True)
class Manifest:
    """Clips (columns `COLUMNS`, all text but duration_s), the class list, and what was left out.

    `path` is relative to `root` where the file lies below it. `truth` holds right labels by clip id; it is used to
    measure what verification accepted, and for nothing else.
    """

    frame: pd.DataFrame
    classes: list[str]
    root: Path
    skipped: list[Problem] = field(default_factory=list)
    truth: pd.Series | None = None

    @functools.cached_property
    def train(self) -> pd.DataFrame:
        """Training clips, indexed by clip id, `fold` as a number."""
        train = self.frame[self.frame["split"] == "train"].set_index("clip_id")
        return train.assign(fold=train["fold"].astype(int))

    @property
    def unverified(self) -> pd.DataFrame:
        """Unverified training clips, indexed by clip id."""
        return self.train[self.train["verified"] == "0"]


def data_root(config: TrainConfig) -> Path:
    """Return the absolute folder of the data set."""
    if config.data.root is not None:
        return Path(config.data.root).absolute()
    made = config.data.synthetic
    return Path(config.cache_dir).absolute() / f"synthetic-{key(str(made)):016x}"


def sources(data: Data, root: Path) -> list[TableSource]:
    """Return the tables of a data set, made or downloaded first where the configuration says so."""
    if data.name == "synthetic":
        from audiotag.data import synthetic  # here, as below: slow to import, and most runs need neither

        settings = synthetic.SyntheticSettings(**vars(data.synthetic))
        return kaggle.sources(synthetic.make(root, settings))
    if data.name == "csv":
        return csv_table.sources(data, root)
    if data.name == "fsdkaggle2018":
        from audiotag.data import fsdkaggle2018

        if data.download and not fsdkaggle2018.is_present(root):
            fsdkaggle2018.fetch(root)
        train, test, train_audio, test_audio = fsdkaggle2018.tables(root)
        return [TableSource(train, train_audio, "train"), TableSource(test, test_audio, "test")]
    return kaggle.sources(root)


def read_rows(config: TrainConfig) -> tuple[Rows, list[str], Path]:
    """Read the tables of a data set without its audio: rows, class list, root."""
    root = data_root(config)
    tables = sources(config.data, root)
    rows, classes = read_tables(tables, config.data.columns, config.data.group, root, config.data.classes)
    return rows, classes, root


def build_manifest(config: TrainConfig) -> Manifest:
    """Read tables and audio files, check them all, and assign folds.

    Raises DataError with every problem found, file and line, or leaves those rows out (`data.on_bad_clip=skip`).
    """
    rows, classes, root = read_rows(config)
    frame = _with_audio(rows, root, Path(config.cache_dir), config.hardware.workers)
    problems = [str(problem) for problem in rows.problems]
    skip = config.data.on_bad_clip == "skip"
    if problems and not skip:
        try:
            _assign(frame, config)  # so that its problems are reported with the others
        except DataError as error:
            problems += error.problems
        advice = "Correct these, or set data.on_bad_clip=skip to leave them out."
        raise DataError(f"{len(problems)} problems in the data set:", problems, advice)
    if problems:
        console.print(f"[yellow]left out:[/] {len(problems)} rows or files that cannot be used (see summary.json)")
    frame = _assign(frame, config)[COLUMNS].sort_values(["split", "clip_id"], ascending=[False, True])
    return Manifest(frame.reset_index(drop=True), classes, root, rows.problems, _truth(config, root))


def _with_audio(rows: Rows, root: Path, cache_dir: Path, workers: int | None) -> pd.DataFrame:
    """Add duration and content hash to the rows; those with a bad file become problems."""
    paths = [root / path for path in rows.frame["path"]]
    missing = sorted({path.parent for path in paths if not path.parent.is_dir()})
    if missing:
        raise DataError(
            "Folders of the data set are missing:",
            [f"{folder}: there is no such folder" for folder in missing],
            "data.root must be the folder that holds them.",
        )
    scans = scan_files(paths, cache_dir, workers)
    found = [scans[path] for path in paths]
    rows.problems += [
        Problem(row["path"], scan.problem, row["where"])
        for (_, row), scan in zip(rows.frame.iterrows(), found, strict=True)
        if scan.problem
    ]
    frame = rows.frame.assign(
        duration_s=[scan.duration_s for scan in found], content_hash=[scan.content_hash for scan in found]
    )
    return frame[[not scan.problem for scan in found]]


def _assign(frame: pd.DataFrame, config: TrainConfig) -> pd.DataFrame:
    train = frame["split"] == "train"
    if not train.any():
        raise DataError("The data set has no training clips that can be used.", [])
    fold = assign_folds(frame[train], config.folds, config.seed)
    unverified = (frame[train]["verified"] == "0").sum()
    if config.rounds > 0 and unverified == 0:
        raise DataError(
            "There is nothing to verify:", ["every training label is marked as verified"], "Set rounds=0 to only train."
        )
    return frame.assign(fold=fold.astype(str).reindex(frame.index).fillna(""))


def _truth(config: TrainConfig, root: Path) -> pd.Series | None:
    data = config.data
    if data.name == "synthetic" and data.truth is None:
        return read_labels(root / "truth.csv", "fname", "label")
    return None if data.truth is None else read_truth(data.truth, root, data)


def read_truth(name: str, root: Path, data: Data) -> pd.Series:
    """Read the table of right labels; raises DataError where it is missing or ambiguous."""
    path = csv_table.find(name, root)
    if not path.is_file():
        raise DataError("The table of right labels is missing:", [f"data.truth={name}: not here, nor in {root}"])
    return read_labels(path, data.columns.clip, data.columns.label)


def save_manifest(manifest: Manifest, path: Path) -> None:
    """Write `manifest.csv`."""
    write_csv(path, manifest.frame)


def save_truth(manifest: Manifest, path: Path) -> None:
    """Write the right labels of the manifest's clips, where they are known, as `clip_id,label`."""
    if manifest.truth is not None:
        known = manifest.frame["clip_id"][manifest.frame["clip_id"].isin(manifest.truth.index)]
        write_csv(path, pd.DataFrame({"clip_id": known, "label": manifest.truth[known].to_numpy()}))

"""The manifest: one row per clip, with its label, fold, duration and content hash."""

from __future__ import annotations

import functools
import re
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.text import Text

from audiotag.config import Data, TrainConfig
from audiotag.console import console, progress
from audiotag.data.corrections import COLUMNS as CORRECTIONS
from audiotag.data.corrections import apply_corrections, dropped_problems, read_corrections, say_applied
from audiotag.data.folds import assign_folds
from audiotag.data.noise import Labels, with_noise
from audiotag.data.paths import Folders, relative
from audiotag.data.scan import MISSING, Scan, scan_files, state_of
from audiotag.data.sources import csv_table, kaggle
from audiotag.data.sources.class_folders import class_rows
from audiotag.data.tables import (
    NO_LABEL_TOLD,
    UNLABELLED,
    Problem,
    Rows,
    TableSource,
    blame_outside,
    blame_same_file,
    checked_rows,
    gathered,
    read_labels,
    read_tables,
)
from audiotag.errors import FIRST, LAST, DataError
from audiotag.files import write_csv
from audiotag.randomness import key

COLUMNS = ["clip_id", "path", "label", "verified", "fold", "split", "usage", "group", "duration_s", "content_hash"]


@dataclass(frozen=True)
class Manifest:
    """Clips (columns `COLUMNS`, all text but duration_s), the class list, and what was left out.

    `path` is relative to `root` where the file lies below it. `truth` holds right labels by clip id; it is used to
    measure what verification accepted, and for nothing else. `injected` are the labels that `data.noise` made wrong
    (clip_id, label, right_label). `corrections` (columns `CORRECTIONS`) is what a person has decided, applied already.
    `scans` are of all files that the tables name.
    """

    frame: pd.DataFrame
    classes: list[str]
    root: Path
    skipped: list[Problem] = field(default_factory=list)
    truth: pd.Series | None = None
    injected: pd.DataFrame | None = None
    corrections: pd.DataFrame = field(default_factory=lambda: pd.DataFrame(columns=CORRECTIONS))
    scans: dict[Path, Scan] = field(default_factory=dict)

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
        return Path(config.data.root).expanduser().absolute()
    made = config.data.synthetic
    return Path(config.cache_dir).absolute() / f"synthetic-{key(str(made)):016x}"


def sources(data: Data, root: Path) -> list[TableSource]:
    """Return the tables of a data set, made or downloaded first where the configuration says so."""
    if data.name == "synthetic":
        from audiotag.data.sources import synthetic  # here, as below: slow to import, and most runs need neither

        settings = synthetic.SyntheticSettings(**vars(data.synthetic))
        clips_per_class = settings.verified_per_class + settings.unverified_per_class + settings.test_per_class
        with progress("clips") as bar:
            task = bar.add_task("Making the embedded data set", total=settings.classes * clips_per_class)
            return kaggle.sources(synthetic.make(root, settings, lambda clips: bar.advance(task, clips)))
    if data.name == "folders":
        return []
    if data.name == "csv":
        return csv_table.sources(data, root)
    if data.name == "fsdkaggle2018":
        from audiotag.data.sources import fsdkaggle2018

        if data.download and not fsdkaggle2018.is_present(root):
            fsdkaggle2018.fetch(root)
        train, test, train_audio, test_audio = fsdkaggle2018.tables(root)
        return [TableSource(train, train_audio, "train"), TableSource(test, test_audio, "test")]
    return kaggle.sources(root)


def check_tables(config: TrainConfig) -> None:
    """Raise DataError where the tables of a data set cannot be read; nothing is made or downloaded for it."""
    if config.data.name != "synthetic" and not config.data.download:
        read_rows(config)


def read_rows(config: TrainConfig) -> tuple[Rows, list[str], Path]:
    """Read the tables of a data set without its audio: rows, class list, root."""
    root, data = data_root(config), config.data
    if data.name == "folders":
        rows = Rows(class_rows(root))
        return *checked_rows(rows, root, data.classes, data.allow_outside, unlabelled=True), root
    tables = sources(data, root)
    rows, classes = read_tables(
        tables, data.columns, data.group, root, data.classes, data.allow_outside, data.unlabelled
    )
    return rows, classes, root


def build_manifest(config: TrainConfig) -> Manifest:
    """Read tables and audio files, check them all, and assign folds.

    Raises DataError with every problem found, file and line, or leaves those rows out (`data.on_bad_clip=skip`).
    """
    checked = check_data(config, _scan)
    rows, root = checked.rows, checked.root
    refuse(rows, checked.problems, config.data.on_bad_clip == "skip")
    assert checked.frame is not None
    assert checked.corrections is not None
    if rows.left_out:
        console.print(f"{len(rows.left_out)} test rows with neither label nor file are left out", soft_wrap=True)
    without = int((checked.frame["split"] == UNLABELLED).sum())
    if without:
        note = "predict.py run=NAME split=unlabelled labels them"
        console.print(f"{without} clips without a label are not trained on: {note}", soft_wrap=True)
    say_applied(checked.corrections)
    frame = checked.frame
    found_scans = [checked.scans[root / path] for path in frame["path"]]
    frame = frame.assign(
        duration_s=[scan.duration_s for scan in found_scans], content_hash=[scan.content_hash for scan in found_scans]
    )
    frame = frame[COLUMNS].sort_values(["split", "clip_id"], ascending=[False, True])
    skipped = rows.problems + dropped_problems(checked.corrections)
    labels, applied = checked.labels, checked.corrections[CORRECTIONS]
    frame = frame.reset_index(drop=True)
    manifest = Manifest(frame, labels.classes, root, skipped, labels.truth, labels.injected, applied, checked.scans)
    twins = manifest.train["content_hash"].duplicated(keep=False).sum()
    if twins:
        note = "a fold trains on none whose twin it holds out"
        console.print(
            Text("same audio:", "yellow"),
            f"{twins} training clips are byte for byte another one; {note}",
            soft_wrap=True,
        )
    return manifest


@dataclass(frozen=True)
class Checked:
    """Everything that is said of a data set before training.

    `rows` hold what is wrong with single rows and files, `problems` what leaving those out does not solve. `frame` are
    the usable rows, folds and corrections in them, `corrections` what a person decided; None where there are problems.
    """

    labels: Labels
    root: Path
    scans: dict[Path, Scan]
    problems: list[str]
    frame: pd.DataFrame | None
    corrections: pd.DataFrame | None

    @property
    def rows(self) -> Rows:
        """Rows of the tables, with the noise that was asked for."""
        return self.labels.rows


def check_data(
    config: TrainConfig, scan: Callable[[Rows, Path, TrainConfig], dict[Path, Scan]], in_any_case: bool = False
) -> Checked:
    """Read tables and audio files, the latter by `scan`, and gather what is wrong with them.

    Where the table of right labels is refused, no audio is read unless `in_any_case`: that may take hours.

    Noise is put in first: a person corrects the labels that a run was given. Raises DataError only where the tables
    cannot be read at all.
    """
    rows, classes, root = read_rows(config)
    problems: list[str] = []  # those that leaving out rows does not solve
    given = Labels(rows, classes, gathered(problems, lambda: read_known(config, root, rows)))
    folders = Folders()
    match_files(rows, root, folders, config.data.allow_outside)
    scans = (_look if problems and not in_any_case else scan)(rows, root, config)
    problems += _leave_out(rows, root, scans, folders, config.data.on_bad_clip == "skip")
    labels = gathered(problems, lambda: with_noise(given, config.data, config.seed, root)) or given
    rows, classes = labels.rows, labels.classes
    decided = gathered(problems, lambda: read_corrections(config, rows.readable, classes, root))
    frame, applied = None, None
    planned = gathered(problems, lambda: plan_folds(rows, classes, config))
    if planned is not None:
        corrected = gathered(problems, lambda: apply_corrections(planned, decided, config, classes))
        frame, applied = (None, None) if corrected is None else corrected
    return Checked(labels, root, scans, problems, frame, applied)


def refuse(rows: Rows, problems: list[str], skip: bool) -> None:
    """Raise DataError with everything that is wrong; with `skip`, only where leaving rows out does not help."""
    skipped = rows.problems
    if problems or (skipped and not skip):
        found = [*(() if skip else map(str, skipped)), *problems]
        advice = _advice(problems, bool(skipped) and not skip)
        if any(NO_LABEL_TOLD in problem for problem in found):
            advice += " Clips that are to be labelled by the networks, and not trained on, need data.unlabelled=true."
        if len(found) > FIRST + LAST:
            advice += " python -m audiotag.doctor, with the same settings of data and out=DIR, lists them all."
        raise DataError(f"{len(found)} problems in the data set:", found, advice)
    if skipped:
        console.print(
            Text("left out:", "yellow"), f"{len(skipped)} rows or files that cannot be used (see summary.json)"
        )


FEW_VERIFIED = re.compile(r"class .*: (\d+) verified clips, \d+ folds")


def _advice(problems: list[str], skipping_helps: bool) -> str:
    """Return what to do about problems, of rows and files where `skipping_helps`, and of classes."""
    advice = []
    if skipping_helps:
        advice.append("Correct these, or set data.on_bad_clip=skip to leave out rows and files that cannot be used.")
    verified = [int(found[1]) for problem in problems if (found := FEW_VERIFIED.search(problem))]
    if verified and min(verified) > 1:
        advice.append(f"Set folds={min(verified)}, or check more labels of these classes by ear.")
    elif verified:
        advice.append("Every class needs a checked clip in each of two folds or more: check labels, or leave it out.")
    return " ".join(advice or ["Correct these."])


def plan_folds(rows: Rows, classes: list[str], config: TrainConfig) -> pd.DataFrame:
    """Return the usable rows with their fold, "" for test clips; raises DataError where folds cannot be made."""
    frame = rows.usable
    train = frame[frame["split"] == "train"]
    problems = [
        f"none of the {n} {split} clips can be used" + _for_example(rows, str(split))
        for split, n in rows.frame[rows.frame["label"] != ""]["split"].value_counts().items()
        if split in ("train", "test") and not (frame["split"] == split).any()
    ]
    if train.empty and not problems:
        problems = ["there are no training clips"]
    if "clip_id" in classes:
        problems.append("class clip_id: tables of posteriors have a column of that name already")
    if len(classes) < 2:
        problems.append(f"there is nothing to tell apart: {len(classes)} classes ({', '.join(classes)})")
    if config.finetune_rounds > 0 and not train.empty and not (train["verified"] == "0").any():
        problems.append(
            "there is nothing to verify: every training label is verified (set finetune_rounds=0 to only train)"
        )
    fold = None if train.empty else gathered(problems, lambda: assign_folds(train, config.folds, config.seed, classes))
    if problems or fold is None:
        raise DataError("Folds cannot be made:", problems)
    return frame.assign(fold=fold.astype(str).reindex(frame.index).fillna(""))


def _for_example(rows: Rows, split: str) -> str:
    """Say what is wrong with the first row of a split, "" where nothing is known of any."""
    of_split = rows.frame.index[rows.frame["split"] == split]
    first = min(rows.faults.keys() & set(of_split), default=None)
    return "" if first is None else f"; the first: {rows.frame['path'][first]}: {'; '.join(rows.faults[first])}"


def _scan(rows: Rows, root: Path, config: TrainConfig) -> dict[Path, Scan]:
    return scan_files([root / p for p in rows.readable["path"]], Path(config.cache_dir), config.hardware.workers)


def _look(rows: Rows, root: Path, config: TrainConfig) -> dict[Path, Scan]:
    """Return which files are there, without reading them."""
    return {root / path: state_of(root / path) for path in rows.readable["path"]}


def match_files(rows: Rows, root: Path, folders: Folders, allow_outside: bool) -> None:
    """Let rows name the files that are meant: as they are written on the disk, and each once."""
    paths = rows.readable["path"]
    found = paths.map(lambda path: relative(folders.find(root / path), root))
    rows.frame = rows.frame.assign(path=found.reindex(rows.frame.index).fillna(rows.frame["path"]))
    if not allow_outside:
        blame_outside(rows, root)  # what is found in place of a name may be a link
    blame_same_file(rows)


def _leave_out(rows: Rows, root: Path, scans: dict[Path, Scan], folders: Folders, skip: bool) -> list[str]:
    """Blame rows for their files; return a problem per missing folder where rows are not to be skipped one by one."""
    frame = rows.readable
    scan = pd.Series([scans[root / path] for path in frame["path"]], index=frame.index, dtype=object)
    missing = scan.map(lambda s: s.problem == MISSING).astype(bool)
    # The challenge's test table names thousands of clips that nobody scores, and not every copy has their audio.
    rows.left_out |= set(frame.index[missing & (frame["split"] == "test") & (frame["label"] == "")])
    gone: Counter[Path] = Counter()
    if not skip:
        parents = pd.Series([(root / path).parent for path in frame["path"]], index=frame.index, dtype=object)
        absent = {folder for folder in set(parents[missing]) if not folder.is_dir()}
        in_absent = missing & parents.isin(absent) & ~frame.index.isin(rows.left_out)
        gone.update(parents[in_absent])
        rows.left_out |= set(frame.index[in_absent])
    bad = scan.map(lambda s: s.problem != "").astype(bool) & ~frame.index.isin(rows.left_out)
    rows.mark_invalid(
        bad, scan[bad].map(lambda s: s.problem + (folders.near(Path(s.path)) if s.problem == MISSING else ""))
    )
    return [f"{folder}: there is no such folder, and {n} rows name files in it" for folder, n in sorted(gone.items())]


def read_known(config: TrainConfig, root: Path, rows: Rows) -> pd.Series | None:
    """Return the right labels that come with the data set, by clip id; raises DataError where they are of others."""
    data = config.data
    if data.name == "synthetic" and data.truth is None:
        return read_labels(root / "truth.csv", "fname", "label")
    if data.truth is None:
        return None
    truth = read_truth(data.truth, root, data)
    if not rows.frame["clip_id"].isin(truth.index).any():
        raise DataError(
            "The table of right labels is of other clips:",
            [f"data.truth={data.truth}: its {data.columns.clip} names none of the clips"],
        )
    return truth


def read_truth(name: str, root: Path, data: Data) -> pd.Series:
    """Read the table of right labels; raises DataError where it is missing or ambiguous."""
    path = csv_table.find(name, root)
    if not path.is_file():
        raise DataError("The table of right labels is missing:", [f"data.truth={name}: not here, nor in {root}"])
    return read_labels(path, data.columns.clip, data.columns.label)


def save_manifest(manifest: Manifest, path: Path) -> None:
    """Write `manifest.csv`."""
    write_csv(path, manifest.frame)


def save_truth(manifest: Manifest, folder: Path) -> None:
    """Write `truth.csv`, the right labels of clips where they are known, and `noise.csv`, what was made wrong."""
    if manifest.truth is not None:
        known = manifest.frame["clip_id"][manifest.frame["clip_id"].isin(manifest.truth.index)]
        write_csv(folder / "truth.csv", pd.DataFrame({"clip_id": known, "label": manifest.truth[known].to_numpy()}))
    if manifest.injected is not None:
        write_csv(folder / "noise.csv", manifest.injected)

"""The manifest: one row per clip, with its label, fold, duration and content hash."""

from __future__ import annotations

import functools
from dataclasses import dataclass, field
from pathlib import Path

import pandas as pd
from rich.text import Text

from audiotag.config import TrainConfig
from audiotag.console import as_called, console
from audiotag.data.checking import check_data, refuse
from audiotag.data.clips import UNLABELLED, Problem
from audiotag.data.corrections import CORRECTION_COLUMNS, NO_CORRECTIONS, dropped_problems, say_applied
from audiotag.data.manifest_file import MANIFEST_COLUMNS, training_clips
from audiotag.data.scan import Scan, scan_files
from audiotag.files import write_csv


@dataclass(frozen=True)
class Manifest:
    """Clips (columns `MANIFEST_COLUMNS`, `verified` a bool), the class list, and what was left out.

    `path` is relative to `root` where the file lies below it. `truth` holds right labels by clip id; it is used to
    measure what verification accepted, and for nothing else. `injected` are the labels that `data.noise` made wrong
    (clip_id, label, right_label). `corrections` (columns `CORRECTION_COLUMNS`) is what a person has decided, applied
    already. `scans` are of all files that the tables name.
    """

    frame: pd.DataFrame
    classes: list[str]
    root: Path
    skipped: list[Problem] = field(default_factory=list)
    truth: pd.Series | None = None
    injected: pd.DataFrame | None = None
    corrections: pd.DataFrame = field(default_factory=NO_CORRECTIONS.copy)
    scans: dict[Path, Scan] = field(default_factory=dict)

    @functools.cached_property
    def train(self) -> pd.DataFrame:
        """Training clips, indexed by clip id, `fold` as a number."""
        return training_clips(self.frame)

    @property
    def unverified(self) -> pd.DataFrame:
        """Unverified training clips, indexed by clip id."""
        return self.train[~self.train["verified"]]


def build_manifest(config: TrainConfig) -> Manifest:
    """Read tables and audio files, check them all, and assign folds.

    Raises DataError with every problem found, file and line, or leaves those rows out (`data.on_bad_clip=skip`).
    """
    checked = check_data(config, lambda paths: scan_files(paths, Path(config.cache_dir), config.hardware.workers))
    refuse(checked, config.data.on_bad_clip == "skip")
    frame, applied = checked.frame, checked.corrections
    assert frame is not None
    assert applied is not None
    if checked.clips.left_out:
        console.print(
            f"{len(checked.clips.left_out)} test rows with neither label nor file are left out", soft_wrap=True
        )
    if without := (frame["split"] == UNLABELLED).sum():
        note = as_called("predict.py run=NAME split=unlabelled labels them")
        console.print(f"{without} clips without a label are not trained on: {note}", soft_wrap=True)
    say_applied(applied)
    scans = [checked.scans[checked.root / path] for path in frame["path"]]
    frame = frame.assign(
        duration_s=[scan.duration_s for scan in scans], content_hash=[scan.content_hash for scan in scans]
    )
    manifest = Manifest(
        frame[MANIFEST_COLUMNS].sort_values(["split", "clip_id"], ascending=[False, True], ignore_index=True),
        checked.labels.classes,
        checked.root,
        checked.clips.problems + dropped_problems(applied),
        checked.labels.truth,
        checked.labels.injected,
        applied[CORRECTION_COLUMNS],
        checked.scans,
    )
    duplicates = manifest.train["content_hash"].duplicated(keep=False).sum()
    if duplicates:
        note = "a fold trains on none of which it holds out a copy"
        message = f"{duplicates} training clips are byte for byte another one; {note}"
        console.print(Text("same audio:", "yellow"), message, soft_wrap=True)
    return manifest


def save_truth(manifest: Manifest, folder: Path) -> None:
    """Write `truth.csv`, the right labels of clips where they are known, and `noise.csv`, what was made wrong."""
    if manifest.truth is not None:
        known = manifest.frame["clip_id"][manifest.frame["clip_id"].isin(manifest.truth.index)]
        write_csv(folder / "truth.csv", pd.DataFrame({"clip_id": known, "label": manifest.truth[known].to_numpy()}))
    if manifest.injected is not None:
        write_csv(folder / "noise.csv", manifest.injected)

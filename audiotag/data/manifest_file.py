"""`manifest.csv`: written and read here alone, so that what is 0 and 1 on the disk is a bool in the program."""

from __future__ import annotations

from pathlib import Path

import pandas as pd

from audiotag.files import csv_text, write_text

MANIFEST_COLUMNS = ["clip_id", "path", "label", "verified", "fold", "split", "usage", "group"]
MANIFEST_COLUMNS += ["duration_s", "content_hash"]


def with_flags(clips: pd.DataFrame) -> pd.DataFrame:
    """Return clips (columns verified, split) with `verified` as 1 and 0, and nothing for those not trained on."""
    flags = clips["verified"].map({True: "1", False: "0"})
    return clips.assign(verified=flags.where(clips["split"] == "train", ""))


def manifest_text(clips: pd.DataFrame) -> str:
    """Return clips as `manifest.csv` holds them."""
    return csv_text(with_flags(clips))


def write_manifest(path: Path, clips: pd.DataFrame) -> None:
    """Write `manifest.csv`."""
    write_text(path, manifest_text(clips))


def read_manifest(path: Path) -> pd.DataFrame:
    """Return every clip, all text but `verified`; raises ValueError or LookupError if the file is damaged."""
    clips = pd.read_csv(path, dtype=str, keep_default_na=False)
    training_clips(clips)  # their folds must be numbers
    return clips.assign(verified=clips["verified"] == "1")


def training_clips(clips: pd.DataFrame) -> pd.DataFrame:
    """Return the training clips, indexed by clip id, `fold` as a number."""
    train = clips[clips["split"] == "train"].set_index("clip_id")
    return train.assign(fold=train["fold"].astype(int))

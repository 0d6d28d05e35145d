"""The labels that networks contradict, ranked, and `review.csv`, in which a person decides on them."""

from __future__ import annotations

import itertools
from pathlib import Path

import pandas as pd

from audiotag.files import write_csv

COLUMNS = ["rank", "clip_id", "path", "label", "predicted", "posterior_label", "posterior_predicted", "round", "fold"]
COLUMNS += ["reason", "decision"]
FILE = "review.csv"


def disagreements(decided: pd.DataFrame, posteriors: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Return the clips of one round's ledger whose predicted label is not the given one, as `review.csv` has them.

    Ranked by the posterior of the predicted class, highest first: what the networks contradict most surely.
    `posteriors` are those of the unverified clips, `train` the training clips, both by clip id.
    """
    rows = decided[decided["predicted"] != decided["label"]]
    predicted = [posteriors.at[clip, label] for clip, label in zip(rows["clip_id"], rows["predicted"], strict=True)]
    rows = rows.rename(columns={"posterior": "posterior_label"}).assign(
        posterior_predicted=pd.Series(predicted, index=rows.index, dtype=float),
        path=train.loc[rows["clip_id"], "path"].to_numpy(),
        decision="",
    )
    rows = rows.sort_values(["posterior_predicted", "clip_id"], ascending=[False, True], ignore_index=True)
    return rows.assign(rank=rows.index + 1)[COLUMNS]


def write_review(folder: Path, ranked: pd.DataFrame) -> Path:
    """Write `review.csv`, or keep it where a person has written into it: then `review-new.csv` and so on is written.

    Returns the file that holds these rows. One that differs from them only in its decisions is left as it is.
    """
    names = itertools.chain([FILE, "review-new.csv"], (f"review-new-{i}.csv" for i in itertools.count(2)))
    path = next(folder / name for name in names if not _by_person(folder / name) or _same_rows(folder / name, ranked))
    if not _by_person(path):
        write_csv(path, ranked)
    return path


def _by_person(path: Path) -> bool:
    """Say whether somebody has worked on the file: a decision is filled in, or it is not as it was written."""
    if not path.exists():
        return False
    table = _read(path)
    return table is None or bool((table["decision"].str.strip() != "").any())


def _same_rows(path: Path, ranked: pd.DataFrame) -> bool:
    table = _read(path)
    if table is None:
        return False
    written = ranked.map(lambda value: f"{value:.6f}" if isinstance(value, float) else str(value))
    shared = COLUMNS[:-1]
    return bool(table[shared].to_numpy().tolist() == written[shared].to_numpy().tolist())


def _read(path: Path) -> pd.DataFrame | None:
    """Return the file's rows as text; None where they are not in its own columns any more."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError):  # another encoding, or no table: a spreadsheet program has had it
        return None
    return table if list(table.columns) == COLUMNS else None

"""The labels that networks contradict, ranked, and `review.csv`, in which a person decides on them."""

from __future__ import annotations

import io
import itertools
from collections.abc import Mapping
from pathlib import Path

import numpy as np
import pandas as pd

from audiotag.data.tables import read_table
from audiotag.errors import DataError
from audiotag.files import csv_text, write_text
from audiotag.verification.rules import DIFFERS

REVIEW_COLUMNS = [
    "rank",
    "clip_id",
    "path",
    "label",
    "predicted",
    "posterior_label",
    "posterior_predicted",
    "p_right",
    "round",
    "fold",
]
REVIEW_COLUMNS += ["reason", "decision"]
FILE = "review.csv"
DESK = "desk"  # the listening desk's folder within the run's
DESK_FILE = f"{DESK}/corrections.csv"
CHECKED = f"verified, {DIFFERS}"  # the reason of a row whose label a person has checked before
EARLIER = "decided for this run"  # of one about which `data.corrections` has decided


def disagreements(decided: pd.DataFrame, posteriors: pd.DataFrame, train: pd.DataFrame) -> pd.DataFrame:
    """Return the clips of one round's ledger whose predicted label is not the given one, as `review.csv` has them.

    Ranked by what a decision of a person tells: labels that are as probably right as wrong (`p_right`) first, of equals
    those that the networks contradict most surely. `posteriors` are those of the unverified clips, `train` the training
    clips, both by clip id.
    """
    rows = decided[decided["predicted"] != decided["label"]]
    predicted = [posteriors.at[clip, label] for clip, label in zip(rows["clip_id"], rows["predicted"], strict=True)]
    rows = rows.rename(columns={"posterior": "posterior_label"}).assign(
        posterior_predicted=pd.Series(predicted, index=rows.index, dtype=float),
        path=train.loc[rows["clip_id"], "path"].to_numpy(),
        decision="",
    )
    doubt = rows["p_right"] * (1 - rows["p_right"])
    rows = rows.assign(doubt=doubt.fillna(0)).sort_values(
        ["doubt", "posterior_predicted", "clip_id"], ascending=[False, False, True], ignore_index=True
    )
    return rows.assign(rank=rows.index + 1)[REVIEW_COLUMNS]


def checked_disagreements(posteriors: pd.DataFrame, train: pd.DataFrame, judged: set[str], round_: int) -> pd.DataFrame:
    """Return the verified clips whose label one round's networks contradict, ranked like `disagreements`.

    `posteriors` are those of the held-out verified clips. Clips that a person has `judged` are left out.
    """
    posteriors = posteriors[~posteriors.index.isin(judged)]
    clips = train.loc[posteriors.index, ["label", "fold"]].rename_axis("clip_id").reset_index()
    codes = posteriors.columns.get_indexer(pd.Index(clips["label"]))
    decided = clips.assign(
        predicted=posteriors.columns.to_numpy()[posteriors.to_numpy().argmax(axis=1)],
        posterior=posteriors.to_numpy()[np.arange(len(codes)), codes],
        p_right=np.nan,
        round=round_,
        reason=CHECKED,
    )
    return disagreements(decided, posteriors, train)


def earlier_decisions(corrections: pd.DataFrame) -> pd.DataFrame:
    """Return what a run's own corrections decided, as rows of `review.csv`: one file then holds all decisions."""
    return corrections.reindex(columns=REVIEW_COLUMNS).assign(reason=EARLIER)


def review_table(parts: list[pd.DataFrame]) -> pd.DataFrame:
    """Return one table of all parts, ranked in their order."""
    table = pd.concat([part for part in parts if len(part)] or parts[:1], ignore_index=True)
    return table.assign(rank=table.index + 1)[REVIEW_COLUMNS]


def write_review(folder: Path, ranked: pd.DataFrame) -> Path:
    """Write `review.csv`, or keep it where a person has written into it: then `review-new.csv` and so on is written.

    Returns the file that holds these rows. One that differs from them only in its decisions is left as it is.
    """
    names = itertools.chain([FILE, "review-new.csv"], (f"review-new-{i}.csv" for i in itertools.count(2)))
    path = next(folder / name for name in names if not _by_person(folder / name) or _same_rows(folder / name, ranked))
    if not _by_person(path):
        write_text(path, csv_text(ranked))
    return path


def decisions(path: Path, labels: Mapping[str, str]) -> dict[str, str]:
    """Return the decisions in a review file by clip id, as written; none of a file that cannot be read.

    `labels` are those of the data set by clip id: a row with another one, or of another clip, is passed over.
    """
    if not path.is_file():
        return {}
    try:
        table, _ = read_table(path, {"clip_id": "clip_id", "decision": "decision"})
    except DataError:  # training says what is wrong with it
        return {}
    here = table["clip_id"].map(labels)
    given = table.get("label", here)
    fitting = (table["decision"] != "") & here.notna() & ((given == here) | (given == ""))
    return dict(zip(table["clip_id"][fitting], table["decision"][fitting], strict=True))


def _by_person(path: Path) -> bool:
    """Return whether somebody has worked on the file: a decision is filled in, or it is not as it was written."""
    if not path.exists():
        return False
    table = _read(path)
    return table is None or bool(((table["decision"].str.strip() != "") & (table["reason"] != EARLIER)).any())


def _same_rows(path: Path, ranked: pd.DataFrame) -> bool:
    table = _read(path)
    written = pd.read_csv(io.StringIO(csv_text(ranked)), dtype=str, keep_default_na=False)
    return table is not None and table[REVIEW_COLUMNS[:-1]].equals(written[REVIEW_COLUMNS[:-1]])


def _read(path: Path) -> pd.DataFrame | None:
    """Return the file's rows as text; None where they are not in its own columns any more."""
    try:
        table = pd.read_csv(path, dtype=str, keep_default_na=False)
    except (ValueError, OSError):  # another encoding, or no table: a spreadsheet program has had it
        return None
    return table if list(table.columns) == REVIEW_COLUMNS else None

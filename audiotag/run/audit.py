"""The audit of accepted labels: a random sample of them is heard, and bounds what share is right, without assumptions.

Shapes: N accepted labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audiotag.data.tables import read_table
from audiotag.errors import DataError
from audiotag.randomness import generator
from audiotag.run.folder import RunFolder
from audiotag.verification.ledger import by_rule

FILE = "audit.csv"
COLUMNS = ["clip_id", "path", "label", "round", "verdict"]
RIGHT, WRONG, UNSURE = "right", "wrong", "unsure"
CONFIDENCE = 0.95
MOST_MORE = 100_000
OFFSET_DEVIATION = 1.0  # in logits, of the prior of how far the estimated probabilities are off


def draw(folder: RunFolder, ledger: pd.DataFrame, n: int, seed: int) -> pd.DataFrame:
    """Return n of the labels that a round's ledger accepted (columns `COLUMNS`), at random, or all if there are fewer.

    More of them begin with the same ones, so that an audit can be carried on.
    """
    rows = by_rule(ledger)
    accepted = rows[rows["accepted"] == 1].sort_values("clip_id", ignore_index=True)
    order = generator(seed, "audit").permutation(len(accepted))[:n]
    drawn = accepted.loc[order, ["clip_id", "label", "round"]].reset_index(drop=True)
    paths = folder.train.loc[drawn["clip_id"], "path"].to_numpy()
    return drawn.assign(path=paths, verdict="")[COLUMNS]


def with_verdicts(drawn: pd.DataFrame, earlier: pd.DataFrame) -> pd.DataFrame:
    """Return a sample with the verdicts that the same labels were given earlier, and below it those of other rounds."""
    given = earlier.drop_duplicates(["clip_id", "label"]).set_index(["clip_id", "label"])["verdict"]
    keys = pd.MultiIndex.from_frame(drawn[["clip_id", "label"]])
    drawn = drawn.assign(verdict=given.reindex(keys).fillna("").to_numpy(), round=drawn["round"].astype(str))
    others = earlier[~earlier["round"].isin(drawn["round"]) & (earlier["verdict"] != "")]
    return pd.concat([drawn, others], ignore_index=True)


def read_sample(path: Path) -> pd.DataFrame:
    """Return a sample (columns `COLUMNS`, all text); raises DataError for other verdicts than the three, and damage."""
    table, problems = read_table(path, {name: name for name in COLUMNS})
    verdicts = table["verdict"].str.strip().str.lower()
    for line, verdict in verdicts.items():
        if verdict not in (RIGHT, WRONG, UNSURE, ""):
            problems.append(f"{path}:{line}: verdict {verdict} is none of {RIGHT}, {WRONG}, {UNSURE}")
    twice = table["clip_id"][table.duplicated(["clip_id", "round"])]
    problems += [f"{path}: {clip} stands there twice" for clip in twice]
    if problems:
        raise DataError("The audit cannot be read:", problems, f"Mend the rows, or delete {path} and draw anew.")
    return table[COLUMNS].assign(verdict=verdicts).reset_index(drop=True)


def lower_bound(right: int, heard: int, confidence: float = CONFIDENCE) -> float:
    """Return the share of right labels that is reached with this confidence (Clopper and Pearson 1934, one-sided)."""
    from scipy.stats import beta  # here: half a second, and few commands need it

    return float(beta.ppf(1 - confidence, right, heard - right + 1)) if right else 0.0


def more_to_hear(right: int, heard: int, precision: float) -> int | None:
    """Return how many more labels would bound the share at a precision if all of them were right; None if too many."""
    if lower_bound(right, heard) >= precision:
        return 0
    low, high = 1, MOST_MORE
    if lower_bound(right + high, heard + high) < precision:
        return None
    while low < high:  # the bound rises with every right one
        middle = (low + high) // 2
        enough = lower_bound(right + middle, heard + middle) >= precision
        low, high = (low, middle) if enough else (middle + 1, high)
    return low


def recalibrated(p_right: pd.Series, verdicts: pd.Series) -> pd.Series:
    """Return the probabilities (N,), by clip id, moved by what was heard: one offset of all logits, fitted to verdicts.

    `verdicts` are True or False by clip id. The prior of the offset is normal, so that a few verdicts move it little.
    """
    from scipy.optimize import minimize_scalar

    logits = np.log(p_right.clip(1e-3, 1 - 1e-3)) - np.log1p(-p_right.clip(1e-3, 1 - 1e-3))
    heard, right = logits.loc[verdicts.index].to_numpy(), verdicts.to_numpy(bool)

    def surprise(offset: float) -> float:
        likelihood = np.logaddexp(0, np.where(right, -1, 1) * (heard + offset)).sum()
        return float(likelihood + 0.5 * (offset / OFFSET_DEVIATION) ** 2)

    offset = minimize_scalar(surprise, bounds=(-10, 10), method="bounded", options={"xatol": 1e-6}).x
    return 1 / (1 + np.exp(-(logits + offset)))


def audit_figures(folder: RunFolder, ledger: pd.DataFrame, precision: float) -> dict[str, Any]:
    """Return what the verdicts in a run's `audit.csv` say of the labels that a ledger accepts; {} without verdicts.

    Labels that nobody is sure of count as wrong. Verdicts on labels that are not accepted any more do not count. Raises
    DataError if the file cannot be read.
    """
    path = folder.path / FILE
    if not path.is_file():
        return {}
    sample = read_sample(path)
    rows = by_rule(ledger).set_index("clip_id")
    sample = sample[sample["round"].isin(rows["round"].astype(str))]
    rows = rows[rows["accepted"] == 1]
    fitting = sample["clip_id"].isin(rows.index) & (sample["clip_id"].map(rows["label"]) == sample["label"])
    heard = sample[fitting & (sample["verdict"] != "")].set_index("clip_id")["verdict"]
    if heard.empty:
        return {}
    counts = {verdict: int((heard == verdict).sum()) for verdict in (RIGHT, WRONG, UNSURE)}
    p_right = rows["p_right"].dropna()
    moved = recalibrated(p_right, heard[heard.index.isin(p_right.index)] == RIGHT).mean() if len(p_right) else None
    return {
        "round": int(rows["round"].iloc[0]),
        "heard": len(heard),
        **counts,
        "confidence": CONFIDENCE,
        "precision_at_least": round(lower_bound(counts[RIGHT], len(heard)), 6),
        "precision_aimed_at": precision,
        "more_to_hear": more_to_hear(counts[RIGHT], len(heard), precision),
        "expected_precision": None if moved is None else round(float(p_right.mean()), 6),
        "expected_precision_now": None if moved is None else round(float(moved), 6),
    }

"""The audit of accepted labels: a random sample of them is heard, and bounds what share is right, without assumptions.

Shapes: N accepted labels.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from audiotag.data.tables import read_table
from audiotag.errors import DataError, RunError
from audiotag.files import check_folder, write_csv, write_json
from audiotag.randomness import generator
from audiotag.run.folder import RunFolder
from audiotag.run.ledgers import all_ledgers
from audiotag.verification.ledger import by_rule

FILE = "audit.csv"
COLUMNS = ["clip_id", "path", "label", "round", "verdict"]
RIGHT, WRONG, UNSURE = "right", "wrong", "unsure"
FIRST = 60  # labels to hear; 59 right ones of 59 give 95 % at 95 % confidence
CONFIDENCE = 0.95
MOST_MORE = 100_000
OFFSET_DEVIATION = 1.0  # in logits, of the prior of how far the estimated probabilities are off


def ledger_to_audit(folder: RunFolder, round_: int | str) -> pd.DataFrame:
    """Return what a round has decided, or the best one; raises RunError if it is not complete."""
    complete = [] if folder.config.data.train_on_all else folder.complete_rounds()
    chosen = folder.summary.get("best_round") if round_ == "best" else int(round_)
    if chosen is None or chosen not in complete:
        done = ", ".join(map(str, complete)) or "none"
        raise RunError(f"{folder.path}: round {round_} has no decisions to audit (complete rounds: {done})")
    return all_ledgers(folder, [chosen], folder.config.verification)


def write_sample(folder: RunFolder, ledger: pd.DataFrame, n: int | None) -> pd.DataFrame:
    """Draw n of the labels that a ledger accepts into `audit.csv`, and return them; verdicts in the file are kept.

    No fewer than were drawn before; `n` None: as many, or `FIRST`. Raises RunError if none was accepted.
    """
    check_folder("run", folder.path, "the audit is written into the run: set run= to a copy of it")
    path, earlier = folder.path / FILE, None
    if path.is_file():
        earlier = read_sample(path)
    there = 0 if earlier is None else int((earlier["round"] == str(ledger["round"].iloc[0])).sum())
    drawn = draw(folder, ledger, max(n or 0, there) or FIRST, folder.config.seed)
    if drawn.empty:
        raise RunError(f"{folder.path}: round {ledger['round'].max()} accepted no label, so there is nothing to hear")
    write_csv(path, drawn if earlier is None else with_verdicts(drawn, earlier))
    return drawn


def write_verdict(folder: RunFolder, clip_id: str, round_: int, verdict: str) -> None:
    """Write a verdict on a label of the sample into `audit.csv`, "" to take it back; raises DataError for damage."""
    path = folder.path / FILE
    sample = read_sample(path)
    rows = (sample["clip_id"] == clip_id) & (sample["round"] == str(round_))
    sample.loc[rows, "verdict"] = verdict
    write_csv(path, sample)


def keep_figures(folder: RunFolder, ledger: pd.DataFrame, precision: float) -> dict[str, Any]:
    """Return `audit_figures`, and keep them in the run's summary."""
    figures = audit_figures(folder, ledger, precision)
    if folder.summary_file.is_file() and (figures or "audit" in folder.summary):
        write_json(folder.summary_file, {**folder.summary, "audit": figures})
    return figures


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


def statements(figures: dict[str, Any], drawn: int) -> list[str]:
    """Return what figures say, of so many labels that were drawn, a line each."""
    at_least, more = figures["precision_at_least"], figures["more_to_hear"]
    lines = [
        f"Heard {figures['heard']} of {drawn}: {figures['right']} right, {figures['wrong']} wrong, "
        f"{figures['unsure']} unsure (these count as wrong).",
        f"Of the labels that round {figures['round']} accepted {at_least:.1%} at least are right (exact bound of "
        f"Clopper and Pearson, confidence {figures['confidence']:.0%}).",
    ]
    if figures["expected_precision"] is not None:
        lines.append(
            f"The networks expected {figures['expected_precision']:.1%}; after what was heard "
            f"{figures['expected_precision_now']:.1%} are to be expected."
        )
    n = figures["heard"] + (more or 0)
    return [*lines, more_to_hear_for(figures) + (f" n={n} draws them." if n > drawn else "")]


def more_to_hear_for(figures: dict[str, Any]) -> str:
    """Return what is missing for the precision that was asked for, in a sentence."""
    aim, more = f"{figures['precision_aimed_at']:.0%}", figures["more_to_hear"]
    if more == 0:
        return f"That is the {aim} asked for."
    if more is None:
        return f"{aim} is out of reach: too many of them are wrong."
    return f"For {aim}, {more} more have to be heard if all are right."

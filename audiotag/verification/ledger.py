"""The ledger: one row per unverified clip and round, with the decision and its reason."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import pandas as pd

from audiotag.config import Verification
from audiotag.errors import RunError
from audiotag.verification.confident_learning import label_issues
from audiotag.verification.rule import decide, fit_temperature, sharpen

POSTERIORS, VERIFIED_POSTERIORS = "posteriors.parquet", "verified_posteriors.parquet"  # of a cell's folder
COLUMNS = ["round", "fold", "clip_id", "label", "predicted", "posterior", "accepted", "reason"]


@dataclass(frozen=True)
class Votes:
    """One fold's consensus posteriors (columns `clip_id` and the classes): unverified clips, and verified ones."""

    unverified: pd.DataFrame
    verified: pd.DataFrame


def decide_round(
    round_: int, votes: dict[int, Votes], train: pd.DataFrame, classes: list[str], verification: Verification
) -> pd.DataFrame:
    """Return the ledger of one round: the rule, applied to all folds' votes together.

    `train` are the training clips by id. `posterior` is what the rule compared with its threshold: with
    `verification.calibrate`, the calibrated one. Raises RunError where votes are missing or of other clips.
    """
    _check_votes(votes, train)
    rows, scores = [], []
    for fold, vote in sorted(votes.items()):
        scores.append(calibrated(vote, train, classes) if verification.calibrate else _values(vote.unverified, classes))
        rows.append(pd.DataFrame({"fold": fold, "clip_id": vote.unverified["clip_id"]}))
    ledger = pd.concat(rows, ignore_index=True)
    order = ledger["clip_id"].argsort(kind="stable")
    ledger, posteriors = ledger.loc[order].reset_index(drop=True), np.concatenate(scores)[order]

    labels = _codes(train.loc[ledger["clip_id"], "label"], classes)
    rule = verification
    flags = label_issues(posteriors, labels, rule.confident_learning) if rule.confident_learning else None
    accepted, reasons = decide(posteriors, labels, rule.threshold, rule.cap, rule.agreement, flags)
    return ledger.assign(
        round=round_,
        label=np.array(classes, dtype=object)[labels],
        predicted=np.array(classes, dtype=object)[posteriors.argmax(axis=1)],
        posterior=posteriors[np.arange(len(labels)), labels],
        accepted=accepted.astype(int),
        reason=reasons,
    )[COLUMNS]


def _check_votes(votes: dict[int, Votes], train: pd.DataFrame) -> None:
    """Make sure that every unverified clip is scored once, by the network that never heard it; raises RunError.

    Not by assertions: these vanish under `python -O`.
    """
    found = []
    for fold, vote in votes.items():
        for voted, verified in ((vote.unverified, "0"), (vote.verified, "1")):
            held_out = train.index[(train["fold"] == fold) & (train["verified"] == verified)]
            wrong = sorted(set(voted["clip_id"]) ^ set(held_out))
            name = "unverified" if verified == "0" else "verified"
            if wrong:
                found.append(f"fold {fold} did not score just its held-out {name} clips: {', '.join(wrong[:5])}")
            if not voted["clip_id"].is_unique:
                found.append(f"fold {fold} scored {name} clips twice")
    unscored = sorted(set(train["fold"]) - votes.keys())
    found += [f"there are no votes of fold {fold}" for fold in unscored]
    if found:
        raise RunError("The stored posteriors are not those of this manifest's clips: " + "; ".join(found))


def calibrated(vote: Votes, train: pd.DataFrame, classes: list[str]) -> np.ndarray:
    """Return one fold's posteriors at the temperature fitted on its verified held-out clips."""
    labels = _codes(train.loc[vote.verified["clip_id"], "label"], classes)
    return sharpen(_values(vote.unverified, classes), fit_temperature(_values(vote.verified, classes), labels))


def measure(ledger: pd.DataFrame, truth: pd.Series | None) -> dict[str, float | int | None]:
    """Return clips considered and accepted and, against right labels by clip id, precision and recall.

    Precision: share of the accepted labels that are right. Recall: share of the right labels that are accepted. Both
    over clips whose right label is known; None where that leaves nothing to divide by.
    """
    accepted = ledger["accepted"] == 1
    result: dict[str, float | int | None] = {"considered": len(ledger), "accepted": int(accepted.sum())}
    if truth is None:
        return {**result, "precision": None, "recall": None}
    actual = ledger["clip_id"].map(truth)
    known, right = actual.notna(), actual == ledger["label"]
    both = int((accepted & right).sum())
    return {
        **result,
        "precision": _ratio(both, int((accepted & known).sum())),
        "recall": _ratio(both, int(right.sum())),
    }


def _ratio(part: int, whole: int) -> float | None:
    return part / whole if whole else None


def _values(votes: pd.DataFrame, classes: list[str]) -> np.ndarray:
    return votes[classes].to_numpy(np.float64)


def _codes(labels: pd.Series, classes: list[str]) -> np.ndarray:
    return pd.Categorical(labels, classes).codes.astype(np.int64)

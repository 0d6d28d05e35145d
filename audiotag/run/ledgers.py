"""The ledger of a run, made from the posteriors its cells have stored. Needs no network."""

from __future__ import annotations

import contextlib
import io
from typing import Any

import pandas as pd

from audiotag.config import Verification
from audiotag.data.tables import read_labels
from audiotag.files import FileLock, csv_text, write_csv
from audiotag.run.folder import RunFolder
from audiotag.verification.ledger import COLUMNS, Votes, calibrated, decide_round, evidence
from audiotag.verification.promise import PromiseRule, bounds
from audiotag.verification.rules import rule_of

CONFIDENCE = 0.9  # of the interval of the share of right labels


def round_votes(
    folder: RunFolder, round_: int, verification: Verification, excerpts: int | None = None
) -> dict[int, Votes]:
    """Return the votes of a complete round as a rule sees them: calibrated, if `verification.calibrate`."""
    votes = folder.votes(round_, excerpts)
    return calibrated(votes, folder.train, folder.classes) if verification.calibrate else votes


def all_ledgers(
    folder: RunFolder, rounds: list[int], verification: Verification, excerpts: int | None = None
) -> pd.DataFrame:
    """Return the ledger of several complete rounds under a rule, sorted by round and clip id.

    With `excerpts`, of the posteriors that were made again with K excerpts.
    """
    rule, train = rule_of(verification), folder.train
    ledgers = [
        decide_round(r, round_votes(folder, r, verification, excerpts), train, folder.classes, rule, folder.corrections)
        for r in rounds
    ]
    return pd.concat(ledgers, ignore_index=True) if ledgers else pd.DataFrame(columns=COLUMNS)


def noise_figures(
    folder: RunFolder, round_: int, verification: Verification, excerpts: int | None = None
) -> dict[str, Any]:
    """Return what a complete round's networks say of all unverified labels, and what the rule promises of its choice.

    `right_share` is the estimated share of right labels, `right_share_low` and `_high` the ends of its interval of
    confidence 0.9. None where no verified clip was held out to tell by.
    """
    e = evidence(round_votes(folder, round_, verification, excerpts), folder.train, folder.classes)
    if not len(e.labels):
        return {}
    low, estimate, high = bounds(e, CONFIDENCE).right_share if len(e.verified_labels) else (None, None, None)
    rule = rule_of(verification)
    promised: dict[str, Any] = rule.figures(e) if isinstance(rule, PromiseRule) else {}
    return {"right_share": estimate, "right_share_low": low, "right_share_high": high, **promised}


def keep_round(folder: RunFolder, round_: int, ledger: pd.DataFrame) -> None:
    """Write a round's decisions into `ledger.csv`, beside those of other rounds, in place of what stood there of it."""
    with FileLock(folder.path / ".ledger.lock"):  # jobs side by side may complete a round together
        kept = pd.DataFrame(columns=COLUMNS)
        if folder.ledger_file.is_file():
            with contextlib.suppress(ValueError, LookupError):  # damaged: written anew when the run ends
                kept = pd.read_csv(folder.ledger_file, dtype=str, keep_default_na=False)[COLUMNS]
        text = pd.read_csv(io.StringIO(csv_text(ledger)), dtype=str, keep_default_na=False)
        rows = pd.concat([kept[kept["round"] != str(round_)], text])
        write_csv(folder.ledger_file, rows.sort_values("round", key=pd.to_numeric, kind="stable"))


def write_ledger(folder: RunFolder) -> pd.DataFrame:
    """Write `ledger.csv` for all complete rounds, by the run's own rule."""
    rounds = [] if folder.config.data.train_on_all else folder.complete_rounds()
    with FileLock(folder.path / ".ledger.lock"):
        ledger = all_ledgers(folder, rounds, folder.config.verification)
        write_csv(folder.ledger_file, ledger)
    return ledger


def run_truth(folder: RunFolder) -> pd.Series | None:
    """Return the right labels that the run was given, if any."""
    file = folder.path / "truth.csv"
    return read_labels(file, "clip_id", "label") if file.is_file() else None

"""The ledger of a run, made from the posteriors its cells have stored. Needs no network."""

from __future__ import annotations

import contextlib
import io

import pandas as pd

from audiotag.config import Verification
from audiotag.data.tables import read_labels
from audiotag.files import FileLock, csv_text, write_csv
from audiotag.run.folder import RunFolder
from audiotag.verification.ledger import COLUMNS, Votes, calibrated, corrected_rows, decide_round
from audiotag.verification.rules import rule_of


def round_votes(
    folder: RunFolder, round_: int, verification: Verification, excerpts: int | None = None
) -> dict[int, Votes]:
    """Return the votes of a complete round as a rule sees them: calibrated, if `verification.calibrate`."""
    votes = folder.votes(round_, excerpts)
    return calibrated(votes, folder.train, folder.classes) if verification.calibrate else votes


def round_ledger(
    folder: RunFolder, round_: int, verification: Verification, excerpts: int | None = None
) -> pd.DataFrame:
    """Return the ledger of one complete round under a rule; of posteriors made again with K excerpts, if given."""
    votes = round_votes(folder, round_, verification, excerpts)
    ledger = decide_round(round_, votes, folder.train, folder.classes, rule_of(verification))
    by_person = corrected_rows(round_, votes, folder.classes, folder.corrections)
    if by_person.empty:
        return ledger
    return pd.concat([ledger, by_person], ignore_index=True).sort_values("clip_id", ignore_index=True)


def all_ledgers(
    folder: RunFolder, rounds: list[int], verification: Verification, excerpts: int | None = None
) -> pd.DataFrame:
    """Return the ledger of several rounds, sorted by round and clip id."""
    ledgers = [round_ledger(folder, round_, verification, excerpts) for round_ in rounds]
    return pd.concat(ledgers, ignore_index=True) if ledgers else pd.DataFrame(columns=COLUMNS)


def keep_round(folder: RunFolder, round_: int, verification: Verification) -> pd.DataFrame:
    """Decide a complete round and keep its rows in `ledger.csv`, beside those of other rounds; return them."""
    with FileLock(folder.path / ".ledger.lock"):  # jobs side by side may complete a round together
        decided = round_ledger(folder, round_, verification)
        kept = pd.DataFrame(columns=COLUMNS)
        if folder.ledger_file.is_file():
            with contextlib.suppress(ValueError, LookupError):  # damaged: written anew when the run ends
                kept = pd.read_csv(folder.ledger_file, dtype=str, keep_default_na=False)[COLUMNS]
        text = pd.read_csv(io.StringIO(csv_text(decided)), dtype=str, keep_default_na=False)
        rows = pd.concat([kept[kept["round"] != str(round_)], text])
        write_csv(folder.ledger_file, rows.sort_values("round", key=pd.to_numeric, kind="stable"))
    return decided


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

"""Decide again from stored posteriors: another threshold, cap or rule, without a network."""

from __future__ import annotations

import dataclasses
import json
from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from audiotag.config import Verification, VerifyConfig
from audiotag.console import console
from audiotag.data.tables import read_labels
from audiotag.errors import RunError
from audiotag.experiment.ledgers import all_ledgers, run_truth
from audiotag.experiment.run_folder import RunFolder, find_run
from audiotag.files import write_csv, write_json
from audiotag.verification.ledger import measure

SETTINGS = ["rule", "agreement", "threshold", "cap", "calibrate"]
FIGURES = ["round", "considered", "accepted", "precision", "recall"]


def redecide(config: VerifyConfig) -> pd.DataFrame:
    """Apply a rule to a run's stored posteriors; print and return accepted, precision and recall per round.

    Writes `verify/NAME/{ledger.csv, summary.json}` below the run, and `verify/decisions.csv` over all that were made.
    Raises RunError where no round, or not the one asked for, is complete.
    """
    folder = find_run(config.run, config.runs_dir)
    verification = changed(folder.config.verification, config)
    ledger = all_ledgers(folder, _rounds(folder, config.round), verification)
    truth = run_truth(folder) if config.truth is None else _truth(folder, config.truth)
    settings = {name: getattr(verification, name) for name in SETTINGS}
    rounds = [
        {"round": int(str(round_)), **_rounded(measure(rows, truth))}
        for round_, rows in ledger.groupby("round", sort=True)
    ]
    where = folder.path / "verify" / _name(folder.config.verification, verification)
    write_csv(where / "ledger.csv", ledger)
    write_json(where / "summary.json", {**settings, "rounds": rounds})
    decisions = _gather(folder)
    write_csv(folder.path / "verify" / "decisions.csv", decisions)
    table = pd.DataFrame(rounds)
    _print(table, verification, where)
    return table


def changed(of_run: Verification, config: VerifyConfig) -> Verification:
    """Return the run's rule with the changes asked for, or the whole rule that verification=NAME named."""
    given = dataclasses.asdict(config.verification)
    given["excerpts"] = of_run.excerpts  # the posteriors are stored as means over these
    if given["rule"] is None:
        given = {name: value for name, value in given.items() if value is not None}
    return dataclasses.replace(of_run, **given)


def _rounds(folder: RunFolder, round_: int | None) -> list[int]:
    complete = folder.complete_rounds()
    if folder.config.data.train_on_all:
        raise RunError(f"{folder.path}: trained with data.train_on_all=true, so no posteriors were stored to decide on")
    if not complete or (round_ is not None and round_ not in complete):
        wanted = "any" if round_ is None else str(round_)
        done = ", ".join(map(str, complete)) or "none"
        raise RunError(f"{folder.path}: round {wanted} has no stored posteriors of all folds (complete rounds: {done})")
    return complete if round_ is None else [round_]


def _truth(folder: RunFolder, name: str) -> pd.Series:
    path, columns = Path(name), folder.config.data.columns
    if not path.is_file():
        raise RunError(f"truth={name}: there is no such file")
    return read_labels(path, columns.clip, columns.label)


def _name(of_run: Verification, now: Verification) -> str:
    """Name a decision by its rule and by what differs from the run's own."""
    different = [f"{name}={getattr(now, name)}" for name in SETTINGS[1:] if getattr(now, name) != getattr(of_run, name)]
    return ",".join([now.rule, *different])


def _gather(folder: RunFolder) -> pd.DataFrame:
    """Return one row per decision and round, of all decisions below `verify/`."""
    rows: list[dict[str, Any]] = []
    for file in sorted((folder.path / "verify").glob("*/summary.json")):
        summary = json.loads(file.read_text(encoding="utf-8"))
        settings = {name: summary[name] for name in SETTINGS}
        rows += [{"decision": file.parent.name, **settings, **figures} for figures in summary["rounds"]]
    return pd.DataFrame(rows, columns=["decision", *SETTINGS, *FIGURES])


def _rounded(figures: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in figures.items()}


def _print(table: pd.DataFrame, verification: Verification, where: Path) -> None:
    threshold = "no threshold" if verification.threshold is None else f"threshold {verification.threshold}"
    cap = "no cap" if verification.cap is None else f"cap {verification.cap} per class"
    extras = (["calibrated"] if verification.calibrate else []) + ([] if verification.agreement else ["any prediction"])
    shown = Table(
        *(name.capitalize() for name in FIGURES), title=", ".join([threshold, cap, *extras]), title_justify="left"
    )
    for row in table.to_dict("records"):
        shown.add_row(*("-" if row[name] is None or pd.isna(row[name]) else f"{row[name]:.4g}" for name in FIGURES))
    console.print(shown)
    console.print(f"Ledger: {where / 'ledger.csv'}", soft_wrap=True)

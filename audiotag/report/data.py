"""What a report is made of, read from a run folder that may be finished or not.

Shapes: N clips, C classes.
"""

from __future__ import annotations

import functools
import hashlib
import json
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd

import audiotag
from audiotag.config import TrainConfig
from audiotag.errors import RunError
from audiotag.report.tables import Reliability, reliability
from audiotag.run.folder import Cell, RunFolder
from audiotag.run.held_out import HeldOut, held_out
from audiotag.run.ledgers import all_ledgers, round_votes, run_truth
from audiotag.run.summary import best_round, round_figures
from audiotag.run.warnings_log import warnings_kept
from audiotag.verification.ledger import Votes, by_rule, class_codes, evidence, is_relabelled
from audiotag.verification.noise_model import Evidence

PAGE = "report.html"


@dataclass(frozen=True)
class ReportData:
    """A run as far as it is complete.

    `rounds` are the figures of its complete rounds, as in `summary.json`, `best` the best of them (None before the
    first), `ledger` what their rule decided, `metrics` every epoch of every cell, `summary` the file's content, empty
    before it is there.
    """

    folder: RunFolder
    rounds: list[dict[str, Any]]
    best: int | None
    ledger: pd.DataFrame
    truth: pd.Series | None
    metrics: pd.DataFrame
    summary: dict[str, Any]

    @property
    def config(self) -> TrainConfig:
        """The run's configuration."""
        return self.folder.config

    @property
    def classes(self) -> list[str]:
        """The class list."""
        return self.folder.classes

    @property
    def of_best(self) -> dict[str, Any]:
        """Figures of the best round, none before there is one."""
        return next((figures for figures in self.rounds if figures["round"] == self.best), {})

    @functools.cached_property
    def decided(self) -> pd.DataFrame:
        """The best round's ledger."""
        return self.ledger[self.ledger["round"] == self.best]

    @functools.cached_property
    def held_out(self) -> HeldOut | None:
        """What the best round's networks predict of the verified clips that each held out."""
        return None if self.best is None else held_out(self.folder, self.best)

    @functools.cached_property
    def posteriors(self) -> pd.DataFrame:
        """The best round's posteriors of unverified clips as the rule saw them: by clip id, a column per class."""
        return self._compared("unverified")

    @functools.cached_property
    def checked_posteriors(self) -> pd.DataFrame:
        """The same of the verified clips that each network held out."""
        return self._compared("verified")

    @functools.cached_property
    def votes(self) -> list[Votes]:
        """The best round's votes as the rule saw them, a fold each."""
        assert self.best is not None
        return list(round_votes(self.folder, self.best, self.config.verification).values())

    def _compared(self, kind: str) -> pd.DataFrame:
        return pd.concat([getattr(vote, kind) for vote in self.votes]).set_index("clip_id").astype(np.float64)

    @functools.cached_property
    def evidence(self) -> Evidence:
        """The same as arrays."""
        return evidence(dict(enumerate(self.votes)), self.folder.train, self.classes)

    @property
    def checked(self) -> int:
        """How many verified clips the figures are taken on."""
        return len(self.held_out.labels) if self.held_out else int(self.folder.train["verified"].sum())

    def right_accepted(self, round_: int | None) -> tuple[int, int]:
        """Return how many labels that a round accepted are right, and of how many it is known."""
        mine = self.ledger[~is_relabelled(self.ledger) & (self.ledger["round"] == round_)]
        accepted = mine[mine["accepted"] == 1]
        if self.truth is None:
            return 0, 0
        actual = accepted["clip_id"].map(self.truth)
        return int((actual == accepted["label"]).sum()), int(actual.notna().sum())

    @property
    def warnings(self) -> int:
        """How many warnings of libraries the run has kept."""
        return warnings_kept(self.folder.path / "warnings.log")


def read_report_data(folder: RunFolder) -> ReportData:
    """Read a run; raises RunError if it does not exist, or no network of it has passed an epoch."""
    metrics = _metrics(folder)
    if metrics.empty:
        raise RunError(f"{folder.path}: there is nothing to report yet: no network has passed its first epoch")
    complete = [] if folder.config.data.train_on_all else folder.complete_rounds()
    ledger, truth = all_ledgers(folder, complete, folder.config.verification), run_truth(folder)
    rounds = round_figures(folder, ledger, truth)
    return ReportData(folder, rounds, best_round(rounds), by_rule(ledger), truth, metrics, folder.summary)


def _metrics(folder: RunFolder) -> pd.DataFrame:
    tables = [
        folder.table(Cell(round_, fold), "metrics.csv").assign(round=round_, fold=fold)
        for round_ in range(folder.config.finetune_rounds + 1)
        for fold in range(folder.config.folds)
        if folder.status(Cell(round_, fold)) or (folder.cell(Cell(round_, fold)) / "metrics.csv").is_file()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


def measure_calibration(data: ReportData) -> tuple[dict[str, Reliability], list[float]]:
    """Return the reliability of the best round's consensus on verified held-out clips, and each fold's temperature.

    Where the run calibrates, also that of the posteriors at the temperatures fitted on these same clips.
    """
    assert data.best is not None
    raw = pd.concat([vote.verified for vote in data.folder.votes(data.best).values()])
    right = class_codes(data.folder.train.loc[raw["clip_id"], "label"], data.classes)
    curves = {"consensus": reliability(raw[data.classes].to_numpy(np.float64), right)}
    if not data.config.verification.calibrate:
        return curves, []
    curves["calibrated"] = reliability(data.checked_posteriors.to_numpy(), right)
    return curves, [vote.temperature for vote in data.votes]


def state(folder: RunFolder) -> str:
    """Return a digest of the results that a report is made of; the time that they took is not part of it."""
    summary = folder.summary
    summary.pop("wall_s", None)
    ledger = folder.ledger_file.read_bytes() if folder.ledger_file.is_file() else b""
    return hashlib.sha256(json.dumps([audiotag.__version__, summary]).encode() + ledger).hexdigest()[:16]

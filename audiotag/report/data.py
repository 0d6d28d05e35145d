"""What a report is made of, read from a run folder that may be finished or not.

Shapes: N clips, C classes.
"""

from __future__ import annotations

import dataclasses
import functools
import statistics
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audiotag.config import TrainConfig
from audiotag.errors import RunError
from audiotag.report.tables import Reliability, reliability
from audiotag.run.folder import Cell, RunFolder
from audiotag.run.held_out import HeldOut, held_out
from audiotag.run.ledgers import all_ledgers, run_truth
from audiotag.run.summary import best_round, round_figures
from audiotag.run.warnings_log import warnings_kept
from audiotag.verification.ledger import Votes, by_rule, calibrated
from audiotag.verification.rule import fit_temperature, sharpen


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
        return self._scored(lambda vote: vote.unverified)

    @functools.cached_property
    def checked_posteriors(self) -> pd.DataFrame:
        """The same of the verified clips that each network held out."""
        return self._scored(lambda vote: vote.verified)

    def _scored(self, part: Callable[[Votes], pd.DataFrame]) -> pd.DataFrame:
        assert self.best is not None
        votes, train, classes = self.folder.votes(self.best).values(), self.folder.train, self.classes
        values = [
            calibrated(dataclasses.replace(vote, unverified=part(vote)), train, classes)
            if self.config.verification.calibrate
            else part(vote)[classes].to_numpy(np.float64)
            for vote in votes
        ]
        ids = pd.concat([part(vote)["clip_id"] for vote in votes])
        return pd.DataFrame(np.concatenate(values), index=ids.to_numpy(), columns=classes)

    @property
    def checked(self) -> int:
        """How many verified clips the figures are taken on."""
        return len(self.held_out.labels) if self.held_out else int((self.folder.train["verified"] == "1").sum())

    def right_accepted(self, round_: int | None) -> tuple[int, int]:
        """Return how many labels that a round accepted are right, and of how many it is known."""
        accepted = self.ledger[(self.ledger["round"] == round_) & (self.ledger["accepted"] == 1)]
        if self.truth is None:
            return 0, 0
        actual = accepted["clip_id"].map(self.truth)
        return int((actual == accepted["label"]).sum()), int(actual.notna().sum())

    @property
    def valid_map3(self) -> float | None:
        """MAP@3 of the best round, the mean over folds."""
        if self.best is None:
            return None
        cells = [self.folder.status(Cell(self.best, fold)) or {} for fold in range(self.config.folds)]
        return statistics.fmean(cell["valid_map3"] for cell in cells)

    @property
    def warnings(self) -> int:
        """How many warnings of libraries the run has kept."""
        return warnings_kept(self.folder.path / "warnings.log")


def read_report_data(folder: RunFolder) -> ReportData:
    """Read a run; raises RunError where there is none, or no network of it has passed an epoch."""
    metrics = _metrics(folder)
    if metrics.empty:
        raise RunError(f"{folder.path}: there is nothing to report yet: no network has passed its first epoch")
    complete = [] if folder.config.data.train_on_all else folder.complete_rounds()
    ledger, truth = all_ledgers(folder, complete, folder.config.verification), run_truth(folder)
    rounds = round_figures(folder, ledger, truth)
    return ReportData(folder, rounds, best_round(rounds), by_rule(ledger), truth, metrics, folder.summary or {})


def _metrics(folder: RunFolder) -> pd.DataFrame:
    tables = [
        folder.table(Cell(round_, fold), "metrics.csv").assign(round=round_, fold=fold)
        for round_ in range(folder.config.finetune_rounds + 1)
        for fold in range(folder.config.folds)
        if folder.status(Cell(round_, fold)) or (folder.cell(Cell(round_, fold)) / "metrics.csv").is_file()
    ]
    return pd.concat(tables, ignore_index=True) if tables else pd.DataFrame()


@dataclass(frozen=True)
class Calibration:
    """Reliability of the best round's consensus on verified held-out clips, by name; and each fold's temperature."""

    curves: dict[str, Reliability]
    temperatures: list[float]


def measure_calibration(facts: ReportData) -> Calibration:
    """Measure the consensus as it is and, where the run calibrates, at the temperatures fitted on these same clips."""
    assert facts.best is not None
    labels, raw, sharpened, temperatures = [], [], [], []
    for _, vote in sorted(facts.folder.votes(facts.best).items()):
        values: NDArray[np.float64] = vote.verified[facts.classes].to_numpy(np.float64)
        codes = pd.Categorical(facts.folder.train.loc[vote.verified["clip_id"], "label"], facts.classes).codes
        labels.append(codes.astype(np.int64))
        raw.append(values)
        temperatures.append(fit_temperature(values, labels[-1]))
        sharpened.append(sharpen(values, temperatures[-1]))
    curves = {"consensus": reliability(np.concatenate(raw), np.concatenate(labels))}
    if not facts.config.verification.calibrate:
        return Calibration(curves, [])
    curves["calibrated"] = reliability(np.concatenate(sharpened), np.concatenate(labels))
    return Calibration(curves, temperatures)

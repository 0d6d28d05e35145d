"""The audit at the desk: accepted labels, drawn at random, are right, wrong or unsure; in `audit.csv` at once."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Any

import pandas as pd

from audiotag.config import ReviewConfig
from audiotag.review.verdicts import UnfitError
from audiotag.run.audit import (
    FILE,
    FIRST,
    RIGHT,
    UNSURE,
    WRONG,
    keep_figures,
    ledger_to_audit,
    read_sample,
    statements,
    write_sample,
    write_verdict,
)
from audiotag.run.folder import RunFolder


class Sample:
    """The sample of a run's accepted labels; `numbers` are those of clips' sounds. May be asked by several threads."""

    def __init__(self, folder: RunFolder, config: ReviewConfig, numbers: Mapping[str, int]) -> None:
        self._folder, self._config, self._numbers = folder, config, numbers
        self._lock = threading.Lock()
        self._drawn: pd.DataFrame | None = None

    def draw(self, n: int | None = None) -> dict[str, Any]:
        """Draw n labels, or those that were drawn before, and return them with what verdicts say of all.

        Raises RunError where the round is not complete or accepted nothing, DataError for a damaged sample.
        """
        with self._lock:
            self._ledger = ledger_to_audit(self._folder, self._config.round)
            self._drawn = write_sample(self._folder, self._ledger, n or self._config.audit)
            return self._answer()

    def give(self, index: int, verdict: str) -> dict[str, Any]:
        """Write a verdict on a label of the sample, "" to take it back; raises UnfitError for another."""
        if verdict not in (RIGHT, WRONG, UNSURE, ""):
            raise UnfitError(f"{verdict} is no verdict")
        with self._lock:
            if self._drawn is None or not 0 <= index < len(self._drawn):
                raise UnfitError(f"no label {index} was drawn")
            row = self._drawn.iloc[index]
            write_verdict(self._folder, row["clip_id"], row["round"], verdict)
            return self._answer()

    def _answer(self) -> dict[str, Any]:
        assert self._drawn is not None
        written = read_sample(self._folder.path / FILE)
        written = written[written["round"] == str(self._drawn["round"].iloc[0])]
        given = dict(zip(written["clip_id"], written["verdict"], strict=True))
        figures = keep_figures(self._folder, self._ledger, self._config.precision)
        accepted = int((self._ledger["accepted"] == 1).sum())
        return {
            "file": str(self._folder.path / FILE),
            "rows": [
                {
                    "number": self._numbers[row["clip_id"]],
                    "clip": row["clip_id"],
                    "path": row["path"],
                    "label": row["label"],
                    "verdict": given.get(row["clip_id"], ""),
                }
                for row in self._drawn.to_dict("records")
            ],
            "accepted": accepted,
            "more": min(figures["more_to_hear"], accepted) if figures and figures["more_to_hear"] else 0,
            "said": statements(figures, len(self._drawn)) if figures else [],
            "first": FIRST,
        }

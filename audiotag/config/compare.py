"""Settings of `python -m audiotag.compare`."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from audiotag.config.schema import Program, is_key, settings, unknown_key
from audiotag.config.train import TrainConfig


@settings
class CompareConfig(Program):
    """Gather the results of runs into one table."""

    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    run: Any = None
    """Names of the runs (paths work too): one, or a list [A,B]; null: every run in `runs_dir`."""
    over: str | None = None
    """Setting to average over, such as seed: runs that differ in nothing else become one row; null: a row per run."""
    out: str | None = None
    """File for the table (CSV); null: it is only printed."""

    def clashes(self, prefix: str) -> Iterator[str]:
        if self.over == "":
            yield "over= does not name a setting; over=seed averages over seeds"
        elif self.over is not None and not is_key(self.over, TrainConfig):
            yield f"over={unknown_key(self.over, TrainConfig)}"
        if isinstance(self.run, dict) or self.run in ([], ""):
            yield f"run={self.run} does not name a run; several are given as run=[A,B]"
        if self.out == "":
            yield "out= does not name a file"

"""Settings of `python -m audiotag.compare`."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from audiotag.errors import ConfigError


@dataclass(frozen=True)
class CompareConfig:
    """Gather the results of runs into one table."""

    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    run: Any = None
    """Names of the runs (paths work too): one, or a list [A,B]; null: every run in `runs_dir`."""
    over: str | None = None
    """Setting to average over, such as seed: runs that differ in nothing else become one row; null: a row per run."""
    out: str | None = None
    """File for the table (CSV); null: it is only printed."""

    def __post_init__(self) -> None:
        found = []
        if self.over == "":
            found.append("over= names no setting; over=seed averages over seeds")
        if isinstance(self.run, dict) or self.run in ([], ""):
            found.append(f"run={self.run} names no run; several are given as run=[A,B]")
        if self.out == "":
            found.append("out= names no file")
        if found:
            raise ConfigError("The configuration cannot be run:", found)

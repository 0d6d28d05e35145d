"""Settings of `python -m audiotag.report` and `python -m audiotag.audit`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Literal

from pydantic import Field

from audiotag.config.checks import needs_run
from audiotag.config.schema import Program, settings


@settings
class ReportConfig(Program):
    """Write the report of a run."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    root: str | None = None
    """Folder of the data set, if it moved since the run was made."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from needs_run(self.run)
        if self.root is not None and not Path(self.root).is_dir():
            yield f"root={self.root} is not a folder"


@settings
class AuditConfig(Program):
    """Hear a random sample of the accepted labels."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    round: int | Literal["best"] = "best"
    """Round whose accepted labels are heard; best: the one with the lowest validation loss."""
    n: int = Field(60, ge=1, le=1_000_000)
    """How many of them."""
    precision: float = Field(0.95, gt=0, lt=1)
    """Precision that is to be shown."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from needs_run(self.run)

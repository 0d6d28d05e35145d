"""Settings of `python -m audiotag.report`."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

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

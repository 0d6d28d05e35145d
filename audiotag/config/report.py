"""Settings of `python -m audiotag.report`."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

from audiotag.config.checks import needs_run
from audiotag.errors import ConfigError


@dataclass(frozen=True)
class ReportConfig:
    """Write the report of a run."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    root: str | None = None
    """Folder of the data set, if it moved since the run was made."""

    def __post_init__(self) -> None:
        found = needs_run(self.run)
        if self.root is not None and not Path(self.root).is_dir():
            found.append(f"root={self.root} is no folder")
        if found:
            raise ConfigError("The configuration cannot be run:", found)

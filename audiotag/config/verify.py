"""Settings of verify.py."""

from __future__ import annotations

from collections.abc import Iterator

from pydantic import Field

from audiotag.config.checks import needs_run
from audiotag.config.hardware import Hardware
from audiotag.config.schema import Program, settings
from audiotag.config.verification import VerificationChange


@settings
class VerifyConfig(Program):
    """Decide again from a run's stored posteriors, or from new ones; nothing is trained."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    round: int | None = Field(None, ge=0, le=1000)
    """Decide for this round only; null: for every round that is complete."""
    out: str | None = None
    """Folder for the decisions; null: the run's own, `verify/`."""
    truth: str | None = None
    """Table of right labels (clip, label) to measure against; null: the one that the run was given."""
    vote_again: bool = False
    """Let the run's networks vote again, from their checkpoints, and decide on that; null settings are the run's."""
    devices: int = Field(1, ge=1, le=4096)
    """With vote_again=true: GPUs to share the clips among, or processes on a CPU."""
    cache_dir: str = "cache"
    """With vote_again=true: folder for spectrogram stores."""
    root: str | None = None
    """With vote_again=true: folder of the data set, if it moved since the run was made."""
    hardware: Hardware = Hardware()
    """With vote_again=true: what the work runs on."""
    verification: VerificationChange = VerificationChange()
    """What to decide otherwise than the run did."""

    def clashes(self, prefix: str) -> Iterator[str]:
        yield from needs_run(self.run)

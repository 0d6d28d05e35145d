"""Settings of verify.py."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiotag.config.checks import at_least, needs_run, share
from audiotag.config.machine import Hardware
from audiotag.config.verification import VerificationChange, way_to_flag
from audiotag.errors import ConfigError


@dataclass(frozen=True)
class VerifyConfig:
    """Decide again from a run's stored posteriors, or from new ones; nothing is trained."""

    run: str = ""
    """Name of the run, the folder `runs/NAME` (a path works too)."""
    runs_dir: str = "runs"
    """Folder that holds the run folders."""
    round: int | None = None
    """Decide for this round only; null: for every round that is complete."""
    out: str | None = None
    """Folder for the decisions; null: the run's own, `verify/`."""
    truth: str | None = None
    """Table of right labels (clip, label) to measure against; null: the one that the run was given."""
    rescore: bool = False
    """Ask the run's networks again, from their checkpoints, and decide on that; null settings are the run's."""
    devices: int = 1
    """With rescore=true: GPUs to share the clips among, or processes on a CPU."""
    cache_dir: str = "cache"
    """With rescore=true: folder for spectrogram stores."""
    root: str | None = None
    """With rescore=true: folder of the data set, if it moved since the run was made."""
    hardware: Hardware = field(default_factory=Hardware)
    """With rescore=true: what the work runs on."""
    verification: VerificationChange = field(default_factory=VerificationChange)
    """What to decide otherwise than the run did."""

    def __post_init__(self) -> None:
        found = needs_run(self.run) + share("verification.threshold", self.verification.threshold)
        found += at_least("verification.cap", self.verification.cap, 0) + at_least("devices", self.devices, 1)
        found += at_least("verification.excerpts", self.verification.excerpts, 1) + self.hardware.problems()
        found += way_to_flag(self.verification.confident_learning)
        if found:
            raise ConfigError("The configuration cannot be run:", found)

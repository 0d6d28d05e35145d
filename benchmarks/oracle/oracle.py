"""A rule that knows the right labels: the ceiling of what accepting labels can gain. For benchmarks/gain.py alone."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd


class Oracle:
    """Accepts the labels that are right by the `truth.csv` of a run with the same data."""

    def __init__(self, run: str) -> None:
        manifest = pd.read_csv(Path(run) / "manifest.csv", dtype=str, keep_default_na=False).set_index("clip_id")
        truth = pd.read_csv(Path(run) / "truth.csv", dtype=str).set_index("clip_id")["label"]
        unverified = manifest[(manifest["split"] == "train") & (manifest["verified"] == "0")].sort_index()
        self.right = (unverified["label"] == truth.reindex(unverified.index)).to_numpy()

    def decide(self, posteriors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which labels are right; clips come in the order of their ids."""
        return self.right, np.where(self.right, "accepted", "wrong").astype(object)

"""What W&B offline costs: epochs of a cell by themselves, and whole runs: `python -m benchmarks.tracking [runs]`."""

from __future__ import annotations

import os
import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from audiotag.config import Logger, TrainConfig
from audiotag.run.folder import Cell, RunFolder
from audiotag.tracking.trackers import cell_trackers
from benchmarks.timing import compare

TOP = Path(__file__).resolve().parent.parent
EPOCHS = 200


def run(work: Path, logger: str) -> Callable[[], None]:
    """Return a whole run of two cells as a program of its own, under a new name each time."""
    names = count()

    def call() -> None:
        settings = [
            "experiment=smoke",
            "folds=2",
            "finetune_rounds=0",
            f"run={logger}{next(names)}",
            f"logger={logger}",
        ]
        command = [sys.executable, str(TOP / "train.py"), *settings]
        environment = {**os.environ, "WANDB_MODE": "offline"}
        subprocess.run(command, cwd=work, env=environment, check=True, capture_output=True)

    return call


def cell(work: Path, enabled: bool) -> Callable[[], None]:
    """Return the tracking of a cell from its begin to its end, with a row for each of its epochs."""
    leaf = {"_target_": "audiotag.tracking.wandb.WandbTracker", "mode": "offline"}
    config = TrainConfig(logger=Logger(trackers={"wandb": leaf} if enabled else {}))
    names = count()

    def call() -> None:
        folder = RunFolder(work / f"cell{next(names)}")
        folder.path.mkdir(parents=True)
        with cell_trackers(config, folder, Cell(0, 0)) as trackers:
            for epoch in range(EPOCHS):
                trackers.show("metrics", {"epoch": epoch, "train_loss": 1 / (1 + epoch)}, epoch)

    return call


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ways = {"none": cell(work / "without", False), "wandb, offline": cell(work / "with", True)}
        compare(f"tracking of a cell of {EPOCHS} epochs, without its training", ways, runs)
        compare("a run of two cells", {name: run(work, name) for name in ("csv", "wandb")}, runs)

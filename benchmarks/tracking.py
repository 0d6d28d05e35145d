"""What W&B offline costs: epochs of a cell by themselves, and whole runs: `python -m benchmarks.tracking [runs]`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from audiotag.config import Logger, TrainConfig, Wandb
from audiotag.run.folder import Cell, RunFolder
from audiotag.tracking.experiment_runs import cell_loggers
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
        command = [sys.executable, str(TOP / "train.py"), *settings, "logger.wandb.mode=offline"]
        subprocess.run(command, cwd=work, check=True, capture_output=True)

    return call


def cell(work: Path, enabled: bool) -> Callable[[], None]:
    """Return the tracking of a cell from its begin to its end, with a row for each of its epochs."""
    config = TrainConfig(logger=Logger(Wandb(enabled=enabled, mode="offline")))
    names = count()

    def call() -> None:
        folder = RunFolder(work / f"cell{next(names)}")
        folder.path.mkdir(parents=True)
        with cell_loggers(config, folder, Cell(0, 0)) as loggers:
            for epoch in range(EPOCHS):
                for logger in loggers:
                    logger.row({"epoch": epoch, "train_loss": 1 / (1 + epoch)}, epoch)

    return call


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 5
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        ways = {"none": cell(work / "without", False), "wandb, offline": cell(work / "with", True)}
        compare(f"tracking of a cell of {EPOCHS} epochs, without its training", ways, runs)
        compare("a run of two cells", {name: run(work, name) for name in ("csv", "wandb")}, runs)

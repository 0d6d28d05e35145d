"""What a second core brings: whole runs of round 0 of the embedded data: `python -m benchmarks.devices [runs]`."""

from __future__ import annotations

import subprocess
import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

from benchmarks.timing import compare

TOP = Path(__file__).resolve().parent.parent
WAYS = {
    "one process, one thread": ["hardware.threads=1"],
    "one process, two threads": ["hardware.threads=2"],
    "devices=2 parallel=folds": ["devices=2", "parallel=folds", "hardware.threads=1"],
    "devices=2": ["devices=2", "hardware.threads=1"],
}


def run(work: Path, way: list[str]) -> Callable[[], None]:
    """Return a whole run as a program of its own, under a new name each time; data and spectrograms are made before."""
    names = count()

    def call() -> None:
        name = "-".join([*way, str(next(names))]).replace("=", "")
        settings = [
            "finetune_rounds=0",
            "training.pretrain.min_steps=0",
            "training.pretrain.epochs=8",
            f"run={name}",
            *way,
        ]
        subprocess.run([sys.executable, str(TOP / "train.py"), *settings], cwd=work, check=True, capture_output=True)

    return call


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        run(Path(folder), ["seed=1"])()
        compare("round 0, four folds", {name: run(Path(folder), way) for name, way in WAYS.items()}, runs)

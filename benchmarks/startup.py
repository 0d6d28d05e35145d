"""What a start takes, beside importing PyTorch and Lightning alone: `python -m benchmarks.startup [runs]`.

Everything is a process of its own, one after another in turn. Data and spectrograms are there already.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from audiotag.config import TrainConfig
from audiotag.files import write_json
from benchmarks.timing import FOLDER, processor

TOP = Path(__file__).resolve().parent.parent
IMPORT = "import torch, pytorch_lightning"
STEP = "first_step"  # a file in the working folder: when a process came to its first training step
# 1,200 clips to vote on, in two rounds.
SETTINGS = ["experiment=smoke", "data.synthetic.verified_per_class=25", "data.synthetic.unverified_per_class=150"]
SETTINGS += ["finetune_rounds=1", "verification=promise", "verification.excerpts=1"]
SETTINGS += [
    f"training.{phase}.{name}=1" for phase in ("pretrain", "finetune") for name in ("epochs", "decay_from_epoch")
]
# train.py, but what it launches ends where training begins.
TRAIN = """
import runpy, sys
from audiotag.distributed import launch
launched = launch.launch
launch.launch = lambda work, *given: launched("benchmarks.startup:until_first_step", *given)
sys.argv = sys.argv[1:]
runpy.run_path(sys.argv[0], run_name="__main__")
"""


def until_first_step(config: TrainConfig) -> float | None:
    """Do what a run does up to its first training step; there, say when that was, and end the process."""
    from audiotag.experiment.loop import run_experiment
    from audiotag.models.tagger import Tagger

    def end(*_: Any) -> None:
        with open(STEP, "a", encoding="utf-8") as file:
            file.write(f"{time.monotonic()}\n")
        os._exit(0)

    Tagger.training_step = end  # type: ignore[method-assign]
    return run_experiment(config)


def seconds(work: Path, *command: str, code: int = 0) -> float:
    """Return how long Python takes for a command, or until its first training step if it comes to one."""
    step, begun_s = work / STEP, time.monotonic()
    environment = {**os.environ, "PYTHONPATH": str(TOP)}
    ended = subprocess.run(
        [sys.executable, *command], cwd=work, env=environment, capture_output=True, text=True, check=False
    )
    ended_s = time.monotonic()
    if ended.returncode != code:
        raise RuntimeError(f"{' '.join(command)} ended with {ended.returncode}: {ended.stdout}{ended.stderr}")
    if step.is_file():
        ended_s = min(map(float, step.read_text(encoding="utf-8").split()))
        step.unlink()
    return ended_s - begun_s


def ways(work: Path) -> dict[str, Callable[[int], float]]:
    """Return what is timed by name, the bare import first; each is given the number of the turn."""
    train, verify, predict = (str(TOP / f"{name}.py") for name in ("train", "verify", "predict"))

    def first_step(turn: int, devices: str) -> float:
        name = f"run=start-{devices}-{turn}"
        return seconds(work, "-c", TRAIN, train, *SETTINGS, name, f"devices={devices}")

    def load(_: int) -> float:
        return seconds(work, "-c", "import audiotag, os; audiotag.load('ready'); os._exit(0)")

    return {
        IMPORT: lambda _: seconds(work, "-c", f"{IMPORT}, os; os._exit(0)"),
        "train.py to its first step, devices=1": lambda turn: first_step(turn, "1"),
        "train.py to its first step, devices=auto": lambda turn: first_step(turn, "auto"),
        "train.py --help": lambda _: seconds(work, train, "--help"),
        "train.py, a misspelt setting": lambda _: seconds(work, train, "sed=1", code=2),
        "train.py, a wrong value": lambda _: seconds(work, train, "folds=1", code=2),
        "verify.py, 1,200 clips": lambda _: seconds(work, verify, "run=ready"),
        "predict.py --help": lambda _: seconds(work, predict, "--help"),
        "python -m audiotag.compare": lambda _: seconds(work, "-m", "audiotag.compare"),
        "import audiotag": lambda _: seconds(work, "-c", "import audiotag"),
        'audiotag.load("ready")': load,
    }


def report(taken: dict[str, list[float]]) -> None:
    """Print medians and ranges in seconds, and times the bare import turn by turn; write them as JSON."""
    table = Table("what", "median s", "range s", "times the import", title=f"start-up\n{processor()}")
    rows = []
    for name, each in taken.items():
        ratios = [one / bare for one, bare in zip(each, taken[IMPORT], strict=True)]
        row = {"median_s": statistics.median(each), "min_s": min(each), "max_s": max(each)}
        rows.append({"name": name, **row, "ratio": statistics.median(ratios), "ratios": ratios})
        ranged, spread = f"{min(each):.2f} to {max(each):.2f}", f"{min(ratios):.2f} to {max(ratios):.2f}"
        table.add_row(name, f"{row['median_s']:.2f}", ranged, f"{statistics.median(ratios):.2f} ({spread})")
    Console().print(table)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(FOLDER / "startup.json", {"processor": processor(), "runs": len(taken[IMPORT]), "rows": rows})


if __name__ == "__main__":
    runs = int(sys.argv[1]) if len(sys.argv) > 1 else 3
    with tempfile.TemporaryDirectory() as folder:
        work = Path(folder)
        seconds(work, str(TOP / "train.py"), *SETTINGS, "run=ready")
        timed = ways(work)
        taken: dict[str, list[float]] = {name: [] for name in timed}
        for turn in range(runs):
            for name, way in timed.items():
                taken[name].append(way(turn))
    report(taken)

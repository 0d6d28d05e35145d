"""What vectors of a network that was trained elsewhere bring, beside a network trained from scratch.

python -m benchmarks.embedding OUT SEEDS SET SETTING ...     e.g. OUT 0,1,2 embedded features.front_end.file=FILE

SET is embedded, or the folder of a data set with `train.csv`, `truth.csv` and `test` clips in the layout of Kaggle;
SETTINGs are those of train.py beside model=embedding or, with another model=, of what it is compared with (the rule
`promise` of `benchmarks.gain` is the same training). Trains a run per seed, one after another on one thread, and scores
the test set by round 0 and by the best round. Writes OUT/SET-MODEL.csv, a row per run as it ends, and prints means and
deviations over the seeds. `minutes` are those of train.py, with vectors where no run before has stored them. What was
trained is not trained again. Nothing here is used to choose anything in a run.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import pandas as pd

import audiotag
from audiotag.run.folder import RunFolder

EVERY = ["report=false", "devices=1", "hardware.threads=1", "hardware.workers=0", "hardware.share_devices=true"]


def train(run: Path, seed: int, settings: list[str]) -> dict[str, Any]:
    """Train one run, and return its figures: of round 0, and of the best round."""
    audiotag.train([*settings, *EVERY, f"seed={seed}", f"run={run}"])
    folder = RunFolder(run)
    rounds, best = folder.summary["rounds"], folder.summary["best_round"]
    figures: dict[str, Any] = {"seed": seed, "minutes": folder.summary["wall_s"] / 60, "best_round": best}
    figures |= {name: rounds[0][name] for name in ("accepted", "precision", "recall")}
    for round_, when in ((0, "round 0"), (best, "best")):
        file = run / "predict" / f"test-round{round_}" / "scores.json"
        if not file.is_file():
            audiotag.predict([f"run={run}", "split=test", f"round={round_}", "bootstrap=0"])
        scores = json.loads(file.read_text(encoding="utf-8"))
        figures[f"{when}: valid_accuracy"] = rounds[round_]["valid_accuracy"]
        figures |= {f"{when}: test_{name}": scores[name] for name in ("accuracy", "map@3")}
    return figures


def main(out: str, seeds: str, data: str, *settings: str) -> None:
    """Train all runs of one data set, and print the table."""
    folder, name = Path(out).absolute(), Path(data).name
    given = [text.removeprefix("model=") for text in settings if text.startswith("model=")]
    model = given[0] if given else "embedding"
    chosen = [f"model={model}", *(text for text in settings if not text.startswith("model="))]
    if data != "embedded":
        chosen += ["data=kaggle", f"data.root={Path(data).absolute()}", "data.truth=truth.csv"]
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    for seed in seeds.split(","):
        rows.append(train(folder / f"{name}-{model}-{seed}", int(seed), chosen))
        print(rows[-1], flush=True)
        pd.DataFrame(rows).to_csv(folder / f"{name}-{model}.csv", index=False)
    print(pd.DataFrame(rows).drop(columns="seed").agg(["mean", "std"]).round(4).T.to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])

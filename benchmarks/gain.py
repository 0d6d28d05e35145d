"""What the loop gains by each rule: round 0 once per data set and seed, then the rules, from the same round 0.

python -m benchmarks.gain OUT PROCESSES SEEDS SET [SETTING ...]     e.g. OUT 2 0,1,2 embedded

SET is embedded, or the folder of a data set with `train.csv`, `truth.csv` and `test` clips in the layout of Kaggle. The
ceiling is `oracle`: a rule that accepts just the right labels; `base` is round 0 alone. Writes OUT/gain-SET.csv, a row
per run as it ends, and prints means and deviations over the seeds. What was trained is not trained again. Nothing here
is used to choose anything in a run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd

HERE = Path(__file__).parent
RULES = {
    "promise": ["verification=promise"],
    "promise, relabel": ["verification=promise", "verification.rule.relabel=true"],
    "calibrated": ["verification=calibrated", "verification.rule.cap=null"],
    "as_coded": ["verification=as_coded", "verification.rule.cap=null"],
    "cleanlab": ["verification=cleanlab"],
    "accept_all": ["verification=accept_all"],
    "oracle": [],
}
EVERY = ["report=false", "devices=1", "hardware.threads=1", "hardware.workers=0", "hardware.share_devices=true"]


def train(job: tuple[Path, str, str, int, list[str]]) -> dict[str, Any]:
    """Train one run, score its test set by the networks of round 0 and of the best round, and return the figures."""
    import audiotag
    from audiotag.compare import compare
    from audiotag.errors import AudiotagError
    from audiotag.run.folder import RunFolder

    out, name, rule, seed, settings = job
    base, run = out / f"{name}-{seed}-base", out / f"{name}-{seed}-{rule.replace(', ', '-')}"
    by_rule = [*RULES[rule], "finetune_rounds=2"] if rule != "base" else ["finetune_rounds=0"]
    if rule == "oracle":
        own = [f"--config-dir={HERE / 'oracle'}", "verification=oracle", f"verification.rule.run={base}"]
        by_rule = [*own, "finetune_rounds=2"]
    if rule != "base":
        by_rule.append(f"warm_start={base}")
    log = out / "logs" / f"{run.name}.log"
    log.parent.mkdir(parents=True, exist_ok=True)
    with log.open("w") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        try:
            audiotag.train([*by_rule, *EVERY, *settings, f"seed={seed}", f"run={run}"])
            folder = RunFolder(run)
            best, accepted = folder.summary["best_round"], folder.summary["rounds"][0]
            audiotag.predict([f"run={run}", "split=test", f"round={best}", "bootstrap=0"])
        except AudiotagError as error:
            return {"set": name, "seed": seed, "rule": rule, "error": str(error)}
    figures = {name: accepted[name] for name in ("accepted", "precision", "recall")} | {"best_round": best}
    figures |= compare([folder]).iloc[0][["valid_accuracy", "valid_map@3", "test_accuracy", "test_map@3"]].to_dict()
    return {"set": name, "seed": seed, "rule": rule, **figures}


def main(out: str, processes: str, seeds: str, data: str, *settings: str) -> None:
    """Train all runs of one data set, and print the table."""
    folder = Path(out).absolute()
    name, chosen = Path(data).name, list(settings)
    if data != "embedded":
        chosen = ["experiment=cpu_small", "data=kaggle", f"data.root={Path(data).absolute()}", "data.truth=truth.csv"]
        chosen += settings
    table = folder / f"gain-{name}.csv"
    folder.mkdir(parents=True, exist_ok=True)
    rows = []
    with ProcessPoolExecutor(int(processes), multiprocessing.get_context("spawn")) as pool:
        for rules in (["base"], list(RULES)):
            jobs = [(folder, name, rule, int(seed), chosen) for rule in rules for seed in seeds.split(",")]
            for done in as_completed([pool.submit(train, job) for job in jobs]):
                rows.append(done.result())
                print(rows[-1], flush=True)
                pd.DataFrame(rows).sort_values(["rule", "seed"]).to_csv(table, index=False)
    numbers = pd.DataFrame(rows).drop(columns=["set", "seed", "best_round"]).groupby("rule")
    print(numbers.agg(["mean", "std"]).round(4).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])

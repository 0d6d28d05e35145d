"""What the loop gains by each rule: round 0 once per data set and seed, then the rules, from the same round 0.

python -m benchmarks.gain OUT PROCESSES SEEDS SET [SETTING ...]     e.g. OUT 2 0,1,2 embedded

SET is embedded, or the folder of a data set with `train.csv`, `truth.csv` and `test` clips in the layout of Kaggle. The
ceiling is `oracle`: a rule that accepts just the right labels. Writes OUT/gain.csv, a row per run, and prints means and
deviations over the seeds. What was trained is not trained again. Nothing here is used to choose anything in a run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor
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
EVERY = ["report=false", "hardware.threads=1", "hardware.workers=0", "hardware.share_devices=true"]


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
            for round_ in {0, folder.summary["best_round"]}:
                audiotag.predict([f"run={run}", "split=test", f"round={round_}", "bootstrap=0"])
        except AudiotagError as error:
            return {"set": name, "seed": seed, "rule": rule, "error": str(error)}
    row = compare([folder]).iloc[0]
    accepted = folder.summary["rounds"][0]
    return {
        "set": name,
        "seed": seed,
        "rule": rule,
        "accepted": accepted["accepted"],
        "precision": accepted["precision"],
        "recall": accepted["recall"],
        "best_round": row["best_round"],
        **{name: row[name] for name in ("round0_accuracy", "valid_accuracy", "round0_test_accuracy", "test_accuracy")},
        "round0_test_map@3": row["round0_test_map@3"],
        "test_map@3": row["test_map@3"],
    }


def main(out: str, processes: str, seeds: str, data: str, *settings: str) -> None:
    """Train all runs of one data set, and print the table."""
    folder = Path(out).absolute()
    name, chosen = Path(data).name, list(settings)
    if data != "embedded":
        chosen = ["experiment=cpu_small", "data=kaggle", f"data.root={Path(data).absolute()}", "data.truth=truth.csv"]
        chosen += settings
    rows = []
    with ProcessPoolExecutor(int(processes), multiprocessing.get_context("spawn")) as pool:
        for rules in (["base"], list(RULES)):
            jobs = [(folder, name, rule, int(seed), chosen) for rule in rules for seed in seeds.split(",")]
            for row in pool.map(train, jobs):
                print(row, flush=True)
                rows.append(row)
    table = pd.DataFrame([row for row in rows if row["rule"] != "base"]).sort_values(["rule", "seed"])
    table.to_csv(folder / f"gain-{name}.csv", index=False)
    numbers = table.drop(columns=["set", "seed", "best_round"]).groupby("rule")
    print(numbers.agg(["mean", "std"]).round(4).to_string())


if __name__ == "__main__":
    main(*sys.argv[1:])

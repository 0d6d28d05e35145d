"""What ways to train bring where clips are few: recipes and seeds on data sets, beside `experiment=cpu_small`.

python -m benchmarks.recipes OUT [PROCESSES SEEDS SET RECIPES [SETTING ...]]    e.g. OUT 2 0,1,2 embedded cpu_small,ema

SET is embedded, or the folder of a data set with `train.csv`, `truth.csv` and `test` clips in the layout of Kaggle.
RECIPES are names of `RECIPES`, or several joined by `+`; `from-NAME` starts from the weights in OUT/NAME.ckpt. SETTINGs
are those of train.py for all of them: `vectors` needs features.front_end.file=FILE. Trains a run per recipe and seed,
each on one thread, and scores the test set by round 0 and by the best round. What was trained is not trained again, and
goes on where more rounds are asked for. Writes OUT/recipes.csv, a row per run that lies in OUT, and prints means and
deviations over seeds; then what each recipe has gained over cpu_small, and over its first part, with the same seeds on
all sets that both were trained on, with 95 % intervals (Student's t). `minutes` are those of fitting, beside `best` of
all rounds. Nothing here is used to choose anything in a run.
"""

from __future__ import annotations

import contextlib
import multiprocessing
import sys
from concurrent.futures import ProcessPoolExecutor, as_completed
from pathlib import Path
from typing import Any

import pandas as pd
from scipy import stats

from audiotag.run.folder import RunFolder

RECIPES = {
    "cpu_small": [],
    "small_data": ["experiment=small_data"],
    "ema": ["training.average=ema"],
    "swa": ["training.average=swa", "training.pretrain.decay_from_epoch=20", "training.finetune.decay_from_epoch=8"],
    "balance": ["training.balance=classes"],
    "warmup": ["training.pretrain.warmup_share=0.1"],
    "longer": ["training.pretrain.min_steps=1200"],
    "mixup0.4": ["training.pretrain.mixup_alpha=0.4"],
    "no-masks": ["augment=none"],
    "generalised": ["loss=generalised"],
    "finetune": ["training=finetune"],
    "frozen": ["training=frozen"],
    "vectors": ["model=embedding", "augment=none"],
}
EVERY = ["report=false", "devices=1", "hardware.threads=1", "hardware.workers=0", "hardware.share_devices=true"]
FIGURES = ["valid_accuracy", "valid_loss", "accepted", "precision"]


def settings_of(recipe: str, out: Path) -> list[str]:
    """Return the settings of a recipe, of which later ones count; raises KeyError if there is none of that name."""
    settings = ["experiment=cpu_small"]
    for part in recipe.split("+"):
        start = [f"model.network.checkpoint={out / part.removeprefix('from-')}.ckpt"]
        settings += start if part.startswith("from-") else RECIPES[part]
    return list({text.partition("=")[0]: text for text in settings}.values())


def train(job: tuple[Path, list[str]]) -> Path:
    """Train one run, and score its test set by the networks of round 0 and of the best round."""
    import audiotag

    run, settings = job
    run.parent.mkdir(parents=True, exist_ok=True)
    log = run.parent / f"{run.name}.log"
    with log.open("a") as file, contextlib.redirect_stdout(file), contextlib.redirect_stderr(file):
        audiotag.train([*settings, *EVERY, f"run={run}"])
        for round_ in {0, RunFolder(run).summary["best_round"]}:
            if not (run / "predict" / f"test-round{round_}" / "scores.json").is_file():
                audiotag.predict([f"run={run}", "split=test", f"round={round_}", "bootstrap=0"])
    return run


def figures(run: Path) -> dict[str, Any]:
    """Return a row of the table: figures after round 0 and, where there are more rounds, of the best one."""
    from audiotag.run.held_out import test_scores

    folder = RunFolder(run)
    recipe, _, seed = run.name.rpartition("-")
    rounds, best = folder.summary["rounds"], folder.summary["best_round"]
    row = {"set": run.parent.name, "recipe": recipe, "seed": int(seed), "rounds": len(rounds), "best_round": best}
    for when, round_, last in (("round 0", 0, 0), ("best", best, len(rounds) - 1)):
        if when == "round 0" or len(rounds) > 1:
            scores = test_scores(folder, round_)
            row |= {f"{when}: {name}": rounds[round_][name] for name in FIGURES}
            row |= {f"{when}: test_{name}": scores.get(name) for name in ("accuracy", "map@3")}
            cells = [cell for number in range(last + 1) for cell in folder.cells(number)]
            row[f"{when}: minutes"] = sum((folder.status(cell) or {})["wall_s"] for cell in cells) / 60
    return row


def show(out: Path) -> None:
    """Write the table of all runs, and print means and deviations, then gains over cpu_small."""
    runs = sorted(file.parent for file in out.glob("*/*/summary.json"))
    table = pd.DataFrame([figures(run) for run in runs])
    table.to_csv(out / "recipes.csv", index=False, float_format="%.6f")
    numbers = table.columns.drop(["set", "recipe", "seed", "rounds", "best_round"])
    groups = table.groupby(["set", "recipe", "rounds"])[list(numbers)]
    mean, deviation, count = groups.mean(), groups.std(), groups.size()
    for when in sorted({name.partition(": ")[0] for name in numbers}, reverse=True):  # round 0 first
        names = [name for name in numbers if name.startswith(when)]
        print("\n| " + " | ".join(["set", "recipe", "rounds", "runs", *names]) + " |")
        for group in mean.index[mean[names].notna().any(axis=1)]:
            cells = [f"{mean.loc[group, name]:.3f} ± {deviation.loc[group, name]:.3f}" for name in names]
            print("| " + " | ".join([*map(str, group), str(count[group]), *cells]) + " |")
    by_recipe = table.set_index(["recipe", "set", "seed"])[[name for name in numbers if "valid" in name]]
    for recipe in sorted(set(table["recipe"]) - {"cpu_small"}):
        for base in dict.fromkeys(["cpu_small", recipe.partition("+")[0]]):
            if base in by_recipe.index and base != recipe:
                print(f"\n{recipe}, less {base}:")
                show_gains(by_recipe.loc[recipe] - by_recipe.loc[base])


def show_gains(gains: pd.DataFrame) -> None:
    """Print the means of differences with their 95 % intervals, of figures that two pairs at least have."""
    for name, values in gains.items():
        known = values.dropna()
        if len(known) > 1:
            low, high = stats.t.interval(0.95, len(known) - 1, known.mean(), stats.sem(known))
            print(f"    {name} {known.mean():+.4f} ({low:+.4f} to {high:+.4f}), {len(known)} pairs")


def main(out: str, processes: str = "1", seeds: str = "", data: str = "", recipes: str = "", *settings: str) -> None:
    """Train what is asked for, and print the table of all that was."""
    folder, jobs = Path(out).absolute(), []
    given = [] if data == "embedded" else ["data=kaggle", f"data.root={Path(data).absolute()}", "data.truth=truth.csv"]
    for recipe in filter(None, recipes.split(",")):
        chosen = [*settings_of(recipe, folder), *given, *settings]
        jobs += [(folder / Path(data).name / f"{recipe}-{s}", [*chosen, f"seed={s}"]) for s in seeds.split(",")]
    with ProcessPoolExecutor(int(processes), multiprocessing.get_context("spawn"), max_tasks_per_child=1) as pool:
        for done in as_completed([pool.submit(train, job) for job in jobs]):
            print(figures(done.result()), flush=True)
    show(folder)


if __name__ == "__main__":
    main(*sys.argv[1:])

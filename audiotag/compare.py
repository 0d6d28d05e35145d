"""Runs side by side: what differs between them, and what came of it.

usage: python -m audiotag.compare [runs_dir=runs] [run=NAME | run=[A,B,...]] [over=seed] [out=comparison.csv]

Prints a row for every run folder, finished or not, or for those that are named (paths work too), and writes the same
as CSV, with a column for every setting in which the runs differ. Where they differ in verification or noise, a second
table tells what the labels that the last round was trained on did for it. With over=seed, finished runs that differ in
nothing but their seed become one row: means, and standard deviations over the runs.
"""

from __future__ import annotations

import math
from pathlib import Path
from typing import Any

import pandas as pd
from rich.padding import Padding

from audiotag.cli.composition import compose_config
from audiotag.cli.program import run_command
from audiotag.config import CompareConfig
from audiotag.config.result import concerns, result_settings
from audiotag.console import console, note, print_columns
from audiotag.errors import AudiotagError, RunError
from audiotag.files import check_output, write_csv
from audiotag.run.folder import RunFolder, find_run
from audiotag.run.held_out import test_scores
from audiotag.run.summary import valid_map3

FIGURES = ["valid_accuracy", "valid_accuracy_std", "valid_loss", "considered", "accepted", "precision", "recall"]
# Of the labels that the last round was trained on, by the round before it; then what round 0 and the last are worth.
EFFECT = {
    "labels_accepted": "Accepted",
    "labels_precision": "Precision",
    "labels_recall": "Recall",
    "round0_accuracy": "Round 0",
    "last_accuracy": "Last",
    "round0_test_accuracy": "Test 0",
    "last_test_accuracy": "Test",
    "round0_test_map@3": "MAP@3 0",
    "last_test_map@3": "MAP@3",
}
RESULTS = ["complete", "rounds", "state", "best_round", *FIGURES[:3], "valid_map@3", *FIGURES[3:]]
RESULTS += ["test_usage", "test_accuracy", "test_map@3", "wall_s", "last_round", *EFFECT]
# On the screen: a column's head, its form, and what stands in it.
SHOWN = {
    "Rounds": ("{:.0f} of {:.0f}", "complete", "rounds"),
    "Best": ("{:.0f}", "best_round"),
    "Accuracy": ("{:.4f} ± {:.4f}", "valid_accuracy", "valid_accuracy_std"),
    "Loss": ("{:.4f}", "valid_loss"),
    "MAP@3": ("{:.4f}", "valid_map@3"),
    "Accepted": ("{:.0f} of {:.0f}", "accepted", "considered"),
    "Precision": ("{:.4f}", "precision"),
    "Recall": ("{:.4f}", "recall"),
    "Test MAP@3": ("{:.4f}", "test_map@3"),
    "Time, s": ("{:.0f}", "wall_s"),
}
OWN_TABLE, OWN_MEANS = ",complete,rounds,state,", "runs,rounds,"  # in the headers of what is written
SETTINGS_OF_LABELS = ("verification.", "data.noise.")


def compare(folders: list[RunFolder], all_needed: bool = False) -> pd.DataFrame:
    """Return a row per run: `run`, a column per setting in which they differ, then `RESULTS`.

    A setting that does not concern a run is "". Runs that cannot be read are left out, which is reported; raises
    RunError if none can, or if all are needed.
    """
    read: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    problems = []
    for folder in folders:
        try:
            read.append((folder.path.name, _settings(folder), _results(folder)))
        except AudiotagError as error:
            problems.append(f"{folder.path.name}: {error}")
    if problems and (all_needed or not read):
        raise RunError("\n".join(problems))
    for problem in problems:
        note("left out:", problem)
    names = dict.fromkeys(name for _, values, _ in read for name in values)
    different = [name for name in names if len({str(values[name]) for _, values, _ in read if name in values}) > 1]
    rows = [{"run": run, **{name: values.get(name, "") for name in different}, **found} for run, values, found in read]
    return pd.DataFrame(rows, columns=["run", *different, *RESULTS])


def _settings(folder: RunFolder) -> dict[str, Any]:
    """Return what makes the run what it is; of the path of the data set, only the last folder.

    Settings are left out that this run makes nothing of, such as the columns of a table that it has not.
    """
    config = folder.config
    root = None if config.data.root is None else Path(config.data.root).name
    named = {"data.root": root, **result_settings(config)}
    return {name: value for name, value in named.items() if concerns(name, config)}


def _results(folder: RunFolder) -> dict[str, Any]:
    """Return what a run has so far; figures are those of its best round, None where there are none yet."""
    complete, asked = len(folder.complete_rounds()), folder.config.finetune_rounds + 1
    summary = folder.summary
    rounds, best = summary.get("rounds", []), summary.get("best_round")
    figures: dict[str, Any] = next((r for r in rounds if r["round"] == best), {})
    scores = {} if best is None else test_scores(folder, best)
    return {
        "complete": complete,
        "rounds": asked,
        "state": "complete" if complete == asked and summary else "unfinished",
        "best_round": best,
        **{name: figures.get(name) for name in FIGURES},
        "valid_map@3": None if best is None else round(valid_map3(folder, best), 6),
        "test_usage": (scores["usage"] or "all") if scores else None,
        "test_accuracy": scores.get("accuracy"),
        "test_map@3": scores.get("map@3"),
        "wall_s": summary.get("wall_s"),
        **(_effect(folder, rounds) if rounds else {}),
    }


def _effect(folder: RunFolder, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return which labels the last complete round was trained on, and how good round 0 and the last one are."""
    first, last = rounds[0], rounds[-1]
    before = next((r for r in rounds if r["round"] == last["round"] - 1), first)
    effect = {"last_round": last["round"]}
    effect |= {f"labels_{name}": before[name] for name in ("accepted", "precision", "recall")}
    for name, figures in (("round0", first), ("last", last)):
        scores = test_scores(folder, figures["round"])
        effect[f"{name}_accuracy"] = figures["valid_accuracy"]
        effect |= {f"{name}_test_{figure}": scores.get(figure) for figure in ("accuracy", "map@3")}
    return effect


def show(table: pd.DataFrame) -> None:
    """Print the runs with what sets them apart, then their figures; empty columns are left out."""
    names = [f"{row['run']}{'' if row['state'] == 'complete' else ' (unfinished)'}" for row in table.to_dict("records")]
    different = [str(name) for name in table.columns if name not in ("run", *RESULTS)]
    _list(names, table[different])
    numbers = [str(number + 1) for number in range(len(table))]
    print_columns({"Run": numbers, **{head: _texts(table, form, *names) for head, (form, *names) in SHOWN.items()}})
    console.print("Validation figures are those of the best round, means over the folds.", soft_wrap=True)
    if any(name.startswith(SETTINGS_OF_LABELS) for name in different):
        show_effect(table)


def _list(names: list[str], settings: pd.DataFrame) -> None:
    """Print a number and a name per row, and below it the settings that concern it."""
    for number, (name, row) in enumerate(zip(names, settings.to_dict("records"), strict=True), start=1):
        console.print(f"{number:3} {name}", soft_wrap=True)
        if row:
            text = " ".join(f"{setting}={_short(value)}" for setting, value in row.items() if value != "")
            console.print(Padding(text, (0, 0, 0, 4)), style="dim")


def _texts(table: pd.DataFrame, form: str, *names: str) -> list[str]:
    """Return a column of the screen, with nothing in it where a figure is missing."""
    rows = zip(*(table[name] for name in names), strict=True)
    return ["" if any(map(pd.isna, row)) else form.format(*row) for row in rows]


def show_effect(table: pd.DataFrame) -> None:
    """Print what the labels that the last round was trained on did for it."""
    cells = {"Run": [str(number + 1) for number in range(len(table))]}
    if "verification.name" in table:
        cells["Rule"] = [str(rule) for rule in table["verification.name"]]
    averaged_over = "runs" in table
    for name, head in EFFECT.items():
        form = "{:.0f}" if name == "labels_accepted" else "{:.3f}" if averaged_over else "{:.4f}"
        cells[head] = _texts(table, form, name)
        if averaged_over:  # one run has no deviation
            spread = _texts(table, f"±{form}", f"{name}_std")
            cells[head] = [mean + deviation for mean, deviation in zip(cells[head], spread, strict=True)]
    print_columns(cells, left=("Rule",))
    console.print(
        "Labels that the last round was trained on; validation accuracy of round 0 and of the last round; accuracy and "
        "MAP@3 on the test set of both.",
        soft_wrap=True,
    )


def averaged(table: pd.DataFrame, over: str) -> pd.DataFrame:
    """Return a row per group of complete runs that differ in the setting `over` only.

    Columns: `runs`, their number of `rounds`, settings, `EFFECT`.

    Beside each figure stands its standard deviation (of a sample; null for one run). A figure that a run of the group
    lacks is null. Raises RunError if no run is complete.
    """
    complete = table[table["state"] == "complete"]
    if complete.empty:
        raise RunError("None of the runs is complete: there is nothing to average")
    kept = ["rounds", *(str(name) for name in table.columns if name not in ("run", over, *RESULTS))]
    seeds = complete[kept].map(str).agg("\x1f".join, axis=1)  # as text: lists are settings too
    rows = []
    for _, group in complete.groupby(seeds, sort=False):
        row = {"runs": len(group), **group.iloc[0][kept].to_dict()}
        for name in EFFECT:
            figures = group[name].astype(float)
            known = figures.notna().all()
            row |= {name: figures.mean() if known else None, f"{name}_std": figures.std() if known else None}
        rows.append(row)
    return pd.DataFrame(rows)


def show_averaged(groups: pd.DataFrame, over: str, unfinished: int) -> None:
    """Print the groups with what sets them apart, then their figures."""
    figures = {"runs", *EFFECT, *(f"{name}_std" for name in EFFECT)}
    _list([f"{runs} runs" for runs in groups["runs"]], groups[[name for name in groups if name not in figures]])
    show_effect(groups)
    left = f"; {unfinished} unfinished runs are left out" if unfinished else ""
    console.print(f"Means and standard deviations over runs that differ in {over} only{left}.", soft_wrap=True)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return "null" if math.isnan(value) else f"{value:.4g}"  # pandas keeps null among numbers as NaN
    return "null" if value is None else str(value)


def find(config: CompareConfig) -> list[RunFolder]:
    """Return the run folders that are asked for; raises RunError if there is none."""
    if config.run is not None:
        names = [config.run] if isinstance(config.run, str) else list(config.run)
        return [find_run(str(name), config.runs_dir) for name in names]
    made = sorted(file.parent for file in Path(config.runs_dir).absolute().glob("[!.]*/config.yaml"))
    if not made:
        raise RunError(f"{config.runs_dir} holds no run folder: set runs_dir=DIR, or name runs with run=[A,B]")
    return [RunFolder(path) for path in made]


def main(arguments: list[str]) -> None:
    """Compare, print and write."""
    config = compose_config(CompareConfig, arguments)
    if config.out is not None:
        check_output(Path(config.out).absolute(), OWN_TABLE if config.over is None else OWN_MEANS)
    table = compare(find(config), all_needed=config.run is not None)
    if config.over is None:
        show(table)
    else:
        unfinished = int((table["state"] != "complete").sum())
        table = averaged(table, config.over)
        show_averaged(table, config.over, unfinished)
    if config.out is not None:
        write_csv(Path(config.out), table)
        console.print(f"Table: {config.out}", soft_wrap=True)


if __name__ == "__main__":
    run_command(main, __doc__)

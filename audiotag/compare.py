"""Runs side by side: what differs between them, and what came of it.

usage: python -m audiotag.compare [runs_dir=runs] [run=NAME | run=[A,B,...]] [over=seed] [out=comparison.csv]

Prints a row for every run folder, finished or not, or for those that are named (paths work too), and writes the same
as CSV, with a column for every setting in which the runs differ. Where they differ in verification or noise, a second
table tells what the labels that the last round was trained on did for it. With over=seed, finished runs that differ in
nothing but their seed become one row: means, and standard deviations over the runs.
"""

from __future__ import annotations

import math
import statistics
from pathlib import Path
from typing import Any

import pandas as pd
from rich.padding import Padding
from rich.text import Text

from audiotag.cli.composition import compose_config
from audiotag.cli.program import run_command
from audiotag.config import CompareConfig
from audiotag.config.result import concerns, result_settings
from audiotag.console import console, print_columns
from audiotag.errors import AudiotagError, RunError
from audiotag.files import check_output, read_json, write_csv
from audiotag.run.folder import Cell, RunFolder, find_run

FIGURES = ["valid_accuracy", "valid_accuracy_std", "valid_loss", "considered", "accepted", "precision", "recall"]
COLUMNS = ["complete", "rounds", "state", "best_round", *FIGURES[:3], "valid_map@3", *FIGURES[3:]]
COLUMNS += ["test_usage", "test_accuracy", "test_map@3", "wall_s"]
OWN_TABLE, OWN_MEANS = ",complete,rounds,state,", "runs,rounds,"  # in the headers of what is written
LABELS = ["accepted", "precision", "recall"]
# Of the labels that the last round was trained on, by the round before it; then what round 0 and the last are worth.
EFFECT = [*(f"labels_{name}" for name in LABELS), "round0_accuracy", "last_accuracy"]
EFFECT += ["round0_test_accuracy", "last_test_accuracy", "round0_test_map@3", "last_test_map@3"]
COLUMNS += ["last_round", *EFFECT]
SETTINGS_OF_LABELS = ("verification.", "data.noise.")


def compare(folders: list[RunFolder]) -> pd.DataFrame:
    """Return a row per run: `run`, a column per setting in which they differ, then `COLUMNS`.

    A setting that does not concern a run is "". Runs that cannot be read are left out, and said; raises RunError if
    none can.
    """
    read: list[tuple[str, dict[str, Any], dict[str, Any]]] = []
    for folder in folders:
        try:
            read.append((folder.path.name, _settings(folder), _results(folder)))
        except AudiotagError as error:
            console.print(f"left out: {error}", soft_wrap=True)
    if not read:
        raise RunError("None of the runs can be read; see above")
    names = dict.fromkeys(name for _, values, _ in read for name in values)
    different = [name for name in names if len({str(values[name]) for _, values, _ in read if name in values}) > 1]
    rows = [{"run": run, **{name: values.get(name, "") for name in different}, **found} for run, values, found in read]
    return pd.DataFrame(rows, columns=["run", *different, *COLUMNS])


def _settings(folder: RunFolder) -> dict[str, Any]:
    """Return what makes the run what it is; of the data set's place, only the folder's name.

    Settings are left out that this run makes nothing of, such as the columns of a table that it has not.
    """
    config = folder.config
    root = None if config.data.root is None else Path(config.data.root).name
    named = {"data.root": root, **result_settings(config)}
    return {name: value for name, value in named.items() if concerns(name, config)}


def _results(folder: RunFolder) -> dict[str, Any]:
    """Return what a run has so far; figures are those of its best round, None where there are none yet."""
    config, rounds = folder.config, folder.complete_rounds()
    summary = folder.summary or {}
    best = summary.get("best_round")
    figures: dict[str, Any] = next((r for r in summary.get("rounds", []) if r["round"] == best), {})
    scores = {} if best is None else _test_scores(folder, best)
    return {
        "complete": len(rounds),
        "rounds": config.finetune_rounds + 1,
        "state": "complete" if len(rounds) == config.finetune_rounds + 1 and summary else "unfinished",
        "best_round": best,
        **{name: figures.get(name) for name in FIGURES},
        "valid_map@3": None if best is None else _map3(folder, best),
        "test_usage": (scores["usage"] or "all") if scores else None,
        "test_accuracy": scores.get("accuracy"),
        "test_map@3": scores.get("map@3"),
        "wall_s": summary.get("wall_s"),
        **_effect(folder, summary.get("rounds", [])),
    }


def _effect(folder: RunFolder, rounds: list[dict[str, Any]]) -> dict[str, Any]:
    """Return which labels the last complete round was trained on, and how good round 0 and the last one are."""
    if not rounds:
        return {}
    first, last = rounds[0], rounds[-1]
    before = next((r for r in rounds if r["round"] == last["round"] - 1), first)
    tests = {name: _test_scores(folder, r["round"]) for name, r in (("round0", first), ("last", last))}
    return {
        "last_round": last["round"],
        **{f"labels_{name}": before[name] for name in LABELS},
        "round0_accuracy": first["valid_accuracy"],
        "last_accuracy": last["valid_accuracy"],
        **{f"{name}_test_{figure}": tests[name].get(figure) for name in tests for figure in ("accuracy", "map@3")},
    }


def _test_scores(folder: RunFolder, round_: int) -> dict[str, Any]:
    """Return the scores of a round's networks together, of as much of the test set as `predict.py` has scored."""
    for usage in ("", "private_public", "private", "public"):
        for asked in (f"round{round_}", ""):
            scores = _json(folder.path / "predict" / "-".join(filter(None, ["test", usage, asked])) / "scores.json")
            if scores.get("round") == round_:
                return scores
    return {}


def _map3(folder: RunFolder, round_: int) -> float:
    cells = [folder.status(Cell(round_, fold)) or {} for fold in range(folder.config.folds)]
    return round(statistics.fmean(cell["valid_map3"] for cell in cells), 6)


def _json(file: Path) -> dict[str, Any]:
    return read_json(file, "delete it, and predict.py split=test writes it again") if file.is_file() else {}


def show(table: pd.DataFrame) -> None:
    """Print the runs with what sets them apart, then their figures; empty columns are left out."""
    different = [str(name) for name in table.columns if name not in ("run", *COLUMNS)]
    for number, row in enumerate(table.to_dict("records"), start=1):
        unfinished = "" if row["state"] == "complete" else " (unfinished)"
        console.print(Text.assemble(f"{number:3} {row['run']}", (unfinished, "yellow")), soft_wrap=True)
        if different:
            concerned = [name for name in different if row[name] != ""]
            settings = " ".join(f"{name}={_short(row[name])}" for name in concerned)
            console.print(Padding(settings, (0, 0, 0, 4)), style="dim")
    print_columns(_cells(table))
    console.print("Validation figures are those of the best round, means over the folds.", soft_wrap=True)
    if any(name.startswith(SETTINGS_OF_LABELS) for name in different):
        show_effect(table, [str(number + 1) for number in range(len(table))])


def show_effect(table: pd.DataFrame, names: list[str]) -> None:
    """Print what the labels that the last round was trained on did for it; `names` are the rows' own."""
    cells = {"Run": names}
    if "verification.name" in table:
        cells["Rule"] = [str(rule) for rule in table["verification.name"]]
    heads = ["Accepted", "Precision", "Recall", "Round 0", "Last", "Test 0", "Test", "MAP@3 0", "MAP@3"]
    cells |= {head: _spread(table, name) for head, name in zip(heads, EFFECT, strict=True)}
    print_columns(cells, left=("Rule",))
    console.print(
        "Labels that the last round was trained on; validation accuracy of round 0 and of the last round; accuracy and "
        "MAP@3 on the test set of both.",
        soft_wrap=True,
    )


def _spread(table: pd.DataFrame, name: str) -> list[str]:
    """Return a figure as text, with its deviation over runs where there is one."""
    spread = table.get(f"{name}_std")
    form = "{:.0f}" if name == "labels_accepted" else "{:.4f}" if spread is None else "{:.3f}"
    deviations = [None] * len(table) if spread is None else spread
    return [
        "" if pd.isna(value) else form.format(value) + ("" if pd.isna(std) else f"±{form.format(std)}")
        for value, std in zip(table[name], deviations, strict=True)
    ]


def averaged(table: pd.DataFrame, over: str) -> pd.DataFrame:
    """Return a row per group of complete runs that differ in the setting `over` only.

    Columns: `runs`, their number of `rounds`, settings, `EFFECT`.

    Beside each figure stands its standard deviation (of a sample; null for one run). A figure that a run of the group
    lacks is null. Raises RunError where no run is complete.
    """
    complete = table[table["state"] == "complete"]
    if complete.empty:
        raise RunError("None of the runs is complete: there is nothing to average")
    kept = ["rounds", *(str(name) for name in table.columns if name not in ("run", over, *COLUMNS))]
    keys = complete[kept].map(str).agg("\x1f".join, axis=1)  # as text: lists are settings too
    rows = []
    for _, group in complete.groupby(keys, sort=False):
        figures = group[EFFECT].astype(float)
        spread = {name: figures[name].agg(["mean", "std"]) for name in EFFECT if figures[name].notna().all()}
        row = {"runs": len(group), **group.iloc[0][kept].to_dict()}
        for name in EFFECT:
            row[name], row[f"{name}_std"] = spread.get(name, (None, None))
        rows.append(row)
    return pd.DataFrame(rows)


def show_averaged(groups: pd.DataFrame, over: str, unfinished: int) -> None:
    """Print the groups with what sets them apart, then their figures."""
    figures = {"runs", *EFFECT, *(f"{name}_std" for name in EFFECT)}
    for number, row in enumerate(groups.to_dict("records"), start=1):
        settings = " ".join(
            f"{name}={_short(row[name])}" for name in groups.columns if name not in figures and row[name] != ""
        )
        console.print(f"{number:3} {row['runs']} runs", Text(settings, "dim"), soft_wrap=True)
    show_effect(groups, [str(number + 1) for number in range(len(groups))])
    left = f"; {unfinished} unfinished runs are left out" if unfinished else ""
    console.print(f"Means and standard deviations over runs that differ in {over} only{left}.", soft_wrap=True)


def _short(value: Any) -> str:
    if isinstance(value, float):
        return "null" if math.isnan(value) else f"{value:.4g}"  # pandas keeps null among numbers as NaN
    return "null" if value is None else str(value)


def _cells(table: pd.DataFrame) -> dict[str, list[str]]:
    """Return what stands in each column on the screen, empty where there is nothing."""
    return {
        "Run": [str(number + 1) for number in range(len(table))],
        "Rounds": [f"{done} of {of}" for done, of in zip(table["complete"], table["rounds"], strict=True)],
        "Best": _shown(table, "{:.0f}", "best_round"),
        "Accuracy": _shown(table, "{:.4f} ± {:.4f}", "valid_accuracy", "valid_accuracy_std"),
        "Loss": _shown(table, "{:.4f}", "valid_loss"),
        "MAP@3": _shown(table, "{:.4f}", "valid_map@3"),
        "Accepted": _shown(table, "{:.0f} of {:.0f}", "accepted", "considered"),
        "Precision": _shown(table, "{:.4f}", "precision"),
        "Recall": _shown(table, "{:.4f}", "recall"),
        "Test MAP@3": _shown(table, "{:.4f}", "test_map@3"),
        "Time, s": _shown(table, "{:.0f}", "wall_s"),
    }


def _shown(table: pd.DataFrame, form: str, *names: str) -> list[str]:
    rows = zip(*(table[name] for name in names), strict=True)
    return ["" if any(map(pd.isna, row)) else form.format(*row) for row in rows]


def find(config: CompareConfig) -> list[RunFolder]:
    """Return the run folders that are asked for; raises RunError where there is none, or not that one."""
    if config.run is not None:
        names = [config.run] if isinstance(config.run, str) else list(config.run)
        return [find_run(str(name), config.runs_dir) for name in names]
    made = sorted(file.parent for file in Path(config.runs_dir).absolute().glob("[!.]*/config.yaml"))
    if not made:
        raise RunError(f"{config.runs_dir} holds no run folder: set runs_dir=DIR, or name runs with run=[A,B]")
    return [RunFolder(path) for path in made]


def _readable(folders: list[RunFolder], all_needed: bool) -> list[RunFolder]:
    """Return the runs whose configuration can be read, and name the others; raises RunError where that leaves none."""
    problems, found = [], []
    for folder in folders:
        try:
            folder.config  # noqa: B018 - read for the first time, and kept
            found.append(folder)
        except AudiotagError as error:
            problems.append(f"{folder.path.name}: {error}")
    if problems and (all_needed or not found):
        raise RunError("\n".join(problems))
    for problem in problems:
        console.print(Text("left out:", "yellow"), problem, soft_wrap=True)
    return found


def main(arguments: list[str]) -> None:
    """Compare, print and write."""
    config = compose_config(CompareConfig, arguments)
    if config.out is not None:
        check_output(Path(config.out).absolute(), OWN_TABLE if config.over is None else OWN_MEANS)
    table = compare(_readable(find(config), all_needed=config.run is not None))
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

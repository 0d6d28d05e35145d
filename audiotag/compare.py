"""Runs side by side: what differs between them, and what came of it.

usage: python -m audiotag.compare [runs_dir=runs] [run=NAME | run=[A,B,...]] [out=comparison.csv]

Prints a row for every run folder, finished or not, or for those that are named (paths work too), and writes the same as
CSV, with a column for every setting in which the runs differ.
"""

from __future__ import annotations

import json
import statistics
import sys
from pathlib import Path
from typing import Any

import pandas as pd
from hydra import compose, initialize_config_dir
from rich import box
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding
from rich.table import Table

from audiotag.arguments import CONF
from audiotag.command import check_command_line, register, reported
from audiotag.config import CompareConfig
from audiotag.console import console
from audiotag.errors import AudiotagError, ConfigError, RunError
from audiotag.experiment.run_folder import Cell, RunFolder, find_run, is_free
from audiotag.files import write_csv
from audiotag.schema import leaves, to_dict, validate

FIGURES = ["valid_accuracy", "valid_accuracy_std", "valid_loss", "considered", "accepted", "precision", "recall"]
COLUMNS = ["complete", "rounds", "state", "best_round", *FIGURES[:3], "valid_map@3", *FIGURES[3:]]
COLUMNS += ["test_usage", "test_accuracy", "test_map@3", "wall_s"]


def compare(folders: list[RunFolder]) -> pd.DataFrame:
    """Return a row per run: `run`, a column per setting in which they differ, then `COLUMNS`.

    Raises AudiotagError where a run's configuration cannot be read.
    """
    settings = [{k: v for k, v in leaves(to_dict(folder.config)) if not is_free(k)} for folder in folders]
    different = [name for name in settings[0] if len({str(values.get(name)) for values in settings}) > 1]
    rows = [
        {"run": folder.path.name, **{name: values.get(name) for name in different}, **_results(folder)}
        for folder, values in zip(folders, settings, strict=True)
    ]
    return pd.DataFrame(rows, columns=["run", *different, *COLUMNS])


def _results(folder: RunFolder) -> dict[str, Any]:
    """Return what a run has so far; figures are those of its best round, None where there are none yet."""
    config, rounds = folder.config, folder.complete_rounds()
    summary = _json(folder.summary_file)
    best = summary.get("best_round")
    figures: dict[str, Any] = next((r for r in summary.get("rounds", []) if r["round"] == best), {})
    scores = _json(folder.path / "predict" / "scores.json")
    return {
        "complete": len(rounds),
        "rounds": config.rounds + 1,
        "state": "complete" if len(rounds) == config.rounds + 1 and summary else "unfinished",
        "best_round": best,
        **{name: figures.get(name) for name in FIGURES},
        "valid_map@3": None if best is None else _map3(folder, best),
        "test_usage": (scores["usage"] or "all") if scores else None,
        "test_accuracy": scores.get("accuracy"),
        "test_map@3": scores.get("map@3"),
        "wall_s": summary.get("wall_s"),
    }


def _map3(folder: RunFolder, round_: int) -> float:
    cells = [folder.status(Cell(round_, fold)) or {} for fold in range(folder.config.folds)]
    return round(statistics.fmean(cell["valid_map3"] for cell in cells), 6)


def _json(file: Path) -> dict[str, Any]:
    return dict(json.loads(file.read_text(encoding="utf-8"))) if file.is_file() else {}


def show(table: pd.DataFrame) -> None:
    """Print the runs with what sets them apart, then their figures; empty columns are left out."""
    different = [str(name) for name in table.columns if name not in ("run", *COLUMNS)]
    for number, row in enumerate(table.to_dict("records"), start=1):
        unfinished = "" if row["state"] == "complete" else " [yellow](unfinished)[/]"
        console.print(f"{number:3} {escape(row['run'])}{unfinished}", soft_wrap=True)
        if different:
            settings = escape(" ".join(f"{name}={_short(row[name])}" for name in different))
            console.print(Padding(settings, (0, 0, 0, 4)), style="dim")
    screen = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
    filled = {name: cells for name, cells in _cells(table).items() if any(cells)}
    for name in filled:
        screen.add_column(name, justify="right")
    for values in zip(*filled.values(), strict=True):
        screen.add_row(*values)
    # Where the output is no terminal, nothing need be folded.
    (console if console.is_terminal else Console(width=max(console.width, 120))).print(screen)
    console.print("Validation figures are those of the best round, means over the folds.", soft_wrap=True)


def _short(value: Any) -> str:
    return f"{value:.4g}" if isinstance(value, float) else str(value)


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
        console.print(f"[yellow]left out:[/] {escape(problem)}", soft_wrap=True)
    return found


def configure(arguments: list[str]) -> CompareConfig:
    """Return the settings of the command line; raises ConfigError."""
    check_command_line(CompareConfig, arguments)
    register(CompareConfig, "compare_schema")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return validate(compose("compare_schema", arguments), CompareConfig)


def main(arguments: list[str]) -> None:
    """Compare, print and write."""
    if {"--help", "-h"} & set(arguments):
        print((__doc__ or "").strip())
        return
    config = configure(arguments)
    if config.out is not None and Path(config.out).is_dir():
        raise ConfigError("The table has no place to be written to:", [f"out={config.out} is a folder"])
    table = compare(_readable(find(config), all_needed=config.run is not None))
    show(table)
    if config.out is not None:
        write_csv(Path(config.out), table)
        console.print(f"Table: {config.out}", soft_wrap=True)


if __name__ == "__main__":
    reported(lambda: main(sys.argv[1:]))

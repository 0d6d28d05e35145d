"""Scores as files and on the screen: `scores.json`, `per_class.csv`, and a table like the writeup's."""

from __future__ import annotations

import statistics
from pathlib import Path
from typing import Any

from rich.markup import escape
from rich.table import Table

from audiotag.console import console
from audiotag.evaluation.metrics import RATES, Scores
from audiotag.files import write_csv, write_json


def write_scores(
    folder: Path, scores: Scores, usage: str | None, folds: dict[int, Scores], about: dict[str, Any]
) -> None:
    """Write `scores.json` and `per_class.csv` into a folder.

    `usage` is the part of the test set that was scored, None for all of it; `folds` are the scores of each fold's
    network by itself, `about` is whatever else says what was scored.
    """
    write_csv(folder / "per_class.csv", scores.per_class)
    rows = scores.per_class.to_dict("records")
    content = {
        "usage": usage,
        "clips": scores.clips,
        "accuracy": round(scores.accuracy, 6),
        "map@3": round(scores.map3, 6),
        "macro": _rounded(scores.macro),
        "per_class": [_rounded({str(name): value for name, value in row.items()}) for row in rows],
        "folds": [
            {"fold": fold, "clips": s.clips, "accuracy": round(s.accuracy, 6), "map@3": round(s.map3, 6)}
            for fold, s in sorted(folds.items())
        ],
        **about,
    }
    write_json(folder / "scores.json", content)


def print_scores(scores: Scores, folds: dict[int, Scores], title: str) -> None:
    """Print the scores of each class, their average, and the overall accuracy and MAP@3."""
    table = Table(title=escape(title), title_justify="left", box=None, pad_edge=False)
    table.add_column("LABEL", justify="right", no_wrap=True)
    for name in ("CNT", "ACC", "PR", "RE", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in scores.per_class.to_dict("records"):
        table.add_row(escape(row["label"]), str(row["count"]), *(f"{row[name]:.3f}" for name in RATES))
    table.add_section()
    average = scores.macro
    table.add_row("average", str(scores.clips), *(f"{average[name]:.3f}" for name in RATES))
    console.print(table)
    if scores.per_class["count"].eq(0).any():
        console.print("Classes without clips (CNT 0) are not part of the average.")
    console.print(f"Overall accuracy: {100 * scores.accuracy:.3f} %   MAP@3: {scores.map3:.4f}")
    if len(folds) > 1:
        percents, maps = [100 * s.accuracy for s in folds.values()], [s.map3 for s in folds.values()]
        console.print(
            "Mean of the folds' networks: "
            f"accuracy {statistics.fmean(percents):.3f} ± {statistics.pstdev(percents):.3f} %, "
            f"MAP@3 {statistics.fmean(maps):.4f} ± {statistics.pstdev(maps):.4f}"
        )


def _rounded(values: dict[str, Any]) -> dict[str, Any]:
    return {name: round(value, 6) if isinstance(value, float) else value for name, value in values.items()}

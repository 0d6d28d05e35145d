"""Scores as files and on the screen: `scores.json`, tables and pictures of the classes.

All of it is computed from ranked labels, whoever made them.
"""

from __future__ import annotations

import statistics
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from rich.table import Table

from audiotag.console import console
from audiotag.evaluation.bootstrap import Intervals, bootstrap_intervals
from audiotag.evaluation.metrics import RATES, Scores, first_labels, score_ranked
from audiotag.files import write_csv, write_json

OTHERS = ("per_class.csv", "confusion_matrix.csv", "confusion_matrix.png", "f1.png")


@dataclass(frozen=True)
class ScoreFiles:
    """Files of one scoring: `scores.json`, `per_class.csv`, ... or, with a stem, STEM.json, STEM_per_class.csv, ..."""

    folder: Path
    stem: str = ""

    @property
    def scores(self) -> Path:
        """The file of all figures."""
        return self.folder / f"{self.stem or 'scores'}.json"

    def beside(self, name: str) -> Path:
        """Return the place of another file."""
        return self.folder / (f"{self.stem}_{name}" if self.stem else name)

    @property
    def others(self) -> list[str]:
        """The names of all files but the first."""
        return [self.beside(name).name for name in OTHERS]


def report_scores(
    files: ScoreFiles,
    ranked: Sequence[Sequence[str]],
    labels: Sequence[str],
    classes: Sequence[str],
    usage: str | None,
    resamples: int,
    title: str,
    folds: dict[int, Scores],
    about: dict[str, Any],
) -> Scores:
    """Score N clips' labels, best first, against the right ones; write all files of it, print it, and return it.

    `usage`, `folds` and `about` are as in `write_scores`; `resamples` of the bootstrap, 0 for no intervals.
    """
    scores = score_ranked(ranked, labels, classes)
    intervals = bootstrap_intervals(ranked, labels, resamples)
    write_scores(files, scores, usage, folds, about, intervals)
    draw_classes(files, scores, labels, first_labels(ranked), classes, title)
    print_scores(scores, folds, title, intervals)
    return scores


def write_scores(
    files: ScoreFiles,
    scores: Scores,
    usage: str | None,
    folds: dict[int, Scores],
    about: dict[str, Any],
    intervals: Intervals | None = None,
) -> None:
    """Write `scores.json` and `per_class.csv`.

    `usage` is the part of the test set that was scored, None for all of it; `folds` are the scores of each fold's
    network by itself, `about` is whatever else says what was scored.
    """
    write_csv(files.beside("per_class.csv"), scores.per_class)
    between = {} if intervals is None else {"accuracy_ci": intervals.accuracy, "map@3_ci": intervals.map3}
    content = {
        "usage": usage,
        **figures(scores),
        **{name: [round(end, 6) for end in ends] for name, ends in between.items()},
        **({} if intervals is None else {"resamples": intervals.resamples}),
        "macro": {name: round(rate, 6) for name, rate in scores.macro.items()},
        "per_class": scores.per_class.round(6).to_dict("records"),
        "folds": [{"fold": fold, **figures(s)} for fold, s in sorted(folds.items())],
        **about,
    }
    write_json(files.scores, content)


def figures(scores: Scores) -> dict[str, Any]:
    """Return clips, accuracy, MAP@3 and lwlrap, where it is defined, as `scores.json` holds them."""
    rates = {"accuracy": scores.accuracy, "map@3": scores.map3, "lwlrap": scores.lwlrap}
    return {"clips": scores.clips, **{name: round(rate, 6) for name, rate in rates.items() if rate is not None}}


def draw_classes(
    files: ScoreFiles, scores: Scores, labels: Sequence[str], first: Sequence[str], classes: Sequence[str], title: str
) -> None:
    """Write `f1.png`, and `confusion_matrix.csv` and `.png` of N labels and the N labels predicted first."""
    # Here: matplotlib takes a second, and a wrong name should be reported before.
    from audiotag.plots.figures import confusion_matrix, confusion_table, f1_bars, save_png

    write_csv(files.beside("confusion_matrix.csv"), confusion_table(labels, first, classes))
    save_png(files.beside("confusion_matrix.png"), confusion_matrix(labels, first, classes, title))
    save_png(files.beside("f1.png"), f1_bars(scores.per_class, title))


def print_scores(scores: Scores, folds: dict[int, Scores], title: str, intervals: Intervals | None = None) -> None:
    """Print the scores of each class and of all clips, and between what accuracy and MAP@3 may lie."""
    table = Table(title=title, title_justify="left", box=None, pad_edge=False)
    for name in ("LABEL", "CNT", "ACC", "PR", "RE", "F1"):
        table.add_column(name, justify="right", no_wrap=True)
    for row in scores.per_class.to_dict("records"):
        table.add_row(row["label"], str(row["count"]), *(f"{row[name]:.3f}" for name in RATES))
    table.add_section()
    table.add_row("average", str(scores.clips), *(f"{rate:.3f}" for rate in scores.macro.values()))
    console.print(table)
    if scores.per_class["count"].eq(0).any():
        console.print("Classes without clips (CNT 0) are not part of the average.")
    deep = "" if scores.lwlrap is None else f"   lwlrap: {scores.lwlrap:.4f}"
    console.print(f"Overall accuracy: {100 * scores.accuracy:.3f} %   MAP@3: {scores.map3:.4f}{deep}")
    if intervals is not None:
        (low, high), (map_low, map_high) = intervals.accuracy, intervals.map3
        console.print(
            f"95 % intervals ({intervals.resamples} resamples of the clips): accuracy {100 * low:.3f} to "
            f"{100 * high:.3f} %, MAP@3 {map_low:.4f} to {map_high:.4f}",
            soft_wrap=True,
        )
    if len(folds) > 1:
        percents, maps = [100 * s.accuracy for s in folds.values()], [s.map3 for s in folds.values()]
        console.print(
            "Mean of the folds' networks: "
            f"accuracy {statistics.fmean(percents):.3f} ± {statistics.pstdev(percents):.3f} %, "
            f"MAP@3 {statistics.fmean(maps):.4f} ± {statistics.pstdev(maps):.4f}"
        )

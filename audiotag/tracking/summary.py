"""What trackers show of a whole experiment: curves over rounds, ledger, confusions, figures per class, files."""

from __future__ import annotations

import hashlib
import json
import os
from pathlib import Path
from typing import Any

import pandas as pd

from audiotag.config import TrainConfig
from audiotag.config.schema import to_dict
from audiotag.files import csv_text
from audiotag.run.folder import Cell, RunFolder
from audiotag.tracking.trackers import SUMMARY, Trackers, TrackingFile, given_up, open_trackers


def track_summary(config: TrainConfig, folder: RunFolder, summary: dict[str, Any], ledger: pd.DataFrame) -> None:
    """Show the experiment so far.

    Does nothing before a round is complete, and nothing where all of it was shown before.
    """
    if not summary["rounds"]:
        return
    shown = {name: value for name, value in summary.items() if name != "wall_s"}
    # Asked for later, files are handed over later.
    state = json.dumps([shown, config.logger.artifacts]) + csv_text(ledger)
    digest = hashlib.sha256(state.encode()).hexdigest()[:16]
    kept = TrackingFile(folder.path)
    before = kept.content().get("summarised", {})
    for name in config.logger.trackers:
        section = _section(name)
        if before.get(section, {}).get("digest") == digest:
            continue
        with open_trackers([name], config, folder, (SUMMARY, folder.path.name, SUMMARY, to_dict(config))) as trackers:
            _show(trackers, config, folder, summary, ledger, before.get(section, {}).get("rounds", 0))
        if name not in given_up:
            kept.note("summarised", section, {"digest": digest, "rounds": len(summary["rounds"])})


def _section(name: str) -> str:
    """Name the run that a summary is shown in: that of a W&B sweep's agent is another each time."""
    agent = os.environ.get("WANDB_RUN_ID")
    return f"{name} {agent}" if agent else name


def _show(
    trackers: Trackers,
    config: TrainConfig,
    folder: RunFolder,
    summary: dict[str, Any],
    ledger: pd.DataFrame,
    rounds_before: int,
) -> None:
    # Here: scikit-learn is slow to import, and every process of every job would.
    from audiotag.plots.figures import confusion_matrix, curves_over_rounds
    from audiotag.run.held_out import held_out, per_class_table

    rounds, best = summary["rounds"], summary["best_round"]
    last = rounds[-1]["round"]
    for row in rounds[rounds_before:]:
        trackers.show("metrics", {name: v for name, v in row.items() if isinstance(v, int | float)}, row["round"])
    of_best = next(row for row in rounds if row["round"] == best)
    figures_of_best = {f"best_{name}": of_best[name] for name in ("round", "valid_loss", "valid_accuracy")}
    trackers.show("metrics", figures_of_best, last)
    trackers.show("table", "ledger", ledger, last)
    trackers.show("figure", "curves_over_rounds", curves_over_rounds(rounds), last)
    tested = held_out(folder, best)
    if tested is not None:
        trackers.show("table", "per_class", per_class_table(tested.scores, ledger[ledger["round"] == best]), last)
        title = f"Verified clips, held out, round {best}"
        figure = confusion_matrix(tested.labels, tested.predicted, folder.classes, title)
        trackers.show("figure", "confusion_matrix", figure, last)
    weights = {f"fold{f}.ckpt": folder.cell(Cell(best, f)) / "best.ckpt" for f in range(config.folds)}
    files: dict[str, tuple[str, dict[str, Path]]] = {
        "manifest": ("dataset", {"manifest.csv": folder.manifest_file}),
        "weights": ("model", weights),
    }
    for name in config.logger.artifacts or ():
        trackers.show("files", name, *files[name])

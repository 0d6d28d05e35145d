"""What is shown of a run elsewhere: a run of each tracking service per cell, and one for the whole experiment."""

from __future__ import annotations

import contextlib
import hashlib
import importlib.util
import json
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from audiotag.config import TrainConfig
from audiotag.config.schema import to_dict
from audiotag.distributed import context
from audiotag.distributed.processes import last_words
from audiotag.errors import AudiotagError
from audiotag.files import csv_text
from audiotag.run.folder import Cell, RunFolder
from audiotag.tracking.trackers import (
    Kept,
    Tracked,
    Tracker,
    give_up,
    given_up,
    mlflow_session,
    open_mlflow,
    open_tensorboard,
    tracking_uri,
)
from audiotag.tracking.wandb_tracker import open_wandb, say_where, wandb_session


def check_trackers(config: TrainConfig, folder: RunFolder) -> None:
    """Refuse what cannot be tracked before any work is done, and say where W&B is kept; raises AudiotagError."""
    given_up.clear()
    for service in _enabled(config):
        missing = [name for name in _packages(service, config) if not _installed(name)]
        if missing:
            raise AudiotagError(
                f"logger={service}: {', '.join(missing)} is not installed: pip install -e '.[{service}]'"
            )
        if service == "wandb":
            say_where(config.logger.wandb, folder)


def _enabled(config: TrainConfig) -> list[str]:
    return [name for name in ("wandb", "tensorboard", "mlflow") if getattr(config.logger, name).enabled]


def _packages(service: str, config: TrainConfig) -> list[str]:
    database = service == "mlflow" and not tracking_uri(config.logger.mlflow).startswith("http")
    return [service, *(("sqlalchemy", "alembic") if database else ())]


def _installed(package: str) -> bool:
    spec = importlib.util.find_spec(package)
    return spec is not None and spec.origin is not None  # a mere folder, such as W&B's own `wandb/`, has no origin


@contextlib.contextmanager
def cell_loggers(config: TrainConfig, folder: RunFolder, cell: Cell) -> Iterator[list[Tracker]]:
    """Yield a cell's loggers for its Trainer, and finish them whatever happens; none in any but the first process."""
    if not context.is_rank_zero():
        yield []
        return
    key = folder.cell(cell).relative_to(folder.path).as_posix()
    job_type = "pretrain" if cell.round == 0 else "finetune"
    about = {**to_dict(config), "cell": {"round": cell.round, "fold": cell.fold}}
    with _open_trackers(_enabled(config), config, folder, Tracked(key, str(cell), job_type, about)) as trackers:
        yield trackers


def track_summary(config: TrainConfig, folder: RunFolder, summary: dict[str, Any], ledger: pd.DataFrame) -> None:
    """Track the experiment so far: curves over rounds, ledger, confusion matrix, figures per class, files asked for.

    Does nothing before a round is complete, and nothing where all of it was tracked before.
    """
    if not summary["rounds"] or not _enabled(config):
        return
    shown = {name: value for name, value in summary.items() if name != "wall_s"}
    # Asked for later, files are handed over later.
    state = json.dumps([shown, config.logger.artifacts]) + csv_text(ledger)
    digest = hashlib.sha256(state.encode()).hexdigest()[:16]
    kept = Kept(folder)
    before = kept.content().get("summarised", {})
    waiting = [name for name in _enabled(config) if before.get(_summarised(name), {}).get("digest") != digest]
    if not waiting:
        return
    content = _content(config, folder, summary, ledger)
    with _open_trackers(
        waiting, config, folder, Tracked("summary", folder.path.name, "summary", to_dict(config))
    ) as trackers:
        for tracker in trackers:
            name = _summarised(tracker.service)
            _track(tracker, content, before.get(name, {}).get("rounds", 0))
            kept.note("summarised", name, {"digest": digest, "rounds": len(summary["rounds"])})


def _summarised(service: str) -> str:
    """Name the run that a summary is tracked in: that of a sweep's agent is another each time."""
    agent = os.environ.get("WANDB_RUN_ID") if service == "wandb" else None
    return f"{service} {agent}" if agent else service


@dataclass(frozen=True)
class _Content:
    rounds: list[dict[str, Any]]
    best: dict[str, Any]
    tables: dict[str, pd.DataFrame]
    figures: dict[str, Figure]
    files: dict[str, tuple[str, dict[str, Path]]]


def _content(config: TrainConfig, folder: RunFolder, summary: dict[str, Any], ledger: pd.DataFrame) -> _Content:
    # Here: scikit-learn is slow to import, and every process of every job would.
    from audiotag.plots.figures import confusion_matrix, curves_over_rounds
    from audiotag.run.held_out import held_out, per_class_table

    rounds, best = summary["rounds"], summary["best_round"]
    of_best = next(r for r in rounds if r["round"] == best)
    tables = {"ledger": ledger}
    figures = {"curves_over_rounds": curves_over_rounds(rounds)}
    heard = held_out(folder, best)
    if heard is not None:
        tables["per_class"] = per_class_table(heard.scores, ledger[ledger["round"] == best])
        title = f"Verified clips, held out, round {best}"
        figures["confusion_matrix"] = confusion_matrix(heard.labels, heard.predicted, folder.classes, title)
    weights = {f"fold{f}.ckpt": folder.cell(Cell(best, f)) / "best.ckpt" for f in range(config.folds)}
    files = {"manifest": ("dataset", {"manifest.csv": folder.manifest_file}), "weights": ("model", weights)}
    return _Content(
        rounds=[{name: value for name, value in r.items() if value is not None} for r in rounds],
        best={"best_round": best, **{f"best_{name}": of_best[name] for name in ("valid_loss", "valid_accuracy")}},
        tables=tables,
        figures=figures,
        files={name: files[name] for name in config.logger.artifacts or ()},
    )


def _track(tracker: Tracker, content: _Content, rounds_before: int) -> None:
    for row in content.rounds[rounds_before:]:
        tracker.row(row, row["round"])
    last = content.rounds[-1]["round"]
    tracker.row(content.best, last)
    for name, table in content.tables.items():
        tracker.table(name, table, last)
    for name, figure in content.figures.items():
        tracker.figure(name, figure, last)
    for name, (kind, paths) in content.files.items():
        tracker.files(name, kind, paths)


@contextlib.contextmanager
def _open_trackers(
    services: list[str], config: TrainConfig, folder: RunFolder, tracked: Tracked
) -> Iterator[list[Tracker]]:
    opening: dict[str, Callable[[], Tracker | None]] = {
        "wandb": lambda: open_wandb(config.logger.wandb, folder, tracked),
        "tensorboard": lambda: open_tensorboard(folder, tracked),
        "mlflow": lambda: open_mlflow(config.logger.mlflow, folder, tracked),
    }
    sessions = {"wandb": lambda: wandb_session(folder, tracked.key == "summary"), "mlflow": mlflow_session}
    trackers: list[Tracker] = []
    failed = True
    with contextlib.ExitStack() as stack:
        try:
            for service in services:
                stack.enter_context(sessions.get(service, contextlib.nullcontext)())
                trackers += _opened(service, opening[service])
            stack.enter_context(last_words(lambda: _finish_all(trackers, failed=True)))
            yield trackers
            failed = False
        finally:
            _finish_all(trackers, failed)


def _finish_all(trackers: list[Tracker], failed: bool) -> None:
    for tracker in trackers:
        tracker.finish(failed)


def _opened(service: str, open_: Callable[[], Tracker | None]) -> list[Tracker]:
    if service in given_up:
        return []
    try:
        tracker = open_()
    except AudiotagError:
        raise
    except Exception as error:  # noqa: BLE001 - services raise all kinds; none is worth the training
        give_up(service, error)
        return []
    return [] if tracker is None else [tracker]

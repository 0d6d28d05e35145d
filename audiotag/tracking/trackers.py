"""What tracking services have in common, and the two that need no account: TensorBoard and MLflow.

A tracker is Lightning's own logger of the service that also takes pictures, tables and files, and never raises: a run
is never lost for what could not be shown of it.
"""

from __future__ import annotations

import contextlib
import json
import logging
import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure
from pytorch_lightning.loggers import Logger, MLFlowLogger, TensorBoardLogger
from rich.text import Text

from audiotag.config import Mlflow
from audiotag.console import console
from audiotag.files import FileLock, csv_text, write_json
from audiotag.run.folder import RunFolder

SHOWN_ROWS = 200  # of a table in TensorBoard, which has text only

given_up: set[str] = set()  # services that failed in this experiment, and are left alone for the rest of it


@dataclass(frozen=True)
class Tracked:
    """What one run of a service shows: a cell, or the summary of the experiment."""

    key: str
    """Its place below the run folder: roundRR/foldF, or summary."""
    name: str
    job_type: str
    """pretrain, finetune or summary."""
    hyperparameters: dict[str, Any]


class Tracker(Logger):
    """Stands before a Lightning logger: its failures are said once, and stop the tracking instead of the training."""

    service = ""

    def attempt(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> None:
        """Call a function of the service, unless it has failed before."""
        if self.service in given_up:
            return
        try:
            function(*args, **kwargs)
        except Exception as error:  # noqa: BLE001 - services raise all kinds; none is worth the training
            give_up(self.service, error)

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        """Do nothing: what the Trainer logs in pieces comes as a whole row from the callback that keeps metrics.csv."""

    def row(self, metrics: dict[str, Any], step: int) -> None:
        """Log a row of metrics at a step: an epoch of a cell, a round of the summary."""
        self.attempt(super().log_metrics, metrics, step)  # type: ignore[safe-super] # Lightning's logger of the service

    def log_hyperparams(self, params: Any, *args: Any, **kwargs: Any) -> None:
        """Log the configuration."""
        self.attempt(super().log_hyperparams, params, *args, **kwargs)  # type: ignore[safe-super]

    def save(self) -> None:
        """Save what the service keeps in memory."""
        self.attempt(super().save)

    def finalize(self, status: str = "success") -> None:
        """Do nothing: the Trainer is done with it, but the cell is not yet; `finish` ends it."""

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log a picture."""
        raise NotImplementedError

    def table(self, name: str, table: pd.DataFrame, step: int) -> None:
        """Log a table."""
        raise NotImplementedError

    def files(self, name: str, kind: str, files: dict[str, Path]) -> None:
        """Hand over files, each under a name of its own; `kind` is dataset or model."""
        raise NotImplementedError

    def finish(self, failed: bool) -> None:
        """End the run and say how it ended."""
        raise NotImplementedError


def give_up(service: str, error: Exception) -> None:
    """Say what failed, and leave the service alone for the rest of the experiment."""
    given_up.add(service)
    said = (str(error).splitlines() or [""])[0]
    console.print(
        Text("tracking:", "yellow"),
        f"{service} failed and is left out from here on ({type(error).__name__}: {said[:300]}); "
        "the run goes on, and its own files are complete",
        soft_wrap=True,
    )


@contextlib.contextmanager
def environment(settings: dict[str, str | None]) -> Iterator[None]:
    """Set variables of the environment, None removes one; everything is as before at the end."""
    before = {name: os.environ.get(name) for name in settings}
    try:
        _set_all(settings)
        yield
    finally:
        _set_all(before)


def _set_all(settings: dict[str, str | None]) -> None:
    for name, value in settings.items():
        if value is None:
            os.environ.pop(name, None)
        else:
            os.environ[name] = value


class Kept:
    """`tracking.json` of a run folder: the services' ids of what was tracked, so that a run goes on under them."""

    def __init__(self, folder: RunFolder) -> None:
        self.path = folder.path / "tracking.json"
        self.lock = FileLock(folder.path / ".tracking.lock")

    def content(self) -> dict[str, Any]:
        """Return all of it."""
        return json.loads(self.path.read_text(encoding="utf-8")) if self.path.is_file() else {}

    def id(self, service: str, key: str, make: Callable[[], str]) -> str:
        """Return what was kept, or make and keep it; processes that ask for one at the same time get the same."""
        with self.lock:
            content = self.content()
            ids = content.setdefault(service, {})
            if key not in ids:
                ids[key] = make()
                write_json(self.path, content)
            return str(ids[key])

    def note(self, section: str, key: str, value: Any) -> None:
        """Keep anything else."""
        with self.lock:
            content = self.content()
            content.setdefault(section, {})[key] = value
            write_json(self.path, content)


class TensorBoardTracker(Tracker, TensorBoardLogger):
    """TensorBoard's event files: scalars, images, and tables as text."""

    service = "tensorboard"

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log an image."""
        self.attempt(lambda: self.experiment.add_figure(name, figure, step))

    def table(self, name: str, table: pd.DataFrame, step: int) -> None:
        """Log the first rows as text."""
        self.attempt(lambda: self.experiment.add_text(name, _markdown(table), step))

    def files(self, name: str, kind: str, files: dict[str, Path]) -> None:
        """Do nothing: TensorBoard keeps no files."""

    def finish(self, failed: bool) -> None:
        """Write everything out."""
        self.attempt(TensorBoardLogger.finalize, self, "failed" if failed else "success")


def open_tensorboard(folder: RunFolder, tracked: Tracked) -> TensorBoardTracker:
    """Open `tensorboard/` below the run folder, one folder of events per cell; a resumed cell adds to its own."""
    where = folder.path / "tensorboard" / tracked.key
    tracker = TensorBoardTracker(where, name="", version="", default_hp_metric=False)
    tracker.log_hyperparams(tracked.hyperparameters)
    return tracker


def _markdown(table: pd.DataFrame) -> str:
    columns = [str(name) for name in table.columns]
    rows: list[list[Any]] = [columns, ["---"] * len(columns), *table.head(SHOWN_ROWS).values.tolist()]
    lines = ["| " + " | ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row) + " |" for row in rows]
    rest = len(table) - SHOWN_ROWS
    return "\n".join([*lines, "", f"... and {rest} more rows: see the run folder"] if rest > 0 else lines)


class MlflowTracker(Tracker, MLFlowLogger):
    """A run of MLflow: metrics, and pictures, tables and files as its artifacts."""

    service = "mlflow"
    parent: str | None = None
    """A cell's summary, which fails with it."""

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log an image file."""
        self.attempt(lambda: self.experiment.log_figure(self.run_id, figure, f"{name}.png"))

    def table(self, name: str, table: pd.DataFrame, step: int) -> None:
        """Log a CSV file."""
        self.attempt(lambda: self.experiment.log_text(self.run_id, csv_text(table), f"{name}.csv"))

    def files(self, name: str, kind: str, files: dict[str, Path]) -> None:
        """Log files below a folder of that name, a folder each."""
        for inner, path in files.items():
            below = f"{name}/{Path(inner).stem}" if len(files) > 1 else name
            self.attempt(lambda p=path, b=below: self.experiment.log_artifact(self.run_id, str(p), b))

    def finish(self, failed: bool) -> None:
        """Set the run's status, FINISHED or FAILED."""
        self.attempt(MLFlowLogger.finalize, self, "failed" if failed else "success")
        if failed and self.parent is not None:
            self.attempt(self.experiment.set_terminated, self.parent, "FAILED")


def tracking_uri(config: Mlflow) -> str:
    """Return where MLflow's runs are to go, empty for the database beside the run folder."""
    return config.tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")


def mlflow_session() -> contextlib.AbstractContextManager[None]:
    """Bound the time that a server can take, which is minutes by default, and keep MLflow's settings as they were."""
    ours = {"HTTP_REQUEST_TIMEOUT": "5", "HTTP_REQUEST_MAX_RETRIES": "1", "DISABLE_TELEMETRY": "true"}
    asked = {f"MLFLOW_{name}": os.environ.get(f"MLFLOW_{name}", value) for name, value in ours.items()}
    return environment({**asked, "MLFLOW_TRACKING_URI": os.environ.get("MLFLOW_TRACKING_URI")})


def open_mlflow(config: Mlflow, folder: RunFolder, tracked: Tracked) -> MlflowTracker:
    """Open a run of MLflow, or one that was begun before; cells are shown below the experiment's summary."""
    import mlflow  # here: two seconds that only its users should wait

    for name in ("mlflow", "alembic"):
        logging.getLogger(name).setLevel(logging.WARNING)
    local = f"sqlite:///{folder.path.parent / 'mlflow.db'}"
    uri = tracking_uri(config) or local
    client = mlflow.MlflowClient(uri)
    kept = Kept(folder)
    # One process at a time: MLflow would make the tables of a new database twice.
    with FileLock(folder.path.parent / ".mlflow.lock"):
        experiment = _experiment(client, config.experiment, folder if uri == local else None)

        def begun(key: str, name: str, **tags: str) -> str:
            tags = {"group": folder.path.name, **tags}
            return kept.id("mlflow", key, lambda: client.create_run(experiment, run_name=name, tags=tags).info.run_id)

        run_id = summary = begun("summary", folder.path.name, job_type="summary")
        if tracked.key != "summary":
            tags = {"job_type": tracked.job_type, "mlflow.parentRunId": summary}
            run_id = begun(tracked.key, f"{folder.path.name}, {tracked.name}", **tags)
    tracker = MlflowTracker(config.experiment, tracking_uri=uri, run_id=run_id)
    tracker.parent = summary if run_id != summary else None
    client.update_run(run_id, status="RUNNING")
    if not client.get_run(run_id).data.params:  # MLflow lets nobody change them: finetune_rounds= may differ by now
        tracker.log_hyperparams(tracked.hyperparameters)
    return tracker


def _experiment(client: Any, name: str, local: RunFolder | None) -> str:
    found = client.get_experiment_by_name(name)
    if found is not None:
        return str(found.experiment_id)
    artifacts = None if local is None else (local.path.parent / "mlflow-artifacts").as_uri()
    return str(client.create_experiment(name, artifact_location=artifacts))

"""MLflow: a run for the experiment, and one per cell below it."""

from __future__ import annotations

import contextlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from audiotag.distributed.processes import environment
from audiotag.files import FileLock, csv_text
from audiotag.tracking.trackers import SUMMARY, TrackedRun, Tracker, need_packages

# A server may take so long, which would be minutes; set by the user, they hold.
LIMITS = {"HTTP_REQUEST_TIMEOUT": "5", "HTTP_REQUEST_MAX_RETRIES": "1", "DISABLE_TELEMETRY": "true"}


class MlflowTracker(Tracker):
    """Metrics, and pictures, tables and files as artifacts.

    `tracking_uri` is a server or a database; null: what MLFLOW_TRACKING_URI says, else `mlflow.db` beside the run
    folder. `experiment` is MLflow's experiment that holds the runs.
    """

    def __init__(self, tracking_uri: str | None = None, experiment: str = "audiotag") -> None:
        self.uri = tracking_uri or os.environ.get("MLFLOW_TRACKING_URI", "")
        self.experiment = experiment

    def check(self, folder: Path) -> None:
        """Raise AudiotagError if MLflow, or what it needs for a database, is not installed."""
        need_packages(["mlflow", *([] if self.uri.startswith("http") else ["sqlalchemy", "alembic"])], "mlflow")

    def begin(self, run: TrackedRun) -> None:
        """Open a run of MLflow, or one that was begun before."""
        asked = {f"MLFLOW_{name}": os.environ.get(f"MLFLOW_{name}", value) for name, value in LIMITS.items()}
        with contextlib.ExitStack() as stack:
            # MLflow changes the URI in the environment.
            uri = os.environ.get("MLFLOW_TRACKING_URI")
            stack.enter_context(environment({**asked, "MLFLOW_TRACKING_URI": uri}))
            self._open(run)
            self.stack = stack.pop_all()

    def _open(self, run: TrackedRun) -> None:
        import mlflow  # here: two seconds that only its users should wait
        from pytorch_lightning.loggers import MLFlowLogger

        for name in ("mlflow", "alembic"):
            logging.getLogger(name).setLevel(logging.WARNING)
        beside = run.folder.parent
        uri = self.uri or f"sqlite:///{beside / 'mlflow.db'}"
        client = mlflow.MlflowClient(uri)
        # One process at a time: MLflow would make the tables of a new database twice.
        with FileLock(beside / ".mlflow.lock"):
            found = client.get_experiment_by_name(self.experiment)
            artifacts = None if self.uri else (beside / "mlflow-artifacts").as_uri()
            experiment = found.experiment_id if found else client.create_experiment(self.experiment, artifacts)

            def begun(key: str, name: str, **tags: str) -> str:
                tags = {"group": run.folder.name, **tags}
                return run.kept_id(lambda: client.create_run(experiment, run_name=name, tags=tags).info.run_id, key)

            self.run_id = self.summary = begun(SUMMARY, run.folder.name, job_type=SUMMARY)
            if run.key != SUMMARY:
                tags = {"job_type": run.job_type, "mlflow.parentRunId": self.summary}
                self.run_id = begun(run.key, f"{run.folder.name}, {run.name}", **tags)
        self.logger = MLFlowLogger(self.experiment, tracking_uri=uri, run_id=self.run_id)
        self.client: Any = self.logger.experiment
        client.update_run(self.run_id, status="RUNNING")
        if not client.get_run(self.run_id).data.params:  # MLflow lets nobody change them: some may differ by now
            self.logger.log_hyperparams(run.settings)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Log a row of metrics."""
        self.logger.log_metrics(dict(values), step)

    def table(self, name: str, table: pd.DataFrame, step: int) -> None:
        """Log a CSV file."""
        self.client.log_text(self.run_id, csv_text(table), f"{name}.csv")

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Log an image file."""
        self.client.log_figure(self.run_id, figure, f"{name}.png")

    def files(self, name: str, kind: str, files: Mapping[str, Path]) -> None:
        """Log files below a folder of that name, a folder each if there are several."""
        for inner, path in files.items():
            below = f"{name}/{Path(inner).stem}" if len(files) > 1 else name
            self.client.log_artifact(self.run_id, str(path), below)

    def end(self, failed: bool) -> None:
        """Set the run's status, FINISHED or FAILED; the summary fails with its cell."""
        with self.stack:
            self.logger.finalize("failed" if failed else "success")
            if failed:
                self.client.set_terminated(self.summary, "FAILED")

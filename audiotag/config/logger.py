"""Settings of trackers."""

from __future__ import annotations

from typing import Literal

from audiotag.config.schema import Settings, settings


@settings
class Wandb(Settings):
    """Weights & Biases: a run per cell, and one for the whole experiment."""

    enabled: bool = False
    """Track there; set by logger=wandb."""
    project: str | None = None
    """Project of the runs; null: what WANDB_PROJECT says, else audiotag."""
    entity: str | None = None
    """User or team that owns the project; null: the one that the API key belongs to."""
    mode: Literal["auto", "online", "offline", "disabled"] = "auto"
    """auto: online where there is an API key and the server answers, else offline; or online, offline, disabled."""
    tags: list[str] | None = None
    """Tags of the runs."""


@settings
class TensorBoard(Settings):
    """Event files below the run folder, in `tensorboard/`."""

    enabled: bool = False
    """Write them; set by logger=tensorboard."""


@settings
class Mlflow(Settings):
    """MLflow: a run for the whole experiment, and below it one per cell."""

    enabled: bool = False
    """Track there; set by logger=mlflow."""
    tracking_uri: str | None = None
    """Where: a server or a database; null: what MLFLOW_TRACKING_URI says, else `mlflow.db` beside the run folder."""
    experiment: str = "audiotag"
    """MLflow's experiment that holds the runs."""


@settings
class Logger(Settings):
    """Where a run can be watched besides its own files, which are always written; nothing here changes a result."""

    wandb: Wandb = Wandb()
    """Weights & Biases, online or offline."""
    tensorboard: TensorBoard = TensorBoard()
    """TensorBoard's event files."""
    mlflow: Mlflow = Mlflow()
    """MLflow, in a database or at a server."""
    artifacts: list[Literal["manifest", "weights"]] | None = None
    """Files to hand to Weights & Biases and MLflow when the experiment ends: [manifest,weights], or one of them."""

"""Settings of trackers."""

from __future__ import annotations

from dataclasses import dataclass, field

from audiotag.config.checks import one_of

ARTIFACTS = ("manifest", "weights")  # `logger.artifacts`: the clips, and the best round's networks


@dataclass(frozen=True)
class Wandb:
    """Weights & Biases: a run per cell, and one for the whole experiment."""

    enabled: bool = False
    """Track there; set by logger=wandb."""
    project: str | None = None
    """Project of the runs; null: what WANDB_PROJECT says, else audiotag."""
    entity: str | None = None
    """User or team that owns the project; null: the one that the API key belongs to."""
    mode: str = "auto"
    """auto: online where there is an API key and the server answers, else offline; or online, offline, disabled."""
    tags: list[str] | None = None
    """Tags of the runs."""

    def problems(self) -> list[str]:
        return one_of("logger.wandb.mode", self.mode, ("auto", "online", "offline", "disabled"))


@dataclass(frozen=True)
class TensorBoard:
    """Event files below the run folder, in `tensorboard/`."""

    enabled: bool = False
    """Write them; set by logger=tensorboard."""


@dataclass(frozen=True)
class Mlflow:
    """MLflow: a run for the whole experiment, and below it one per cell."""

    enabled: bool = False
    """Track there; set by logger=mlflow."""
    tracking_uri: str | None = None
    """Where: a server or a database; null: what MLFLOW_TRACKING_URI says, else `mlflow.db` beside the run folder."""
    experiment: str = "audiotag"
    """MLflow's experiment that holds the runs."""


@dataclass(frozen=True)
class Logger:
    """Where a run can be watched besides its own files, which are always written; nothing here changes a result."""

    wandb: Wandb = field(default_factory=Wandb)
    """Weights & Biases, online or offline."""
    tensorboard: TensorBoard = field(default_factory=TensorBoard)
    """TensorBoard's event files."""
    mlflow: Mlflow = field(default_factory=Mlflow)
    """MLflow, in a database or at a server."""
    artifacts: list[str] | None = None
    """Files to hand to Weights & Biases and MLflow when the experiment ends: [manifest,weights], or one of them."""

    def problems(self) -> list[str]:
        found = [problem for name in self.artifacts or () for problem in one_of("logger.artifacts", name, ARTIFACTS)]
        return found + self.wandb.problems()

"""TensorBoard: event files below the run folder."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import pandas as pd
from matplotlib.figure import Figure

from audiotag.tracking.trackers import TrackedRun, Tracker, need_packages

SHOWN_ROWS = 200  # of a table: TensorBoard has text only


class TensorBoardTracker(Tracker):
    """Scalars, images, and tables as text in `tensorboard/`, a folder per cell; a resumed cell adds to its own."""

    def check(self, folder: Path) -> None:
        """Raise AudiotagError if TensorBoard is not installed."""
        need_packages(["tensorboard"], "tensorboard")

    def begin(self, run: TrackedRun) -> None:
        """Open the folder."""
        from pytorch_lightning.loggers import TensorBoardLogger  # here: slow, and not needed to check the settings

        where = run.folder / "tensorboard" / run.key
        self.logger = TensorBoardLogger(where, name="", version="", default_hp_metric=False)
        self.logger.log_hyperparams(run.settings)

    def metrics(self, values: Mapping[str, float], step: int) -> None:
        """Write scalars."""
        self.logger.log_metrics(dict(values), step)
        self.logger.experiment.flush()

    def table(self, name: str, table: pd.DataFrame, step: int) -> None:
        """Write the first rows as text."""
        self.logger.experiment.add_text(name, _markdown(table), step)

    def figure(self, name: str, figure: Figure, step: int) -> None:
        """Write an image."""
        self.logger.experiment.add_figure(name, figure, step)

    def end(self, failed: bool) -> None:
        """Write everything out."""
        self.logger.finalize("failed" if failed else "success")


def _markdown(table: pd.DataFrame) -> str:
    columns = [str(name) for name in table.columns]
    rows: list[list[Any]] = [columns, ["---"] * len(columns), *table.head(SHOWN_ROWS).values.tolist()]
    lines = ["| " + " | ".join(f"{v:.4f}" if isinstance(v, float) else str(v) for v in row) + " |" for row in rows]
    rest = len(table) - SHOWN_ROWS
    return "\n".join([*lines, "", f"... and {rest} more rows: see the run folder"] if rest > 0 else lines)

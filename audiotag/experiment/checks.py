"""What can be refused of a run before PyTorch is imported: its name, places, settings and tables."""

from __future__ import annotations

from pathlib import Path

from audiotag.config import TrainConfig
from audiotag.console import as_called
from audiotag.data.checking import check_tables
from audiotag.errors import RunError
from audiotag.experiment.teachers import find_teachers
from audiotag.experiment.warm_start import WarmStart
from audiotag.files import check_folder
from audiotag.run.folder import RunFolder, find_run


def check_run(config: TrainConfig) -> tuple[RunFolder, WarmStart]:
    """Return a run's folder and where its round 0 comes from.

    Raises RunError for a run without a name, AudiotagError for places that cannot be written to, ConfigError where the
    run, or the one that it takes round 0 over from, was made with other settings.
    """
    if config.run is None:
        raise RunError(
            as_called("run=NAME is missing: train.py makes a name from what was chosen, other callers give one")
        )
    folder = find_run(config.run, config.runs_dir)
    check_folder("run", folder.path)
    check_folder("cache_dir", Path(config.cache_dir).absolute())
    start = WarmStart(config, folder)
    folder.refuse_other(config)
    find_teachers(config, folder)
    return folder, start


def check_run_and_data(config: TrainConfig) -> None:
    """Check the run, and read the tables of its data set; raises as `check_run` does, and DataError."""
    check_run(config)
    check_tables(config)

"""What Hydra calls at the end of a sweep: one table over its jobs, and the errors of those that failed.

Jobs may run in other processes or on other machines. Each leaves a line below the sweep's folder; the callbacks travel
to the jobs together with the place for it.
"""

from __future__ import annotations

import json
import os
import secrets
import shutil
import sys
import time
from pathlib import Path
from typing import Any

from hydra.core.utils import JobReturn, JobStatus
from hydra.experimental.callback import Callback
from omegaconf import DictConfig

from audiotag.cli.program import print_error, reported
from audiotag.config import TrainConfig, VerifyConfig
from audiotag.config.schema import validate
from audiotag.distributed.processes import SWEEP_STARTED
from audiotag.errors import ConfigError, Failed
from audiotag.run.naming import run_name, run_path

# Heavier modules are imported where they are used: Hydra makes these objects before it does anything else.


class Jobs(Callback):
    """Lists the jobs of a sweep that failed, and gives the program the exit code 2 for them."""

    def __init__(self) -> None:
        self.folder: Path | None = None  # of the jobs' lines

    def on_multirun_start(self, config: DictConfig, **_: Any) -> None:
        """Choose the place for the jobs' lines; other sweeps may be under way in the same folder."""
        self.folder = Path(config.hydra.sweep.dir).absolute() / f"jobs-{secrets.token_hex(4)}"
        os.environ[SWEEP_STARTED] = str(time.time())

    def on_job_end(self, config: DictConfig, job_return: JobReturn, **_: Any) -> None:
        """Write the job's line."""
        if self.folder is None:
            return
        from audiotag.files import write_json

        number, made = config.hydra.job.num, self.made(job_return)
        line = {"number": number, "overrides": list(job_return.overrides or []), "error": _error(job_return)}
        write_json(self.folder / f"{number:06d}.json", {**line, "made": None if made is None else str(made)})

    def on_multirun_end(self, config: DictConfig, **_: Any) -> None:
        """Show what the jobs made, then the errors."""
        assert self.folder is not None
        jobs = [json.loads(file.read_text(encoding="utf-8")) for file in sorted(self.folder.glob("*.json"))]
        shutil.rmtree(self.folder, ignore_errors=True)
        made = list(dict.fromkeys(Path(job["made"]) for job in jobs if job["made"] is not None))
        failed = [job for job in jobs if job["error"] is not None]
        try:
            reported(lambda: self.show(made))
        finally:
            for job in failed:
                print_error(f"job {job['number']} ({' '.join(job['overrides'])}): {job['error']}")
            if failed:
                print_error(f"{len(failed)} of {len(jobs)} jobs failed")
                sys.exit(2)

    def made(self, job_return: JobReturn) -> Path | None:
        """Return the folder that a job has made, if it is to be shown."""
        return None

    def show(self, made: list[Path]) -> None:
        """Show what the jobs made."""


class Runs(Jobs):
    """Compares the runs of a sweep of train.py."""

    def made(self, job_return: JobReturn) -> Path | None:
        """Return the run's folder, None if the settings make no run."""
        assert job_return.cfg is not None
        try:
            config = validate(job_return.cfg, TrainConfig)
        except ConfigError:
            return None  # the job's error says why
        return run_path(run_name(config), config.runs_dir)

    def show(self, made: list[Path]) -> None:
        """Print a table of the runs."""
        from audiotag.compare import compare, show
        from audiotag.run.folder import RunFolder

        folders = [folder for folder in map(RunFolder, made) if folder.config_file.is_file()]
        if folders:
            show(compare(folders))


class Decisions(Jobs):
    """Compares the decisions of a sweep of verify.py."""

    def made(self, job_return: JobReturn) -> Path | None:
        """Return the decision's folder, None if none was made."""
        from audiotag.experiment.verify import decision_folder

        assert job_return.cfg is not None
        return decision_folder(validate(job_return.cfg, VerifyConfig)) if _error(job_return) is None else None

    def show(self, made: list[Path]) -> None:
        """Print a table of the decisions, and plot them beside the run's `verify/decisions.csv`."""
        from audiotag.experiment.decisions import show_decisions

        show_decisions(made)


def _error(job_return: JobReturn) -> str | None:
    """Return the text of a job's error; an unexpected one Hydra reports itself, with its traceback."""
    result = job_return._return_value  # the property would raise it
    if isinstance(result, Failed):
        return result.error
    return str(result) if job_return.status == JobStatus.FAILED else None

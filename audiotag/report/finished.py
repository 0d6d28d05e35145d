"""The report at the end of a training: written once, by whoever completes the run.

Heavy modules are imported only where there is something to write: every job of a sweep over cells comes by here.
"""

from __future__ import annotations

import traceback

from audiotag.config import TrainConfig
from audiotag.console import as_called
from audiotag.errors import AudiotagError, RunError, WorkError
from audiotag.files import FileLock
from audiotag.report.data import PAGE, state
from audiotag.run.folder import RunFolder, find_run

STATE_WITHIN = 2000  # letters of the page's beginning, in which the state of the run stands


def report_finished(config: TrainConfig) -> None:
    """Write the report of a run that training has completed, unless it is there and of the same state.

    Raises AudiotagError that says how to write it later; the run itself is complete all the same.
    """
    folder = find_run(config.run or "", config.runs_dir)
    try:
        # Jobs side by side may complete a run together.
        with FileLock(folder.path / ".report.lock"):
            if _is_complete(folder) and not _is_written(folder):
                from audiotag.report.write import write_report

                write_report(folder)
    except Exception as error:
        again = as_called("python -m audiotag.report")
        advice = f"The run is complete, but not its report; {again} run={folder.path} writes it."
        if isinstance(error, AudiotagError):
            raise RunError(f"{advice}\n{error}") from error
        raise WorkError(f"{advice}\n{traceback.format_exc()}", 1) from error


def _is_complete(folder: RunFolder) -> bool:
    return folder.summary_file.is_file() and len(folder.complete_rounds()) == folder.config.finetune_rounds + 1


def _is_written(folder: RunFolder) -> bool:
    page = folder.path / PAGE
    if not page.is_file():
        return False
    with page.open(encoding="utf-8") as file:
        return f'content="{state(folder)}"' in file.read(STATE_WITHIN)

"""The report of a run: one page with curves, decisions and the labels that are worth an ear.

usage: python -m audiotag.report run=NAME [runs_dir=runs] [root=DIR]

Writes `report.html`, `report/` and `review.csv` into the folder of any run that has passed an epoch, finished or not.
`root` is the folder of the data set, if it moved since the run was made. train.py does the same when a run is finished.
"""

from __future__ import annotations

from pathlib import Path

from audiotag.cli.composition import compose_config
from audiotag.cli.program import announce, run_command
from audiotag.config import ReportConfig


def main(arguments: list[str]) -> None:
    """Write the report."""
    config = compose_config(ReportConfig, arguments)
    from audiotag.run.folder import find_run  # here: a wrong command is refused at once

    folder = find_run(config.run, config.runs_dir)
    announce("audiotag.report", f"run {folder.path}, data {folder.config.data.title}")
    from audiotag.report.write import write_report  # and a wrong name of the run before PyTorch is imported

    write_report(folder, None if config.root is None else Path(config.root))


if __name__ == "__main__":
    run_command(main, __doc__)

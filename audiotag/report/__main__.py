"""The report of a run: one page with curves, decisions and the labels that are worth an ear.

usage: python -m audiotag.report run=NAME [runs_dir=runs] [root=DIR]

Writes `report.html`, `report/` and `review.csv` into the folder of any run that has passed an epoch, finished or not.
`root` is the folder of the data set, if it moved since the run was made. train.py does the same when a run is finished.
"""

from __future__ import annotations

import sys
from pathlib import Path

from hydra import compose, initialize_config_dir

from audiotag.cli.arguments import CONF
from audiotag.cli.program import announce, check_command_line, register, reported
from audiotag.config import ReportConfig
from audiotag.config.schema import validate


def configure(arguments: list[str]) -> ReportConfig:
    """Return the settings of the command line; raises ConfigError."""
    arguments = check_command_line(ReportConfig, arguments)
    register(ReportConfig, "report_schema")
    with initialize_config_dir(str(CONF), version_base="1.3"):
        return validate(compose("report_schema", arguments), ReportConfig)


def main(arguments: list[str]) -> None:
    """Write the report."""
    if {"--help", "-h"} & set(arguments):
        print((__doc__ or "").strip())
        return
    config = configure(arguments)
    from audiotag.run.folder import find_run  # here: what is wrong with the command is told at once

    folder = find_run(config.run, config.runs_dir)
    announce("audiotag.report", f"run {folder.path}, data {folder.config.data.name}")
    from audiotag.report.write import write_report  # and what is wrong with the run's name, before PyTorch is imported

    write_report(folder, None if config.root is None else Path(config.root))


if __name__ == "__main__":
    reported(lambda: main(sys.argv[1:]))

"""The audit of a run: hear a few accepted labels, and know how many of all are right, whatever the networks say.

usage: python -m audiotag.audit run=NAME [n=60] [precision=0.95] [round=best] [runs_dir=runs]

Draws n of the labels that a round accepted, at random, into `audit.csv` in the run folder. Listen to them (column
`path`), write right, wrong or unsure into the column `verdict`, and give the command again: it states the precision
that the accepted labels have at least (exactly, with 95 % confidence), and how many more to hear for `precision`. A
larger n adds clips; verdicts are kept.
"""

from __future__ import annotations

import shlex
from typing import Any

from audiotag.cli.composition import compose_config
from audiotag.cli.program import run_command
from audiotag.config import AuditConfig
from audiotag.console import as_called, console
from audiotag.run.audit import FILE, keep_figures, ledger_to_audit, statements, write_sample
from audiotag.run.folder import RunFolder, find_run
from audiotag.run.naming import own_words, run_named


def audit(config: AuditConfig) -> dict[str, Any]:
    """Draw the sample, print and return what its verdicts say; {} while there are none.

    Raises RunError where the round is not complete or accepted nothing, DataError for verdicts that cannot be read.
    """
    folder = find_run(config.run, config.runs_dir)
    ledger = ledger_to_audit(folder, config.round)
    drawn = write_sample(folder, ledger, config.n)
    figures = keep_figures(folder, ledger, config.precision)
    for line in statements(figures, len(drawn)) if figures else _how_to(folder, len(drawn)):
        console.print(line, soft_wrap=True)
    return figures


def _how_to(folder: RunFolder, n: int) -> list[str]:
    run = shlex.join([f"run={run_named(folder.path)}", *own_words(folder.config)])
    return [
        f"{n} accepted labels, drawn at random: {folder.path / FILE}",
        f"Listen to them (paths are below {folder.config.data.root}), write right, wrong or unsure into the column "
        "verdict, and give this command again.",
        f"Or by key, in a browser: {as_called('python -m audiotag.review')} {run} audit={n}",
    ]


def main(arguments: list[str]) -> None:
    """Draw a sample, or say what its verdicts mean."""
    audit(compose_config(AuditConfig, arguments))


if __name__ == "__main__":
    run_command(main, __doc__, needs_arguments=True)

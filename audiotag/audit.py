"""The audit of a run: hear a few accepted labels, and know how many of all are right, whatever the networks say.

usage: python -m audiotag.audit run=NAME [n=60] [precision=0.95] [round=best] [runs_dir=runs]

Draws n of the labels that a round accepted, at random, into `audit.csv` in the run folder. Listen to them (column
`path`), write right, wrong or unsure into the column `verdict`, and give the command again: it states the precision
that the accepted labels have at least (exactly, with 95 % confidence), and how many more to hear for `precision`. A
larger n adds clips; verdicts are kept.
"""

from __future__ import annotations

from typing import Any

import pandas as pd

from audiotag.cli.composition import compose_config
from audiotag.cli.program import run_command
from audiotag.config import AuditConfig
from audiotag.console import console
from audiotag.errors import RunError
from audiotag.files import check_folder, write_csv, write_json
from audiotag.run.audit import FILE, audit_figures, draw, read_sample, with_verdicts
from audiotag.run.folder import RunFolder, find_run
from audiotag.run.ledgers import all_ledgers

FIRST = 60  # labels to hear; 59 right ones of 59 give 95 % at 95 % confidence


def audit(config: AuditConfig) -> dict[str, Any]:
    """Draw the sample, print and return what its verdicts say; {} while there are none.

    Raises RunError where the round is not complete or accepted nothing, DataError for verdicts that cannot be read.
    """
    folder = find_run(config.run, config.runs_dir)
    check_folder("run", folder.path, "the audit is written into the run: set run= to a copy of it")
    ledger = _ledger(folder, config.round)
    path, earlier = folder.path / FILE, None
    if path.is_file():
        earlier = read_sample(path)
    there = 0 if earlier is None else int((earlier["round"] == str(ledger["round"].iloc[0])).sum())
    n = max(config.n or 0, there) or FIRST
    drawn = draw(folder, ledger, n, folder.config.seed)
    if drawn.empty:
        raise RunError(f"{folder.path}: round {ledger['round'].max()} accepted no label, so there is nothing to hear")
    write_csv(path, drawn if earlier is None else with_verdicts(drawn, earlier))
    figures = audit_figures(folder, ledger, config.precision)
    for line in describe(figures, drawn, folder):
        console.print(line, soft_wrap=True)
    if figures and folder.summary_file.is_file():
        write_json(folder.summary_file, {**folder.summary, "audit": figures})
    return figures


def describe(figures: dict[str, Any], drawn: pd.DataFrame, folder: RunFolder) -> list[str]:
    """Return what there is to say of an audit, a line each."""
    path = folder.path / FILE
    if not figures:
        root = folder.config.data.root
        return [
            f"{len(drawn)} accepted labels, drawn at random: {path}",
            f"Listen to them (paths are below {root}), write right, wrong or unsure into the column verdict, and give "
            "this command again.",
        ]
    at_least, aim, more = (figures[name] for name in ("precision_at_least", "precision_aimed_at", "more_to_hear"))
    lines = [
        f"Heard {figures['heard']} of {len(drawn)}: {figures['right']} right, {figures['wrong']} wrong, "
        f"{figures['unsure']} unsure (these count as wrong).",
        f"Of the labels that round {figures['round']} accepted {at_least:.1%} at least are right (exact bound of "
        f"Clopper and Pearson, confidence {figures['confidence']:.0%}).",
    ]
    if figures["expected_precision"] is not None:
        lines.append(
            f"The networks expected {figures['expected_precision']:.1%}; after what was heard "
            f"{figures['expected_precision_now']:.1%} are to be expected."
        )
    if more == 0:
        lines.append(f"That is the {aim:.0%} asked for.")
    elif more is None:
        lines.append(f"{aim:.0%} is out of reach: too many of them are wrong.")
    else:
        lines.append(f"For {aim:.0%}, {more} more have to be heard if all are right: n={len(drawn) + more}")
    return lines


def _ledger(folder: RunFolder, round_: int | str) -> pd.DataFrame:
    complete = [] if folder.config.data.train_on_all else folder.complete_rounds()
    chosen = folder.summary.get("best_round") if round_ == "best" else int(round_)
    if chosen is None or chosen not in complete:
        done = ", ".join(map(str, complete)) or "none"
        raise RunError(f"{folder.path}: round {round_} has no decisions to audit (complete rounds: {done})")
    return all_ledgers(folder, [chosen], folder.config.verification)


def main(arguments: list[str]) -> None:
    """Draw a sample, or say what its verdicts mean."""
    audit(compose_config(AuditConfig, arguments))


if __name__ == "__main__":
    run_command(main, __doc__, needs_arguments=True)

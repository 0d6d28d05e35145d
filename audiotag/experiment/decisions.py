"""Decisions made by verify.py, side by side: a table, and a plot over what differs between them."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pandas as pd
from rich.table import Table

from audiotag.console import as_called, console
from audiotag.files import damage_reported, read_json, write_csv
from audiotag.run.folder import RunFolder
from audiotag.run.summary import rate

LONGEST = 35  # of a name in a column beside the figures
FIGURES = ["round", "considered", "accepted", "precision", "recall", "expected_precision", "promised", "promise"]
FIGURES += ["right_share", "right_share_low", "right_share_high", "relabelled", "relabelled_precision"]


def read_decisions(folders: list[Path]) -> pd.DataFrame:
    """Return one row per decision and round of the decisions in these folders: name, settings, figures."""
    rows: list[dict[str, Any]] = []
    for folder in folders:
        file, again = folder / "summary.json", as_called("delete its folder, or decide so again with verify.py")
        with damage_reported(file, again):
            summary = read_json(file, again)
            settings = {f"rule.{k}" if k in FIGURES else k: value for k, value in summary.items() if k != "rounds"}
            rows += [{"decision": folder.name, **settings, **figures} for figures in summary["rounds"]]
    table = pd.DataFrame(rows, columns=None if rows else ["decision", "rule"])
    return table.reindex(columns=[*(name for name in table if name not in FIGURES), *FIGURES])


def gather_decisions(verify: Path) -> None:
    """Write `decisions.csv`: all decisions below a run's `verify/`."""
    write_csv(verify / "decisions.csv", read_decisions([file.parent for file in sorted(verify.glob("*/summary.json"))]))


def show_decisions(folders: list[Path]) -> None:
    """Print one table of these decisions per run, and plot them beside its `decisions.csv`."""
    for verify in dict.fromkeys(folder.parent for folder in folders):
        decisions = read_decisions([folder for folder in folders if folder.parent == verify])
        gather_decisions(verify)  # once more: jobs that ran side by side may have missed each other
        _print(decisions, verify.parent.name)
        console.print(f"Table: {verify / 'decisions.csv'}", soft_wrap=True)
        if decisions["decision"].nunique() > 1:
            from audiotag.plots.decision_plot import plot_decisions  # here: a single decision needs no matplotlib

            plot = plot_decisions(decisions, verify, RunFolder(verify.parent).summary.get("best_round"))
            console.print(f"Plot: {plot}", soft_wrap=True)


def _print(decisions: pd.DataFrame, run: str) -> None:
    table = Table(title=run, title_justify="left")
    table.add_column("Decision")
    promises = "promised" in decisions and decisions["promised"].notna().any()
    for name in ("Round", "Accepted", *(["Promised"] if promises else []), "Precision", "Recall"):
        table.add_column(name, justify="right", no_wrap=True)
    for decision, rows in decisions.groupby("decision", sort=False):
        told = str(decision)
        told = told if len(told) <= LONGEST else told.replace(",", ", ")  # it is broken there
        for i, row in enumerate(rows.to_dict("records")):
            names = (*(["promised"] if promises else []), "precision", "recall")
            accepted = f"{row['accepted']} of {row['considered']}"
            table.add_row(told if i == 0 else "", str(row["round"]), accepted, *(rate(row[name]) for name in names))
        table.add_section()
    console.print(table)

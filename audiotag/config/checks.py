"""Checks of values that several settings share, and of names that end up in tables."""

from __future__ import annotations

import re
from typing import Any

REPOSITORY = re.compile(r"[A-Za-z0-9][\w.-]*/[A-Za-z0-9][\w.-]*")  # of a hub: OWNER/NAME
# What a spreadsheet runs when it opens a table: =1+1, @SUM(1), -2+cmd|'/C calc'!A1; but no name such as -20dB.wav.
FORMULA = re.compile(r"[=@]|[+-].*[(|!]", re.DOTALL)


def is_formula(text: str) -> bool:
    """Return whether a spreadsheet would run a text as a formula."""
    return FORMULA.match(text) is not None


def formula_problem(text: str) -> str:
    """Return why a name that is a formula is refused."""
    return f"a spreadsheet would run {text} as a formula: give it another name"


def needs_run(run: Any) -> list[str]:
    return ["run=NAME is missing: the run folder to read"] if not run else []


def run_name_problems(setting: str, name: str | None) -> list[str]:
    """Return why a name cannot be that of a run folder."""
    if name in ("", ".", ".."):
        return [f"{setting}={name} is not a name for a run folder"]
    return [f"{setting}: {formula_problem(name)}"] if name is not None and is_formula(name) else []


def class_list(path: str, classes: list[str] | None) -> list[str]:
    """Return a message unless a class list is two or more different labels, none of them a formula."""
    if classes is None or len(classes) == len(set(classes)) > 1:
        return [f"{path}: {formula_problem(label)}" for label in classes or () if is_formula(label)]
    return [f"{path}={classes} must be two or more different labels"]

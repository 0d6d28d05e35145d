"""What is wrong with a value, in a line each; an empty list where nothing is."""

from __future__ import annotations

import difflib
import re
from typing import Any

# What a spreadsheet runs when it opens a table: =1+1, @SUM(1), -2+cmd|'/C calc'!A1; but no name such as -20dB.wav.
FORMULA = re.compile(r"[=@]|[+-].*[(|!]", re.DOTALL)


def is_formula(text: str) -> bool:
    """Say whether a spreadsheet would run a text as a formula."""
    return FORMULA.match(text) is not None


def formula_told(text: str) -> str:
    """Say that a name is refused for being a formula."""
    return f"a spreadsheet would run {text} as a formula: give it another name"


def one_of(name: str, value: Any, allowed: tuple[Any, ...]) -> list[str]:
    if value in allowed:
        return []
    near = difflib.get_close_matches(str(value), [str(a) for a in allowed], n=1)
    hint = f" (did you mean {near[0]}?)" if near else ""
    return [f"{name}={value} is none of {', '.join(map(str, allowed))}{hint}"]


def at_least(name: str, value: float | None, least: float) -> list[str]:
    return [f"{name}={value} must be {least} or more"] if value is not None and value < least else []


def share(name: str, value: float | None) -> list[str]:
    return [f"{name}={value} must lie in 0 to 1"] if value is not None and not 0 <= value <= 1 else []


def needs_run(run: Any) -> list[str]:
    return ["run=NAME is missing: the run folder to read"] if not run else []

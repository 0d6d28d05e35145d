"""Errors whose text is written for the person who started the program."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from dataclasses import dataclass

FIRST, LAST = 40, 10  # problems that an error lists at most
COMPARISONS = 100_000  # about a second's work


class Nearest:
    """Says which known name is meant by a misspelt one, as long as that takes no more than `COMPARISONS`."""

    def __init__(self, known: Iterable[str], cutoff: float = 0.6) -> None:
        self._known, self._cutoff = list(known), cutoff
        self._found: dict[str, str] = {}
        self._most = max(1, min(FIRST + LAST, COMPARISONS // max(1, len(self._known))))

    def __call__(self, name: str) -> str:
        """Return " (did you mean X?)"; "" if no known name is near, or too many were asked for before."""
        if name not in self._found and len(self._found) < self._most:
            near = difflib.get_close_matches(name, self._known, n=1, cutoff=self._cutoff)
            self._found[name] = f" (did you mean {near[0]}?)" if near else ""
        return self._found.get(name, "")


class AudiotagError(Exception):
    """Something the user can put right: says what is wrong, where, and what to do."""

    exit_code = 2


class ProblemsError(AudiotagError):
    """Several problems found by one check, reported together.

    `problems` holds one line per problem, each naming its place; of very many, the text has the first and the last.
    """

    def __init__(self, headline: str, problems: Sequence[str], advice: str = "") -> None:
        self.problems = list(problems)
        lines = [f"  - {problem}" for problem in self.problems]
        more = len(lines) - FIRST - LAST
        if more > 0:
            lines[FIRST:-LAST] = [f"  ... {more:,} more ..."]
        lines.insert(0, headline)
        super().__init__("\n".join([*lines, advice] if advice else lines))


class ConfigError(ProblemsError):
    """Settings that are unknown, of the wrong type, or do not fit together."""


class DataError(ProblemsError):
    """Tables or audio files that cannot be trained on."""


class RunError(AudiotagError):
    """A run folder that is missing, incomplete, or was made with other settings."""


class DiskFullError(AudiotagError):
    """There is no room left for a file."""


class LeakError(AudiotagError):
    """What a network is judged or votes on would be known to it; a defect of this program, never of the data.

    Raised, not asserted: assertions vanish under `python -O`.
    """


class WorkError(AudiotagError):
    """The work of a job ended otherwise than by an error of its user: holds the traceback, or how the process ended."""

    def __init__(self, message: str, code: int) -> None:
        super().__init__(message)
        self.exit_code = code if code > 0 else 128 - code


@dataclass(frozen=True)
class Failed:
    """What a job of a sweep returns in place of a result, so that the other jobs are run nevertheless."""

    error: str
    """The error's text."""

    def __str__(self) -> str:
        return self.error

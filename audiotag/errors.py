"""Errors whose text is written for the person who started the program."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass


class AudiotagError(Exception):
    """Something the user can put right: says what is wrong, where, and what to do."""

    exit_code = 2


class ProblemsError(AudiotagError):
    """Several problems found by one check, reported together.

    `problems` holds one line per problem, each naming its place.
    """

    def __init__(self, headline: str, problems: Sequence[str], advice: str = "") -> None:
        self.problems = list(problems)
        lines = [headline, *(f"  - {problem}" for problem in self.problems)]
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

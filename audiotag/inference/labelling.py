"""The labelling of many recordings, whoever hears them: what could be read, what is silent, and how far it is.

Shapes: N recordings, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray

from audiotag.console import progress
from audiotag.features.audio import AudioError
from audiotag.inference.recordings import Recording

Key = tuple[int, int]  # of a network: (member, fold)
OnWindow = Callable[[int, int], None]  # is told the number of each window and of all as it comes
Heard = tuple[dict[Key, NDArray[np.float64]], bool]  # what is said to a recording, and whether it is silent


@dataclass(frozen=True)
class Labelled:
    """Recordings that could be read; `posteriors` holds, for each, those (C,) of the networks that were asked.

    `problems` says which others could not be read, and why; `silent` names recordings in which nothing is to be heard.
    """

    recordings: list[Recording] = field(default_factory=list)
    posteriors: list[dict[Key, NDArray[np.float64]]] = field(default_factory=list)
    problems: list[str] = field(default_factory=list)
    silent: list[str] = field(default_factory=list)


@dataclass(frozen=True)
class Fused:
    """What all networks say together: posteriors (N, C)."""

    posteriors: NDArray[np.float64]


def label_each(recordings: Sequence[Recording], hear: Callable[[Recording, OnWindow], Heard]) -> Labelled:
    """Have every recording heard by `hear`, which raises AudioError for one that cannot be read.

    Progress is shown by recordings and their windows.
    """
    labelled = Labelled()
    with progress("recordings") as bar:
        task = bar.add_task("Reading", total=len(recordings))
        for done, recording in enumerate(recordings):
            bar.update(task, completed=done, description="Reading")

            def show(window: int, n_windows: int, done: int = done) -> None:
                description = f"Window {window + 1:,} of {n_windows:,}" if n_windows > 1 else "Labelling"
                bar.update(task, completed=done + window / n_windows, description=description)

            try:
                answers, is_silent = hear(recording, show)
            except AudioError as error:
                labelled.problems.append(str(error))
                continue
            labelled.recordings.append(recording)
            labelled.posteriors.append(answers)
            if is_silent:
                labelled.silent.append(recording.fname)
    return labelled

"""The labelling of many recordings, whoever hears them: what could be read, what is silent, and how far it is.

Shapes: N recordings, C classes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field

import numpy as np
from numpy.typing import NDArray
from rich.progress import Progress, TaskID

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


@dataclass
class Shown:
    """The progress of a labelling: which recording is read, and which of its windows."""

    bar: Progress
    task: TaskID
    number: int = 0

    def reading(self, number: int) -> None:
        """Show that a recording is begun."""
        self.number = number
        self.bar.update(self.task, completed=number, description="Reading")

    def window(self, window: int, n_windows: int) -> None:
        """Show how far the recording is; an `OnWindow`."""
        description = f"Window {window + 1:,} of {n_windows:,}" if n_windows > 1 else "Labelling"
        self.bar.update(self.task, completed=self.number + window / n_windows, description=description)


def label_each(recordings: Sequence[Recording], hear: Callable[[Shown], Iterator[Heard | AudioError]]) -> Labelled:
    """Gather what `hear` yields of every recording, in order: what is said to it, or why it cannot be read."""
    labelled = Labelled()
    with progress("recordings") as bar:
        shown = Shown(bar, bar.add_task("Reading", total=len(recordings)))
        for recording, heard in zip(recordings, hear(shown), strict=True):
            if isinstance(heard, AudioError):
                labelled.problems.append(str(heard))
                continue
            answers, is_silent = heard
            labelled.recordings.append(recording)
            labelled.posteriors.append(answers)
            if is_silent:
                labelled.silent.append(recording.fname)
    return labelled

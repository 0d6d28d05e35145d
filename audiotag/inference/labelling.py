"""What networks say to recordings: each front end's spectrogram is computed once for all networks that use it.

Shapes: M members, N recordings, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audiotag.config import Features, Hardware, PredictConfig
from audiotag.console import progress
from audiotag.features.audio import AudioError
from audiotag.inference.fusion import average
from audiotag.inference.members import Member
from audiotag.inference.networks import Networks, load_network
from audiotag.inference.recordings import Recording
from audiotag.inference.spectrograms import Heard, spectrograms
from audiotag.inference.windows import Frames, WindowSpec, cut, place
from audiotag.run.folder import Cell


@dataclass(frozen=True)
class Labelled:
    """Recordings that could be read, and what the networks say to them.

    `by_fold` holds, for each, the posteriors (its folds, C) of its networks; `problems` says which others could not be
    read, and why; `silent` names the recordings in which nothing is to be heard.
    """

    recordings: list[Recording]
    by_fold: list[NDArray[np.float64]]
    problems: list[str]
    silent: list[str]

    @property
    def posteriors(self) -> NDArray[np.float64]:
        """Mean posterior (N, C) of each recording's networks."""
        return np.stack([posteriors.mean(axis=0) for posteriors in self.by_fold])


@dataclass(frozen=True)
class EnsembleLabelled:
    """Recordings that could be read, and what each member's networks say to them; else as `Labelled`.

    `by_member` holds, for each member, the posteriors (its folds, C) of each recording.
    """

    recordings: list[Recording]
    by_member: list[list[NDArray[np.float64]]]
    problems: list[str]
    silent: list[str]

    def posteriors(self, mean: str) -> NDArray[np.float64]:
        """Posteriors (M, N, C) of the members: the mean, arithmetic or geometric, of each one's folds."""
        return np.stack([np.stack([average(folds, mean) for folds in member]) for member in self.by_member])


def ask_members(
    members: Sequence[Member], recordings: Sequence[Recording], asked: Sequence[pd.Series] | None, config: PredictConfig
) -> EnsembleLabelled:
    """Ask every member about every recording, all of its folds or, of a clip in `asked`, the one that it names.

    `asked` holds a series by clip id for each member, -1 for all folds. Members with equal features are asked together.
    """
    # A split is heard as validation and the original's evaluation hear it; of other recordings all is wanted.
    is_cut = config.split is not None if config.cut is None else config.cut
    groups: dict[Features, list[int]] = {}
    for m, member in enumerate(members):
        groups.setdefault(member.folder.config.features, []).append(m)
    parts: list[Labelled] = []
    by_member: list[dict[str, NDArray[np.float64]]] = [{} for _ in members]
    for features, group in groups.items():
        keys = [(m, fold) for m in group for fold in members[m].folds]
        cells = [(members[m].folder, Cell(members[m].round, fold)) for m, fold in keys]
        networks = Networks({i: load_network(*cell) for i, cell in enumerate(cells)}, config.hardware)
        own = [dataclasses.replace(r, folds=_networks(r, keys, asked)) for r in recordings]
        hearing = WindowSpec(features, config.windows, is_cut)
        parts.append(label(own, networks, hearing, _workers(config.hardware, networks)))
        for recording, posteriors in zip(parts[-1].recordings, parts[-1].by_fold, strict=True):
            for m in group:
                rows = [row for row, i in enumerate(recording.folds) if keys[i][0] == m]
                by_member[m][recording.fname] = posteriors[rows]
    return _together(recordings, parts, by_member)


def _networks(
    recording: Recording, keys: Sequence[tuple[int, int]], asked: Sequence[pd.Series] | None
) -> tuple[int, ...]:
    """Return the numbers of the networks (member, fold) that may be asked about a recording."""
    if asked is None:
        return tuple(range(len(keys)))
    only = [by_clip[recording.fname] for by_clip in asked]
    return tuple(i for i, (m, fold) in enumerate(keys) if only[m] in (-1, fold))


def _together(
    recordings: Sequence[Recording], labelled: Sequence[Labelled], by_member: Sequence[dict[str, NDArray[np.float64]]]
) -> EnsembleLabelled:
    """Keep the recordings that every front end could read."""
    read = [r for r in recordings if all(r.fname in answers for answers in by_member)]
    problems = list(dict.fromkeys(problem for part in labelled for problem in part.problems))
    silent = list(dict.fromkeys(name for part in labelled for name in part.silent))
    return EnsembleLabelled(read, [[answers[r.fname] for r in read] for answers in by_member], problems, silent)


def label(recordings: Sequence[Recording], networks: Networks, hearing: WindowSpec, workers: int | None) -> Labelled:
    """Ask the networks about every recording; the spectrogram of each is computed once for all of them.

    Shows progress: recordings, a long one by its windows.
    """
    labelled = Labelled([], [], [], [])
    computed = spectrograms([recording.path for recording in recordings], hearing.features, workers)
    with progress("recordings") as bar:
        task = bar.add_task("Reading", total=len(recordings))
        for done, recording in enumerate(recordings):
            bar.update(task, completed=done, description="Reading")
            heard = next(computed)

            def tell(window: int, n_windows: int, done: int = done) -> None:
                description = f"Window {window + 1:,} of {n_windows:,}" if n_windows > 1 else "Labelling"
                bar.update(task, completed=done + window / n_windows, description=description)

            answer = heard if isinstance(heard, AudioError) else _ask(networks, heard, hearing, recording, tell)
            if isinstance(answer, AudioError):
                labelled.problems.append(str(answer))
                continue
            labelled.recordings.append(recording)
            labelled.by_fold.append(answer)
            if not isinstance(heard, AudioError) and heard.silent:
                labelled.silent.append(recording.fname)
    return labelled


def _ask(
    networks: Networks, heard: Heard, hearing: WindowSpec, recording: Recording, tell: Callable[[int, int], None]
) -> NDArray[np.float64] | AudioError:
    """Return the posteriors (its folds, C) of a recording; `tell` hears which window the networks come to."""
    windows = place(heard.n_frames, hearing)
    per_pass = max(1, hearing.features.clip_frames // windows.length)  # so that no pass takes more than a clip does

    def coming() -> Iterator[Frames]:
        for at, frames in enumerate(cut(heard.pieces, heard.n_frames, windows)):
            tell(at, len(windows.starts))
            yield frames

    try:
        return networks.posteriors(coming(), windows, per_pass, recording.folds)
    except AudioError as error:
        return error


def _workers(hardware: Hardware, networks: Networks) -> int | None:
    """Return the number of processes to compute spectrograms; by default none on a CPU, whose cores the networks use.

    Threads of a network that share their cores with processes wait for each other: 100 times as slow was measured.
    """
    return 0 if hardware.workers is None and networks.device.type == "cpu" else hardware.workers

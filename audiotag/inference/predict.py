"""Label recordings with the networks of a run: the most probable classes of each, and for a split its scores.

Shapes: T frames, F bands, C classes, N recordings.
"""

from __future__ import annotations

import os
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.markup import escape
from rich.table import Table

from audiotag.config import Hardware, PredictConfig
from audiotag.console import console
from audiotag.errors import AudiotagError, DataError
from audiotag.evaluation.metrics import Scores, ranking, score_posteriors
from audiotag.evaluation.scores import print_scores, write_scores
from audiotag.experiment.hardware import set_threads
from audiotag.experiment.run_folder import RunFolder, find_run
from audiotag.features.audio import AudioError
from audiotag.files import write_csv
from audiotag.inference.networks import Networks, choose_folds, choose_round, load_networks
from audiotag.inference.recordings import Found, Recording, check_no_leak, find_recordings, split_recordings
from audiotag.inference.spectrograms import Heard, spectrograms
from audiotag.inference.windows import Hearing, cut, place

SHOWN = 20  # recordings whose labels are printed


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


def predict(config: PredictConfig) -> Path:
    """Label what the configuration names, and write `predictions.csv`, for a split its scores, too; return its path.

    Raises RunError for a run, round or fold that is not there, DataError for recordings that are not. Where some files
    of a source cannot be read, the others' labels are written before DataError names them; of a split, nothing is then.
    """
    folder = find_run(config.run, config.runs_dir)
    folds = choose_folds(folder, config.fold)
    round_ = choose_round(folder, config.round, folds)
    if config.top > len(folder.classes):
        raise AudiotagError(f"top={config.top}: {folder.path} knows {len(folder.classes)} classes only")
    out = out_path(config, folder, round_)
    found = _find(config, folder, folds, round_)

    set_threads(config.hardware)
    networks = load_networks(folder, round_, folds, config.hardware)
    # A split is heard as validation and the original's evaluation hear it; of other recordings all is wanted.
    is_cut = config.split is not None if config.cut is None else config.cut
    hearing = Hearing(folder.config.features, config.windows, is_cut)
    labelled = label(found.recordings, networks, hearing, _workers(config.hardware, networks))

    n_asked = len(found.recordings)
    _refuse_unread(labelled, n_asked, config)
    table = predictions_table(labelled, folder.classes, config.top)
    write_csv(out, table)
    if config.split is not None:
        _score(labelled, folder, out.parent, round_, config)
    else:
        _print_labels(table)
    _print_rest(found, labelled, out, round_, folds)
    if labelled.problems:
        counts = f"{len(labelled.problems)} of {n_asked}"
        raise DataError(f"{counts} recordings cannot be read (the others are labelled):", labelled.problems)
    return out


def out_path(config: PredictConfig, folder: RunFolder, round_: int) -> Path:
    """Return the file for the predictions; raises AudiotagError where it cannot be written."""
    if config.out is not None:
        out = Path(config.out).expanduser().absolute()
    elif config.split is None:
        out = folder.path / "predict" / "predictions.csv"
    else:
        parts = [
            config.split,
            config.usage,
            "" if config.round == "best" else f"round{round_}",
            "" if config.fold is None else f"fold{config.fold}",
            f"windows{config.windows}" if config.windows else "",
            "" if config.cut is None else "cut" if config.cut else "whole",
        ]
        out = folder.path / "predict" / "-".join(filter(None, parts)) / "predictions.csv"
    if out.is_dir():
        raise AudiotagError(f"out={config.out} is a folder: name a file, such as {out / 'predictions.csv'}")
    try:
        out.parent.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise AudiotagError(f"{out.parent}: this folder cannot be made: {error.strerror}; set out=FILE") from error
    if not os.access(out.parent, os.W_OK):
        raise AudiotagError(f"{out.parent}: nothing can be written to this folder; set out=FILE")
    return out


def label(recordings: Sequence[Recording], networks: Networks, hearing: Hearing, workers: int | None) -> Labelled:
    """Ask the networks about every recording; the spectrogram of each is computed once for all of them."""
    labelled = Labelled([], [], [], [])
    computed = spectrograms([recording.path for recording in recordings], hearing.features, workers)
    for recording, heard in zip(recordings, computed, strict=True):
        answer = heard if isinstance(heard, AudioError) else _ask(networks, heard, hearing, recording)
        if isinstance(answer, AudioError):
            labelled.problems.append(str(answer))
            continue
        labelled.recordings.append(recording)
        labelled.by_fold.append(answer)
        if not isinstance(heard, AudioError) and heard.silent:
            labelled.silent.append(recording.fname)
    return labelled


def _ask(networks: Networks, heard: Heard, hearing: Hearing, recording: Recording) -> NDArray[np.float64] | AudioError:
    windows = place(heard.n_frames, hearing)
    per_pass = max(1, hearing.features.clip_frames // windows.length)  # so that no pass takes more than a clip does
    try:
        return networks.posteriors(cut(heard.pieces, heard.n_frames, windows), windows, per_pass, recording.folds)
    except AudioError as error:
        return error


def predictions_table(labelled: Labelled, classes: Sequence[str], top: int) -> pd.DataFrame:
    """Return the rows of `predictions.csv`: fname, then label and probability of the `top` most probable classes."""
    posteriors = labelled.posteriors
    order = ranking(posteriors, top)  # (N, top)
    names, probabilities = np.array(classes, dtype=object)[order], np.take_along_axis(posteriors, order, axis=1)
    columns: dict[str, object] = {"fname": [recording.fname for recording in labelled.recordings]}
    for k in range(top):
        columns |= {f"label_{k + 1}": names[:, k], f"probability_{k + 1}": probabilities[:, k]}
    return pd.DataFrame(columns)


def _find(config: PredictConfig, folder: RunFolder, folds: Sequence[int], round_: int) -> Found:
    if config.split is None:
        return find_recordings(config.source, folds)
    found = split_recordings(folder, config.split, config.usage, folds, config.root)
    if config.split == "valid":
        check_no_leak(folder, found.recordings, round_)
    return found


def _workers(hardware: Hardware, networks: Networks) -> int | None:
    """Return the number of processes to compute spectrograms; by default none on a CPU, whose cores the networks use.

    Threads of a network that share their cores with processes wait for each other: 100 times as slow was measured.
    """
    return 0 if hardware.workers is None and networks.device.type == "cpu" else hardware.workers


def _refuse_unread(labelled: Labelled, n_asked: int, config: PredictConfig) -> None:
    if labelled.problems and config.split is not None:
        counts = f"{len(labelled.problems)} of {n_asked} clips of the split"
        raise DataError(f"{counts} cannot be read; nothing is written:", labelled.problems)
    if not labelled.recordings:
        raise DataError("None of the recordings can be read; nothing is written:", labelled.problems)


def _score(labelled: Labelled, folder: RunFolder, where: Path, round_: int, config: PredictConfig) -> None:
    """Score all networks together and each fold's by itself; write and print it."""
    scored = [i for i, recording in enumerate(labelled.recordings) if recording.scored]
    if not scored:
        console.print("No clip of the split has a label: nothing is scored.")
        return
    posteriors, classes = labelled.posteriors, folder.classes
    scores = score_posteriors(posteriors[scored], [labelled.recordings[i].label for i in scored], classes)
    folds: dict[int, Scores] = {}
    for fold in sorted({fold for i in scored for fold in labelled.recordings[i].folds}):
        rows = [i for i in scored if fold in labelled.recordings[i].folds]
        own = np.stack([labelled.by_fold[i][labelled.recordings[i].folds.index(fold)] for i in rows])
        folds[fold] = score_posteriors(own, [labelled.recordings[i].label for i in rows], classes)
    about = {"run": folder.path.name, "split": config.split, "round": round_}
    write_scores(where, scores, config.usage, folds, about)
    print_scores(scores, folds, f"{folder.path.name}, {config.split} {config.usage or ''}".rstrip())


def _print_labels(table: pd.DataFrame) -> None:
    shown = Table("Recording", "Labels", box=None, pad_edge=False)
    for row in table.head(SHOWN).to_dict("records"):
        top = [f"{row[f'label_{k}']} {row[f'probability_{k}']:.3f}" for k in range(1, len(row) // 2 + 1)]
        shown.add_row(escape(str(row["fname"])), escape(", ".join(top)))
    console.print(shown)
    if len(table) > SHOWN:
        console.print(f"and {len(table) - SHOWN} more")


def _print_rest(found: Found, labelled: Labelled, out: Path, round_: int, folds: Sequence[int]) -> None:
    if found.passed_over:
        console.print(f"Files in the folders that are no recordings, passed over: {len(found.passed_over)}")
    if labelled.silent:
        names = ", ".join(labelled.silent[:5]) + (", ..." if len(labelled.silent) > 5 else "")
        note = f"[yellow]silent[/], or loud for too short a time: {len(labelled.silent)} of them, {escape(names)}"
        console.print(note, soft_wrap=True)
    asked = f"fold {folds[0]}" if len(folds) == 1 else f"folds {folds[0]} to {folds[-1]}"
    console.print(f"Labelled: {len(labelled.recordings)} of {len(found.recordings)}, by round {round_}, {asked}")
    console.print(f"Predictions: {escape(str(out))}", soft_wrap=True)

"""What a person sees and finds of labelled recordings: scores of a split, labels of a source, and what was passed over.

Shapes: M members of an ensemble, N recordings, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.cells import cell_len
from rich.table import Table
from rich.text import Text

from audiotag.config import PredictConfig
from audiotag.console import console
from audiotag.evaluation.metrics import Scores, ranked_labels, ranking, score_posteriors
from audiotag.evaluation.scores import ScoreFiles, report_scores
from audiotag.inference.labelling import Labelled
from audiotag.inference.members import Member
from audiotag.inference.recordings import Found

if TYPE_CHECKING:
    from audiotag.inference.ensemble import EnsembleAnswer  # which imports PyTorch

SHOWN = 20  # recordings whose labels are printed


def predictions_table(
    names: Sequence[str], posteriors: NDArray[np.float64], classes: Sequence[str], top: int
) -> pd.DataFrame:
    """Return the rows of `predictions.csv`: fname, then label and probability of the `top` most probable classes."""
    order = ranking(posteriors, top)  # (N, top)
    labels, probabilities = np.array(classes, dtype=object)[order], np.take_along_axis(posteriors, order, axis=1)
    columns: dict[str, object] = {"fname": list(names)}
    for k in range(order.shape[1]):
        columns |= {f"label_{k + 1}": labels[:, k], f"probability_{k + 1}": probabilities[:, k]}
    return pd.DataFrame(columns)


def score_split(labelled: Labelled, answer: EnsembleAnswer, out: Path, config: PredictConfig) -> None:
    """Score all networks together, each member, and a single run's folds by themselves; write and print it."""
    from audiotag.inference.ensemble import ensemble_fields, print_members

    scored = [i for i, recording in enumerate(labelled.recordings) if recording.scored]
    if not scored:
        console.print("No clip of the split has a label: nothing is scored.")
        return
    members, classes = answer.members, answer.members[0].folder.classes
    labels = [labelled.recordings[i].label for i in scored]
    by_member = [score_posteriors(own[scored], labels, classes) for own in answer.by_member]
    folds: dict[int, Scores] = {}
    about: dict[str, Any]
    if len(members) == 1:
        name = members[0].folder.path.name
        folds = _fold_scores(labelled, scored, classes)
        about = {"run": name, "split": config.split, "round": members[0].round}
    else:
        name = " + ".join(member.name for member in members)
        about = {"split": config.split, **ensemble_fields(answer, by_member)}
    title = f"{name}, {config.split} {config.usage or ''}".rstrip()
    ranked = ranked_labels(answer.posteriors[scored], classes)
    files = ScoreFiles(out)
    scores = report_scores(files, ranked, labels, classes, config.usage, config.bootstrap, title, folds, about)
    if len(members) > 1:
        print_members(answer, by_member, scores)


def _fold_scores(labelled: Labelled, scored: Sequence[int], classes: Sequence[str]) -> dict[int, Scores]:
    """Return the scores of each fold's network by itself, of a single run."""
    own: dict[int, list[tuple[NDArray[np.float64], str]]] = {}
    for i in scored:
        for (_, fold), posterior in labelled.posteriors[i].items():
            own.setdefault(fold, []).append((posterior, labelled.recordings[i].label))
    return {
        fold: score_posteriors(np.stack([p for p, _ in pairs]), [label for _, label in pairs], classes)
        for fold, pairs in sorted(own.items())
    }


def print_labels(table: pd.DataFrame) -> None:
    """Print the first recordings' labels; below their names where a name leaves them no room."""
    rows = table.head(SHOWN).to_dict("records")
    labels = [
        ", ".join(f"{row[f'label_{k}']} {row[f'probability_{k}']:.3f}" for k in range(1, len(row) // 2 + 1))
        for row in rows
    ]
    names = [str(row["fname"]) for row in rows]
    shown = Table("Recording", "Labels", box=None, pad_edge=False)
    fits = max(map(cell_len, [*names, "Recording"])) + 2 + max(map(cell_len, labels)) <= console.width
    for name, top in zip(names, labels, strict=True):
        if fits:
            shown.add_row(name, top)
        else:
            console.print(f"{name}\n    {top}", soft_wrap=True)
    if fits:
        console.print(shown)
    if len(table) > SHOWN:
        console.print(f"and {len(table) - SHOWN} more")


def asked_by(members: Sequence[Member]) -> str:
    """Return who labelled, in words."""
    folds = members[0].folds
    asked = f"fold {folds[0]}" if len(folds) == 1 else f"folds {folds[0]} to {folds[-1]}"
    return f"round {members[0].round}, {asked}" if len(members) == 1 else f"{len(members)} members"


def print_rest(found: Found, labelled: Labelled, out: Path, by: str) -> None:
    """Print what was passed over, what is silent, who labelled how many, and where the labels are."""
    if found.passed_over:
        console.print(f"Files in the folders that are not recordings, passed over: {len(found.passed_over)}")
    if labelled.silent:
        names = ", ".join(labelled.silent[:5]) + (", ..." if len(labelled.silent) > 5 else "")
        note = f"or loud for too short a time: {len(labelled.silent)} of them, {names}"
        console.print(Text("silent,", "yellow"), note, soft_wrap=True)
    console.print(f"Labelled: {len(labelled.recordings)} of {len(found.recordings)}, by {by}", soft_wrap=True)
    console.print(f"Predictions: {out}", soft_wrap=True)

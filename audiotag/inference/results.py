"""What a person sees and finds of labelled recordings: scores of a split, labels of a source, and what was passed over.

Shapes: M members of an ensemble, N recordings, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

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
from audiotag.inference.ensemble import Ensembled, ensemble_fields, print_members
from audiotag.inference.labelling import EnsembleLabelled
from audiotag.inference.members import Member
from audiotag.inference.recordings import Found

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


def score_split(labelled: EnsembleLabelled, together: Ensembled, where: Path, config: PredictConfig) -> None:
    """Score all networks together, each member, and a single run's folds by themselves; write and print it."""
    scored = [i for i, recording in enumerate(labelled.recordings) if recording.scored]
    if not scored:
        console.print("No clip of the split has a label: nothing is scored.")
        return
    members, classes = together.members, together.members[0].folder.classes
    labels = [labelled.recordings[i].label for i in scored]
    by_member = [score_posteriors(own[scored], labels, classes) for own in together.by_member]
    if len(members) == 1:
        folds = _fold_scores(labelled, scored, classes)
        name = members[0].folder.path.name
        about: dict[str, Any] = {"run": name, "split": config.split, "round": members[0].round}
    else:
        folds = {}
        name = " + ".join(member.name for member in members)
        about = {"split": config.split, **ensemble_fields(together, by_member)}
    title = f"{name}, {config.split} {config.usage or ''}".rstrip()
    ranked = ranked_labels(together.posteriors[scored], classes)
    scores = report_scores(
        ScoreFiles(where), ranked, labels, classes, config.usage, config.bootstrap, title, folds, about
    )
    if len(members) > 1:
        print_members(together, by_member, scores)


def _fold_scores(labelled: EnsembleLabelled, scored: Sequence[int], classes: Sequence[str]) -> dict[int, Scores]:
    """Return the scores of each fold's network by itself, of a single run."""
    folds: dict[int, Scores] = {}
    for fold in sorted({fold for i in scored for fold in labelled.recordings[i].folds}):
        rows = [i for i in scored if fold in labelled.recordings[i].folds]
        own = np.stack([labelled.by_member[0][i][labelled.recordings[i].folds.index(fold)] for i in rows])
        folds[fold] = score_posteriors(own, [labelled.recordings[i].label for i in rows], classes)
    return folds


def print_labels(table: pd.DataFrame) -> None:
    """Print the first recordings' labels; below their names where a name leaves them no room."""
    rows = table.head(SHOWN).to_dict("records")
    labels = [
        ", ".join(f"{row[f'label_{k}']} {row[f'probability_{k}']:.3f}" for k in range(1, len(row) // 2 + 1))
        for row in rows
    ]
    names = [str(row["fname"]) for row in rows]
    if max(map(cell_len, [*names, "Recording"])) + 2 + max(map(cell_len, labels)) <= console.width:
        shown = Table("Recording", "Labels", box=None, pad_edge=False)
        for name, top in zip(names, labels, strict=True):
            shown.add_row(name, top)
        console.print(shown)
    else:
        for name, top in zip(names, labels, strict=True):
            console.print(name, soft_wrap=True)
            console.print(f"    {top}", soft_wrap=True)
    if len(table) > SHOWN:
        console.print(f"and {len(table) - SHOWN} more")


def print_rest(found: Found, labelled: EnsembleLabelled, out: Path, members: Sequence[Member]) -> None:
    """Print what was passed over, what is silent, who labelled how many, and where the labels are."""
    if found.passed_over:
        console.print(f"Files in the folders that are no recordings, passed over: {len(found.passed_over)}")
    if labelled.silent:
        names = ", ".join(labelled.silent[:5]) + (", ..." if len(labelled.silent) > 5 else "")
        note = f"or loud for too short a time: {len(labelled.silent)} of them, {names}"
        console.print(Text("silent,", "yellow"), note, soft_wrap=True)
    folds = members[0].folds
    asked = f"fold {folds[0]}" if len(folds) == 1 else f"folds {folds[0]} to {folds[-1]}"
    by = f"round {members[0].round}, {asked}" if len(members) == 1 else f"{len(members)} members"
    console.print(f"Labelled: {len(labelled.recordings)} of {len(found.recordings)}, by {by}")
    console.print(f"Predictions: {out}", soft_wrap=True)

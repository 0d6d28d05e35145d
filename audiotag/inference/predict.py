"""Label recordings with the networks of one or more runs: the most probable classes, and the scores of a split.

Shapes: M members of an ensemble, N recordings, C classes.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audiotag.config import PredictConfig
from audiotag.errors import AudiotagError, DataError
from audiotag.evaluation.metrics import MAP_DEPTH, ranking
from audiotag.evaluation.scores import ScoreFiles
from audiotag.experiment.hardware import set_numerics
from audiotag.files import check_output, write_csv
from audiotag.inference.ensemble import Ensembled, choose_fusion, write_ensemble
from audiotag.inference.labelling import EnsembleLabelled, ask_members
from audiotag.inference.members import Member, choose_members, default_folder, held_out_folds
from audiotag.inference.recordings import Found, check_no_leak, find_recordings, split_recordings
from audiotag.inference.results import print_labels, print_rest, score_split
from audiotag.inference.submission import check_submittable, submission_table


def predict(config: PredictConfig) -> Path:
    """Label what the configuration names, and write `predictions.csv`, for a split its scores, too; return its path.

    Raises RunError for a run, round or fold that is not there and for runs that make no ensemble, DataError for
    recordings that are not there. Where some files of a source cannot be read, the others' labels are written before
    DataError names them; of a split, nothing is then.
    """
    members = choose_members(config)
    classes = members[0].folder.classes
    if config.top > len(classes) and config.format == "predictions":
        raise AudiotagError(f"top={config.top}: {members[0].folder.path} knows {len(classes)} classes only")
    if config.format == "submission":
        check_submittable(classes)
    found, asked = _find(config, members)
    fusion = choose_fusion(members, config.ensemble)
    out = out_path(config, members, found)

    set_numerics(config.hardware)
    labelled = ask_members(members, found.recordings, asked, config)
    _refuse_unread(labelled, len(found.recordings), config)
    by_member = labelled.posteriors(config.ensemble.mean)
    together = Ensembled(members, by_member, fusion, config.ensemble)

    names = [recording.fname for recording in labelled.recordings]
    table = predictions_table(names, together.posteriors, classes, config.top)
    write_csv(out, submission_table(names, together.posteriors, classes) if config.format == "submission" else table)
    write_ensemble(out.parent, together)
    if config.split in ("test", "valid"):
        score_split(labelled, together, out.parent, config)
    else:
        print_labels(table)
    print_rest(found, labelled, out, members)
    if labelled.problems:
        counts = f"{len(found.recordings) - len(names)} of {len(found.recordings)}"
        raise DataError(f"{counts} recordings cannot be read (the others are labelled):", labelled.problems)
    return out


def out_path(config: PredictConfig, members: Sequence[Member], found: Found) -> Path:
    """Return the file for the predictions; raises AudiotagError where it cannot be written, or others would be lost."""
    name = f"{config.format}.csv"
    folder = default_folder(members, config.runs_dir)
    if config.out is not None:
        out = Path(config.out).expanduser().absolute()
    elif config.split is None:
        out = folder / name
    else:
        out = folder / "-".join(filter(None, _out_parts(config, members))) / name
    if out.is_dir():
        raise AudiotagError(f"out={config.out} is a folder: name a file, such as {out / name}")
    if out.suffix.lower() != ".csv":
        raise AudiotagError(f"out={config.out}: predictions are written as CSV; name it {out.with_suffix('.csv').name}")
    if out.name in WRITTEN_BESIDE:
        raise AudiotagError(f"out={config.out}: a file of that name is written beside the labels; name another")
    beside = WRITTEN_BESIDE if config.split is not None else WRITTEN_BESIDE[-2:] if len(members) > 1 else ()
    check_output(out, OWN[config.format], beside, [recording.path for recording in found.recordings])
    if config.split is None:
        _refuse_losing(out, {recording.fname for recording in found.recordings})
    elif config.format == "submission":
        _refuse_other_labels(out)
    return out


# What the files of each format begin with; a person's own table may begin with fname,label, too.
OWN = {"predictions": "fname,label_1,probability_1", "submission": "fname,label\n"}
WRITTEN_BESIDE = ("scores.json", *ScoreFiles(Path()).others, "agreement.csv", "weights.csv")


def _refuse_other_labels(out: Path) -> None:
    """Raise AudiotagError for a table of clips and labels that is no submission: those have three labels a row."""
    if out.exists() and out.stat().st_size:
        labels = pd.read_csv(out, usecols=["label"], dtype=str, keep_default_na=False)["label"]
        if (labels.str.count(" ") != MAP_DEPTH - 1).any():
            raise AudiotagError(f"{out} was not written by this command: name another file with out=, or move it away")


def _refuse_losing(out: Path, names: set[str]) -> None:
    """Raise AudiotagError where a file holds labels of recordings that this command does not label again."""
    if not out.exists() or not out.stat().st_size:
        return
    others = sorted(set(pd.read_csv(out, usecols=["fname"], dtype=str, keep_default_na=False)["fname"]) - names)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise AudiotagError(
            f"{out} holds the labels of other recordings ({others[0]}{more}), which would be lost: name another file "
            "with out=, or delete it"
        )


def _out_parts(config: PredictConfig, members: Sequence[Member]) -> list[str | None]:
    """Return what tells the predictions of a run's split from others of the same run."""
    rounds = [str(member.round) for member in members]
    is_one_run = len({member.folder.path for member in members}) == 1
    is_best = len(members) == 1 and members[0].asked == "best"
    return [
        config.split,
        config.usage,
        f"round{'+'.join(rounds)}" if is_one_run and not is_best else "",
        "" if config.fold is None else f"fold{config.fold}",
        f"windows{config.windows}" if config.windows else "",
        "" if config.cut is None else "cut" if config.cut else "whole",
        "" if config.ensemble.mean == "arithmetic" else config.ensemble.mean,
        "" if config.ensemble.weights == "equal" else config.ensemble.weights,
    ]


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


def _find(config: PredictConfig, members: Sequence[Member]) -> tuple[Found, list[pd.Series] | None]:
    """Return the recordings and, of a split, the fold of each member to ask about each (-1: all)."""
    first = members[0]
    if config.split is None:
        return find_recordings(config.source, first.folds), None
    asked = held_out_folds(members, config.split, config.usage)
    found = split_recordings(first.folder, config.split, config.usage, first.folds, config.root)
    if config.split == "valid":
        for member, folds in zip(members, asked, strict=True):
            own = [dataclasses.replace(r, folds=(int(folds[r.fname]),)) for r in found.recordings]
            check_no_leak(member.folder, own, member.round)
    return found, asked


def _refuse_unread(labelled: EnsembleLabelled, n_asked: int, config: PredictConfig) -> None:
    n_unread = n_asked - len(labelled.recordings)
    if n_unread and config.split is not None:
        counts = f"{n_unread} of {n_asked} clips of the split"
        raise DataError(f"{counts} cannot be read; nothing is written:", labelled.problems)
    if not labelled.recordings:
        raise DataError("None of the recordings can be read; nothing is written:", labelled.problems)

"""Label recordings with the networks of one or more runs: check what is asked for, ask, write, score, show.

Everything is checked without PyTorch, which takes seconds to import.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from pathlib import Path

import pandas as pd

from audiotag.config import PredictConfig
from audiotag.distributed.processes import importing_pytorch
from audiotag.errors import AudiotagError, DataError
from audiotag.evaluation.metrics import MAP_DEPTH
from audiotag.evaluation.scores import ScoreFiles
from audiotag.files import check_output, write_csv
from audiotag.inference.exported import Exported, exported
from audiotag.inference.load import load_tagger
from audiotag.inference.members import Member, choose_members, default_folder, held_out_folds
from audiotag.inference.recordings import Found, check_no_leak, find_recordings, split_recordings
from audiotag.inference.submission import check_submittable, submission_table


def predict(config: PredictConfig) -> Path:
    """Label what the configuration names, and write `predictions.csv`, for a split its scores, too; return its path.

    Raises RunError if a run, round or fold is not there or runs make no ensemble, DataError if recordings are not
    there. If some files of a source cannot be read, the others' labels are written before DataError names them; of a
    split, nothing is then.
    """
    found_exported = exported(config)
    if found_exported is not None:
        return _predict_by_exported(found_exported, config)
    members = choose_members(config)
    classes = members[0].folder.classes
    if config.format == "predictions":
        _check_top(config, members[0].folder.path, len(classes))
    if config.format == "submission":
        check_submittable(classes)
    found, asked = _find(config, members)
    default = default_folder(members, config.runs_dir) / _split_folder(config, members) / f"{config.format}.csv"
    out = output_file(config, default, found, several=len(members) > 1)

    with importing_pytorch():
        from audiotag.inference.ensemble import EnsembleTagger, write_ensemble
        from audiotag.inference.results import asked_by, predictions_table, print_labels, print_rest, score_split

    tagger = EnsembleTagger(members, config)
    labelled = tagger.label(found.recordings, asked)
    _refuse_unread(labelled.problems, len(labelled.recordings), len(found.recordings), config)
    answer = tagger.fuse(labelled.posteriors)
    names = [recording.fname for recording in labelled.recordings]
    table = predictions_table(names, answer.posteriors, classes, config.labels)
    write_csv(out, submission_table(names, answer.posteriors, classes) if config.format == "submission" else table)
    write_ensemble(out.parent, answer)
    if config.split in ("test", "valid"):
        score_split(labelled, answer, out.parent, config)
    else:
        print_labels(table)
    print_rest(found, labelled, out, asked_by(members))
    _raise_unread(labelled.problems, len(names), len(found.recordings))
    return out


def _predict_by_exported(one: Exported, config: PredictConfig) -> Path:
    """Label recordings by what was exported: as `predict` does; by an ONNX file, without PyTorch."""
    tagger = load_tagger(config, one)
    _check_top(config, one.name, len(tagger.classes))
    found = find_recordings(config.source, ())
    out = output_file(config, one.beside(f".{config.format}.csv"), found, several=False)
    from audiotag.inference.results import predictions_table, print_labels, print_rest

    labelled = tagger.label(found.recordings)
    _refuse_unread(labelled.problems, len(labelled.recordings), len(found.recordings), config)
    names = [recording.fname for recording in labelled.recordings]
    table = predictions_table(names, tagger.together(labelled), tagger.classes, config.labels)
    write_csv(out, table)
    print_labels(table)
    print_rest(found, labelled, out, f"{one.name}, exported from {', '.join(tagger.names)}")
    _raise_unread(labelled.problems, len(names), len(found.recordings))
    return out


def _check_top(config: PredictConfig, whose: Path | str, n_classes: int) -> None:
    if (config.top or 0) > n_classes:
        raise AudiotagError(f"top={config.top}: {whose} knows {n_classes} classes only")


def _raise_unread(problems: list[str], n_read: int, n_found: int) -> None:
    if problems:
        counts = f"{n_found - n_read} of {n_found}"
        raise DataError(f"{counts} recordings cannot be read (the others are labelled):", problems)


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


def _refuse_unread(problems: list[str], n_read: int, n_found: int, config: PredictConfig) -> None:
    if n_read < n_found and config.split is not None:
        counts = f"{n_found - n_read} of {n_found} clips of the split"
        raise DataError(f"{counts} cannot be read; nothing is written:", problems)
    if not n_read:
        raise DataError("None of the recordings can be read; nothing is written:", problems)


# What the files of each format begin with; a person's own table may begin with fname,label, too.
OWN = {"predictions": "fname,label_1,probability_1", "submission": "fname,label\n"}
WRITTEN_BESIDE = ("scores.json", *ScoreFiles(Path()).others, "agreement.csv", "weights.csv")


def output_file(config: PredictConfig, default: Path, found: Found, *, several: bool) -> Path:
    """Return the file for the predictions; raises AudiotagError if it cannot be written, or others would be lost.

    `several` says that an ensemble's files are written beside it.
    """
    out = default if config.out is None else Path(config.out).expanduser().absolute()
    if out.is_dir():
        raise AudiotagError(f"out={config.out} is a folder: name a file, such as {out / f'{config.format}.csv'}")
    if out.suffix.lower() != ".csv":
        raise AudiotagError(f"out={config.out}: predictions are written as CSV; name it {out.with_suffix('.csv').name}")
    if out.name in WRITTEN_BESIDE:
        raise AudiotagError(f"out={config.out}: a file of that name is written beside the labels; name another")
    beside = WRITTEN_BESIDE if config.split is not None else WRITTEN_BESIDE[-2:] if several else ()
    check_output(out, OWN[config.format], beside, [recording.path for recording in found.recordings])
    if config.split is None:
        refuse_losing(out, {recording.fname for recording in found.recordings})
    elif config.format == "submission":
        _refuse_other_labels(out)
    return out


def _split_folder(config: PredictConfig, members: Sequence[Member]) -> str:
    """Return what tells the predictions of a run's split from others of the same run; "" if it is not a split."""
    if config.split is None:
        return ""
    rounds = "+".join(str(member.round) for member in members)
    is_one_run = len({member.folder.path for member in members}) == 1
    is_best = len(members) == 1 and members[0].asked == "best"
    parts = [
        config.split,
        config.usage,
        f"round{rounds}" if is_one_run and not is_best else "",
        "" if config.fold is None else f"fold{config.fold}",
        f"windows{config.windows}" if config.windows else "",
        "" if config.cut is None else "cut" if config.cut else "whole",
        "" if config.ensemble.mean == "arithmetic" else config.ensemble.mean,
        "" if config.ensemble.weights == "equal" else config.ensemble.weights,
    ]
    return "-".join(filter(None, parts))


def _refuse_other_labels(out: Path) -> None:
    """Raise AudiotagError for a table of clips and labels that is not a submission: those have three labels a row."""
    if out.exists() and out.stat().st_size:
        labels = pd.read_csv(out, usecols=["label"], dtype=str, keep_default_na=False)["label"]
        if (labels.str.count(" ") != MAP_DEPTH - 1).any():
            raise AudiotagError(f"{out} was not written by this command: name another file with out=, or move it away")


def refuse_losing(out: Path, names: set[str]) -> None:
    """Raise AudiotagError if a file holds labels of recordings that this command does not label again."""
    if not out.exists() or not out.stat().st_size:
        return
    others = sorted(set(pd.read_csv(out, usecols=["fname"], dtype=str, keep_default_na=False)["fname"]) - names)
    if others:
        more = f" and {len(others) - 1} more" if len(others) > 1 else ""
        raise AudiotagError(
            f"{out} holds the labels of other recordings ({others[0]}{more}), which would be lost: name another file "
            "with out=, or delete it"
        )

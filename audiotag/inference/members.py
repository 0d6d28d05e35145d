"""Who is asked: the members of an ensemble, each one round of a run, and what they must have in common.

A single run in one round is an ensemble of one. Shapes: M members, N clips, C classes.
"""

from __future__ import annotations

import re
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audiotag.config import PredictConfig
from audiotag.errors import DataError, RunError
from audiotag.inference.recordings import split_clips
from audiotag.randomness import key
from audiotag.run.folder import Cell, RunFolder, find_run

NAMED_ROUND = re.compile(r"(?P<run>.+)@(?P<round>best|last|\d+)")
SHOWN = 5  # of what differs, named in an error


@dataclass(frozen=True)
class Member:
    """The networks of some folds of one round of a run."""

    folder: RunFolder
    round: int
    folds: tuple[int, ...]
    name: str
    """The run's name, or its path where two runs have the same, and the round: NAME@ROUND."""
    asked: str
    """The round as it was asked for: best, last or a number."""


def choose_members(config: PredictConfig) -> list[Member]:
    """Return a member for each run and round that the configuration names, in that order.

    Raises RunError for runs, rounds and folds that are not there, for a member named twice, and for runs whose class
    lists differ.
    """
    named = config.run if isinstance(config.run, list) else [config.run]
    rounds = config.round if isinstance(config.round, list) else [config.round]
    chosen: list[tuple[RunFolder, str, tuple[int, ...]]] = []
    for name in map(str, named):
        run, own = _parted(name, config.runs_dir)
        folder = find_run(run, config.runs_dir)
        chosen += [(folder, str(asked), tuple(choose_folds(folder, config.fold))) for asked in own or rounds]
    paths = {folder.path for folder, _, _ in chosen}
    is_unique = len({path.name for path in paths}) == len(paths)
    members = []
    for folder, asked, folds in chosen:
        round_ = choose_round(folder, asked, folds)
        name = f"{folder.path.name if is_unique else folder.path}@{round_}"
        members.append(Member(folder, round_, folds, name, asked))
    names = [member.name for member in members]
    twice = sorted({name for name in names if names.count(name) > 1})
    if twice:
        raise RunError(f"named twice: {', '.join(twice)} (best and last are rounds with a number, too); name each once")
    _check_classes(members)
    return members


def choose_folds(folder: RunFolder, fold: int | None) -> list[int]:
    """Return the folds to ask, all of the run's or the given one; raises RunError where it has no such fold."""
    n_folds = folder.config.folds
    if fold is not None and not 0 <= fold < n_folds:
        raise RunError(f"fold={fold}: {folder.path} has the folds 0 to {n_folds - 1}")
    return list(range(n_folds)) if fold is None else [fold]


def choose_round(folder: RunFolder, wanted: str, folds: Sequence[int]) -> int:
    """Return the number of the round called `wanted`: best (of `summary.json`), last, or a number.

    Raises RunError where the networks of `folds` are not all there.
    """
    rounds = range(folder.config.finetune_rounds + 1)
    complete = [r for r in rounds if all(folder.status(Cell(r, fold)) is not None for fold in folds)]
    there = f"complete are: {', '.join(map(str, complete))}" if complete else "no round is complete yet"
    if not complete:
        raise RunError(f"{folder.path}: {there}; run train.py again with the same settings, and it continues")
    if wanted == "last":
        return complete[-1]
    if wanted == "best":
        return _best_round(folder, there)
    if int(wanted) not in complete:
        raise RunError(f"round={wanted}: {folder.path} has no such round, or not all its folds; {there}")
    return int(wanted)


def _best_round(folder: RunFolder, there: str) -> int:
    best = (folder.summary or {}).get("best_round")
    if best is None:
        raise RunError(
            f"{folder.path} has no best round yet (summary.json is written when train.py ends): let it finish, or set "
            f"round=last or a number; {there}"
        )
    return int(best)


def _parted(name: str, runs_dir: str) -> tuple[str, list[str]]:
    """Return a run and its own rounds, none where NAME has no @ROUND, or is a run folder as it stands."""
    found = NAMED_ROUND.fullmatch(name)
    if found is None or find_run(name, runs_dir).config_file.is_file():
        return name, []
    return found["run"], [found["round"]]


def _check_classes(members: Sequence[Member]) -> None:
    first = members[0]
    problems = []
    for other in members[1:]:
        ours, theirs = first.folder.classes, other.folder.classes
        differences = [
            f"only {member.name} knows {_some(sorted(only))}"
            for member, only in ((first, set(ours) - set(theirs)), (other, set(theirs) - set(ours)))
            if only
        ]
        if ours != theirs:
            problems.append("; ".join(differences) or f"{first.name} and {other.name} have them in another order")
    if problems:
        raise RunError(f"Runs with different class lists make no ensemble: {'; '.join(dict.fromkeys(problems))}")


def held_out_folds(members: Sequence[Member], split: str, usage: str | None) -> list[pd.Series]:
    """Return, for each member, the fold (-1: all of its folds) to ask about each clip of the split, by clip id.

    In test each clip is asked of all folds, in valid only of the one that held it out, which each run's own manifest
    tells. Raises DataError where the members' data sets differ in the split's clips, their labels or their audio.
    """
    clips = [split_clips(m.folder, split, usage, m.folds).set_index("clip_id") for m in members]
    first, problems = clips[0], []
    for member, other in zip(members[1:], clips[1:], strict=True):
        problems += _differences(members[0].name, first, member.name, other)
    if problems:
        advice = "Members must be trained on the same data set, with the same rows left out" + (
            "; with split=valid and fold=, with the same folds (the same seed)." if split == "valid" else "."
        )
        raise DataError(f"The runs do not have the same clips to score in split={split}:", problems, advice)
    if split != "valid":
        return [pd.Series(-1, index=first.index) for _ in members]
    return [other.loc[first.index, "fold"].astype(int) for other in clips]


def _differences(name: str, clips: pd.DataFrame, other_name: str, others: pd.DataFrame) -> list[str]:
    found = [
        f"{len(only)} clips are in {here} only: {_some(sorted(only))}"
        for here, only in (
            (name, set(clips.index) - set(others.index)),
            (other_name, set(others.index) - set(clips.index)),
        )
        if only
    ]
    common = clips.index.intersection(others.index)
    for column, what in (("label", "another label"), ("usage", "another usage"), ("content_hash", "other audio")):
        differ = common[clips.loc[common, column] != others.loc[common, column]]
        if len(differ):
            found.append(f"{len(differ)} clips have {what} in {name} than in {other_name}: {_some(list(differ))}")
    return found


@dataclass(frozen=True)
class HeldOutVotes:
    """Verified clips that every member held out: consensus (M, N, C), right classes (N,), first member's folds (N,)."""

    posteriors: NDArray[np.float64]
    targets: NDArray[np.intp]
    folds: NDArray[np.int_]


def held_out_votes(members: Sequence[Member]) -> HeldOutVotes:
    """Read what each member's networks said to the verified clips that they held out, as training stored it.

    Raises RunError where a run held nothing out, or the members have no such clips in common.
    """
    for member in members:
        if member.folder.config.data.train_on_all:
            raise RunError(
                f"ensemble.weights=learned: {member.name} was trained with data.train_on_all=true, so no clip was held "
                "out to learn from; set ensemble.weights=equal"
            )
    tables = [
        pd.concat([vote.verified for vote in member.folder.votes(member.round).values()]).set_index("clip_id")
        for member in members
    ]
    common = tables[0].index
    for table in tables[1:]:
        common = common.intersection(table.index)
    labels = [member.folder.train["label"].reindex(common) for member in members]
    if common.empty:
        raise RunError(
            f"ensemble.weights=learned: {', '.join(member.name for member in members)} have no verified clips in "
            "common to learn from: they were trained on other data; set ensemble.weights=equal"
        )
    differ = common[[len(set(row)) > 1 for row in zip(*labels, strict=True)]]
    if len(differ):
        raise RunError(
            f"ensemble.weights=learned: {len(differ)} verified clips have other labels in one run than in another: "
            f"{_some(list(differ))}; train on the same labels, or set ensemble.weights=equal"
        )
    classes = members[0].folder.classes
    code = {label: i for i, label in enumerate(classes)}
    return HeldOutVotes(
        np.stack([table.loc[common, classes].to_numpy(np.float64) for table in tables]),
        np.array([code[label] for label in labels[0]]),
        members[0].folder.train.loc[common, "fold"].to_numpy(),
    )


def default_folder(members: Sequence[Member], runs_dir: str) -> Path:
    """Return where predictions are kept: below the run, or below `runs/ensembles/` where there are several runs."""
    runs = {member.folder.path for member in members}
    if len(runs) == 1:
        return members[0].folder.path / "predict"
    names = [re.sub(r"[^A-Za-z0-9._@-]+", "-", member.name).strip("-") for member in members]
    name = "+".join(names)
    short = name if len(name) <= 120 else f"{name[:100]}-{key(name):016x}"
    return Path(runs_dir).absolute() / "ensembles" / short


def _some(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

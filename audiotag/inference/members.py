"""Who is asked: the members of an ensemble, each one round of a run, and what they must have in common.

A single run in one round is an ensemble of one. Shapes: M members, N clips, C classes.
"""

from __future__ import annotations

import functools
import re
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audiotag.config import PredictConfig
from audiotag.console import as_called
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

    Raises RunError if a run, round or fold is not there, a member is named twice, or the runs' class lists differ.
    """
    chosen: list[tuple[RunFolder, str, tuple[int, ...]]] = []
    for name in map(str, _listed(config.run)):
        run, own_round = _parted(name, config.runs_dir)
        folder = find_run(run, config.runs_dir)
        folds = tuple(choose_folds(folder, config.fold))
        chosen += [(folder, str(asked), folds) for asked in own_round or _listed(config.round)]
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


def _listed(value: Any) -> list[Any]:
    return value if isinstance(value, list) else [value]


def choose_folds(folder: RunFolder, fold: int | None) -> list[int]:
    """Return the folds to ask, all of the run's or the given one; raises RunError if it has no such fold."""
    n_folds = folder.config.folds
    if fold is not None and not 0 <= fold < n_folds:
        raise RunError(f"fold={fold}: {folder.path} has the folds 0 to {n_folds - 1}")
    return list(range(n_folds)) if fold is None else [fold]


def choose_round(folder: RunFolder, wanted: str, folds: Sequence[int]) -> int:
    """Return the number of the round called `wanted`: best (of `summary.json`), last, or a number.

    Raises RunError if the networks of `folds` are not all there.
    """
    rounds = range(folder.config.finetune_rounds + 1)
    complete = [r for r in rounds if all(folder.status(Cell(r, fold)) is not None for fold in folds)]
    if not complete:
        raise RunError(
            f"{folder.path}: no round is complete yet; "
            + as_called("run train.py again with the same settings, and it continues")
        )
    there = f"complete are: {', '.join(map(str, complete))}"
    if wanted == "last":
        return complete[-1]
    if wanted != "best":
        if int(wanted) not in complete:
            raise RunError(f"round={wanted}: {folder.path} has no such round, or not all its folds; {there}")
        return int(wanted)
    best = (folder.summary or {}).get("best_round")
    if best is None:
        raise RunError(
            f"{folder.path} has no best round yet "
            + as_called("(summary.json is written when train.py ends): let it finish, or set ")
            + f"round=last or a number; {there}"
        )
    return int(best)


def _parted(name: str, runs_dir: str) -> tuple[str, list[str]]:
    """Return a run and its own round, none if NAME has no @ROUND, or is a run folder as it stands."""
    found = NAMED_ROUND.fullmatch(name)
    if found is None or find_run(name, runs_dir).config_file.is_file():
        return name, []
    return found["run"], [found["round"]]


def _check_classes(members: Sequence[Member]) -> None:
    first, problems = members[0], []
    for other in members[1:]:
        if first.folder.classes != other.folder.classes:
            differences = [
                f"only {name} knows {_some(only)}"
                for name, only in _only_in(first.name, first.folder.classes, other.name, other.folder.classes)
            ]
            problems.append("; ".join(differences) or f"{first.name} and {other.name} have them in another order")
    if problems:
        raise RunError(f"Runs with different class lists make no ensemble: {'; '.join(dict.fromkeys(problems))}")


def _only_in(name: str, own: Sequence[str], other_name: str, others: Sequence[str]) -> Iterator[tuple[str, list[str]]]:
    """Yield each name with what it alone holds, if there is anything."""
    for one, only in ((name, set(own) - set(others)), (other_name, set(others) - set(own))):
        if only:
            yield one, sorted(only)


def held_out_folds(members: Sequence[Member], split: str, usage: str | None) -> list[pd.Series]:
    """Return, for each member, the fold (-1: all of its folds) to ask about each clip of the split, by clip id.

    In test each clip is asked of all folds, in valid only of the one that held it out, which each run's own manifest
    tells. Raises DataError if the members' data sets differ in the split's clips, their labels or their audio.
    """
    clips = [split_clips(m.folder, split, usage, m.folds).set_index("clip_id") for m in members]
    first, problems = clips[0], []
    for member, others in zip(members[1:], clips[1:], strict=True):
        problems += _differences(members[0].name, first, member.name, others)
    if problems:
        advice = "Members must be trained on the same data set, with the same rows left out" + (
            "; with split=valid and fold=, with the same folds (the same seed)." if split == "valid" else "."
        )
        raise DataError(f"The runs do not have the same clips to score in split={split}:", problems, advice)
    if split != "valid":
        return [pd.Series(-1, index=first.index) for _ in members]
    return [others.loc[first.index, "fold"].astype(int) for others in clips]


def _differences(name: str, clips: pd.DataFrame, other_name: str, others: pd.DataFrame) -> list[str]:
    only_in = _only_in(name, list(clips.index), other_name, list(others.index))
    found = [f"{len(only)} clips are in {one} only: {_some(only)}" for one, only in only_in]
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
    """Read what each member's networks say to the verified clips that they held out, as training stored it.

    Raises RunError if a run held nothing out, or the members have no such clips in common.
    """
    setting, advice = "ensemble.weights=learned", "set ensemble.weights=equal"
    for member in members:
        if member.folder.config.data.train_on_all:
            raise RunError(
                f"{setting}: {member.name} was trained with data.train_on_all=true, so no clip was held out to learn "
                f"from; {advice}"
            )
    votes = [member.folder.votes(member.round).values() for member in members]
    tables = [pd.concat([vote.verified for vote in folds]).set_index("clip_id") for folds in votes]
    common = functools.reduce(pd.Index.intersection, [table.index for table in tables])
    if common.empty:
        raise RunError(
            f"{setting}: {', '.join(member.name for member in members)} have no verified clips in common to learn "
            f"from: they were trained on other data; {advice}"
        )
    train = members[0].folder.train.loc[common]
    labels = pd.DataFrame({m: member.folder.train["label"].reindex(common) for m, member in enumerate(members)})
    differ = common[labels.nunique(axis=1, dropna=False) > 1]
    if len(differ):
        raise RunError(
            f"{setting}: {len(differ)} verified clips have other labels in one run than in another: "
            f"{_some(list(differ))}; train on the same labels, or {advice}"
        )
    classes = members[0].folder.classes
    return HeldOutVotes(
        np.stack([table.loc[common, classes].to_numpy(np.float64) for table in tables]),
        pd.Index(classes).get_indexer(pd.Index(train["label"])),
        train["fold"].to_numpy(),
    )


def default_folder(members: Sequence[Member], runs_dir: str) -> Path:
    """Return where predictions are kept: below the run or, of several runs, below `runs/ensembles/`."""
    if len({member.folder.path for member in members}) == 1:
        return members[0].folder.path / "predict"
    name = "+".join(re.sub(r"[^A-Za-z0-9._@-]+", "-", member.name).strip("-") for member in members)
    short = name if len(name) <= 120 else f"{name[:100]}-{key(name):016x}"
    return Path(runs_dir).absolute() / "ensembles" / short


def _some(names: Sequence[str]) -> str:
    more = f", ... ({len(names)} in all)" if len(names) > SHOWN else ""
    return ", ".join(names[:SHOWN]) + more

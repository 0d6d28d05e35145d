"""Folds, stratified over verified and over unverified clips each by itself (paper section 4.1)."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from audiotag.config import TrainConfig
from audiotag.data.clips import ClipTable
from audiotag.data.tables import collect_problems
from audiotag.errors import DataError
from audiotag.randomness import generator, key


def plan_folds(clips: ClipTable, classes: list[str], config: TrainConfig) -> pd.DataFrame:
    """Return the usable rows with their fold, "" for test clips; raises DataError if folds cannot be made."""
    frame = clips.usable
    train = frame[frame["split"] == "train"]
    problems = [
        f"none of the {n} {split} clips can be used" + _for_example(clips, str(split))
        for split, n in clips.frame[clips.frame["label"] != ""]["split"].value_counts().items()
        if split in ("train", "test") and not (frame["split"] == split).any()
    ]
    if train.empty and not problems:
        problems = ["there are no training clips"]
    if "clip_id" in classes:
        problems.append("class clip_id: tables of posteriors have a column of that name already")
    if len(classes) < 2:
        problems.append(f"there is nothing to tell apart: {len(classes)} classes ({', '.join(classes)})")
    if config.finetune_rounds > 0 and not train.empty and train["verified"].all():
        problems.append(
            "there is nothing to verify: every training label is verified (set finetune_rounds=0 to only train)"
        )
    fold = None
    if not train.empty:
        fold = collect_problems(problems, lambda: assign_folds(train, config.folds, config.seed, classes))
    if problems or fold is None:
        raise DataError("Folds cannot be made:", problems)
    return frame.assign(fold=fold.astype(str).reindex(frame.index).fillna(""))


def _for_example(clips: ClipTable, split: str) -> str:
    """Return what is wrong with the first row of a split, "" where nothing is known of any."""
    of_split = clips.frame.index[clips.frame["split"] == split]
    first = min(clips.faults.keys() & set(of_split), default=None)
    return "" if first is None else f"; the first: {clips.frame['path'][first]}: {'; '.join(clips.faults[first])}"


def assign_folds(clips: pd.DataFrame, folds: int, seed: int, classes: list[str] | None = None) -> pd.Series:
    """Return the fold, 0 to folds - 1, of every training clip (columns clip_id, label, verified, group).

    Without groups, the number of clips of a class in a fold is the class's share rounded up or down: among the verified
    clips, among the unverified ones, and in all. With groups, none is in two folds and classes are as even as that
    allows. The order of the rows does not matter. Raises DataError if groups, or a class's verified clips or groups,
    are too few; `classes` names those that must be there.
    """
    check_classes(clips, folds, classes or [])
    ordered = clips.sort_values("clip_id")
    grouped = (ordered["group"] != "").any()
    assigned = _by_groups(ordered, folds, seed) if grouped else _dealt(ordered, folds, seed)
    return assigned.reindex(clips.index)


def check_classes(clips: pd.DataFrame, folds: int, classes: list[str]) -> None:
    """Raise DataError with every class, of those there and those named, that has fewer verified clips than folds."""
    verified = clips[clips["verified"]]["label"].value_counts()
    # The line of a class's first clip: a class of few clips is often a misspelt label.
    where = clips.drop_duplicates("label").set_index("label")["where"].to_dict() if "where" in clips else {}
    problems = []
    for label in sorted({*clips["label"], *classes}):
        n = int(verified.get(label, 0))
        if n < folds:
            place = f"{where[label]}: " if label in where else ""
            problems.append(f"{place}class {label}: {n} verified clips, {folds} folds")
    if problems:
        raise DataError(
            "Classes with fewer verified clips than folds:",
            problems,
            "Check more labels of these classes by hand, leave them out, or set folds= lower.",
        )


def _dealt(clips: pd.DataFrame, folds: int, seed: int) -> pd.Series:
    """Deal each class's shuffled clips evenly; the left-over ones go to the folds that have least so far."""
    rng = generator(seed, "folds")
    totals = {True: np.zeros(folds), False: np.zeros(folds)}
    assigned = pd.Series(-1, index=clips.index)
    for _, of_class in clips.groupby("label", sort=True):
        extras = np.zeros(folds)  # clips above the even share that a fold has of this class
        for verified in (True, False):
            index = of_class.index[of_class["verified"] == verified].to_numpy()
            even, left = divmod(len(index), folds)
            order = np.lexsort((rng.random(folds), totals[verified], extras))
            counts = np.full(folds, even)
            counts[order[:left]] += 1
            extras[order[:left]] += 1
            totals[verified] += counts
            assigned[index[rng.permutation(len(index))]] = np.repeat(np.arange(folds), counts)
    return assigned


def _by_groups(clips: pd.DataFrame, folds: int, seed: int) -> pd.Series:
    from sklearn.model_selection import StratifiedGroupKFold  # here: it is slow to import and seldom needed

    # A clip without a group is a group of its own.
    groups = clips["group"].where(clips["group"] != "", "\x00" + clips["clip_id"])
    if groups.nunique() < folds:
        raise DataError("There are fewer groups than folds:", [f"{groups.nunique()} groups, {folds} folds"])
    spread = groups.groupby(clips["label"]).nunique()
    if (spread < 2).any():
        alone = [f"class {label}: all its clips are of one group" for label in spread.index[spread < 2]]
        raise DataError("Classes that the fold which holds them out would never hear:", alone, "Group finer.")
    stratum = clips["label"] + "\x00" + clips["verified"].astype(int).astype(str)
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=key(seed, "folds") % 2**32)
    assigned = pd.Series(-1, index=clips.index)
    with warnings.catch_warnings():  # a stratum of few clips cannot be in every fold, and need not be
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, held_out) in enumerate(splitter.split(clips, stratum, groups)):
            assigned.iloc[held_out] = fold
    empty = sorted(set(range(folds)) - set(assigned))
    unchecked = [fold for fold in range(folds) if not (clips["verified"] & (assigned == fold)).any()]
    if empty or unchecked:
        problems = [f"fold {fold} has no verified clip to validate on" for fold in sorted({*empty, *unchecked})]
        raise DataError("The groups cannot be spread over the folds:", problems, "Set folds= lower, or group finer.")
    return assigned


def worst_deviation(clips: pd.DataFrame, folds: int) -> float:
    """Return the most clips by which a fold's part of a class differs from an even share (columns label, fold).

    Stratified means that this is less than 1.
    """
    counts = clips.groupby(["label", "fold"]).size().unstack(fill_value=0).reindex(columns=range(folds), fill_value=0)
    return float(counts.sub(counts.mean(axis=1), axis=0).abs().to_numpy().max()) if len(counts) else 0.0

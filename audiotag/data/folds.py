"""Folds, stratified over verified and over unverified clips each by itself (paper section 4.1)."""

from __future__ import annotations

import warnings

import numpy as np
import pandas as pd

from audiotag.errors import DataError
from audiotag.randomness import generator, key


def assign_folds(clips: pd.DataFrame, folds: int, seed: int, classes: list[str] | None = None) -> pd.Series:
    """Return the fold, 0 to folds - 1, of every training clip (columns clip_id, label, verified, group).

    Without groups, the number of clips of a class in a fold is the class's share rounded up or down: among the verified
    clips, among the unverified ones, and in all. With groups, none is in two folds and classes are as even as that
    allows. The order of the rows does not matter. Raises DataError where groups, or a class's verified clips or groups,
    are too few; `classes` names those that must be there.
    """
    check_classes(clips, folds, classes or [])
    ordered = clips.sort_values("clip_id")
    grouped = (ordered["group"] != "").any()
    assigned = _by_groups(ordered, folds, seed) if grouped else _dealt(ordered, folds, seed)
    return assigned.reindex(clips.index)


def check_classes(clips: pd.DataFrame, folds: int, classes: list[str]) -> None:
    """Raise DataError with every class, of those there and those named, that has fewer verified clips than folds."""
    verified = clips[clips["verified"] == "1"]["label"].value_counts()
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
    totals = {"1": np.zeros(folds), "0": np.zeros(folds)}
    assigned = pd.Series(-1, index=clips.index)
    for _, of_class in clips.groupby("label", sort=True):
        extras = np.zeros(folds)  # clips above the even share that a fold has of this class
        for verified in ("1", "0"):
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
    stratum = clips["label"] + "\x00" + clips["verified"]
    splitter = StratifiedGroupKFold(folds, shuffle=True, random_state=key(seed, "folds") % 2**32)
    assigned = pd.Series(-1, index=clips.index)
    with warnings.catch_warnings():  # a stratum of few clips cannot be in every fold, and need not be
        warnings.filterwarnings("ignore", "The least populated class", UserWarning)
        for fold, (_, held_out) in enumerate(splitter.split(clips, stratum, groups)):
            assigned.iloc[held_out] = fold
    empty = sorted(set(range(folds)) - set(assigned))
    verified = clips["verified"] == "1"
    unchecked = [fold for fold in range(folds) if not (verified & (assigned == fold)).any()]
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

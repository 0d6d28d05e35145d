"""How much the original validates and votes on what it has trained on: `python -m benchmarks.original_folds TRAIN_CSV`.

It draws its four folds anew in every fine-tuning iteration, over the flags that its self-verification has set by then,
validates in these, and votes in those of the official flags. Which labels are accepted is simulated: of each class at
most 40, of the seven in ten that a network agrees with; in every iteration the same ones, or, the other extreme, any.
"""

from __future__ import annotations

import sys

import numpy as np
import pandas as pd

FOLDS, CAP, AGREED, ITERATIONS = 4, 40, 0.7, 7


def folds_of(labels: np.ndarray, verified: np.ndarray) -> np.ndarray:
    """Return folds as scikit-learn's StratifiedKFold made them in 2018: per class, blocks in the order of the table."""
    fold = np.empty(len(labels), dtype=int)
    for of_class in [(labels == label) & (verified == flag) for label in np.unique(labels) for flag in (True, False)]:
        for i, block in enumerate(np.array_split(np.flatnonzero(of_class), FOLDS)):
            fold[block] = i
    return fold


def accepted(labels: np.ndarray, unverified: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return which labels an iteration accepts."""
    score = np.where(unverified & (rng.random(len(labels)) < AGREED), rng.random(len(labels)), 0)
    return (score > 0) & (pd.Series(-score).groupby(labels).rank().to_numpy() <= CAP)


def leaks(table: pd.DataFrame, same: bool, seed: int) -> list[tuple[float, float]]:
    """Return per iteration the share of the validated, and of the voted clips that their network was trained on."""
    table = table.iloc[np.random.RandomState(4711).permutation(len(table))]  # the original's order
    labels, checked = table["label"].to_numpy(), table["manually_verified"].to_numpy() == 1
    clips, voting = np.arange(len(table)), folds_of(labels, checked)
    trained = np.array([voting != fold for fold in range(FOLDS)])  # iteration 0: on all labels
    found = []
    for iteration in range(ITERATIONS):
        flags = checked | accepted(labels, ~checked, np.random.default_rng((seed, 0 if same else iteration)))
        fold = folds_of(labels, flags)
        validated = trained[fold, clips][checked].mean()
        trained |= np.array([(fold != i) & flags for i in range(FOLDS)])
        found.append((validated, trained[voting, clips][~checked].mean()))
    return found


if __name__ == "__main__":
    clips_of_challenge = pd.read_csv(sys.argv[1])
    for name, same in (("the same labels in every iteration", True), ("labels drawn anew in every iteration", False)):
        shares = np.mean([leaks(clips_of_challenge, same, seed) for seed in range(10)], axis=0)
        print(f"{name}: iteration, trained on of the clips validated on, of the clips voted on")
        for i, (validated, voted) in enumerate(shares, start=1):
            print(f"  {i}  {validated:6.1%}  {voted:6.1%}")

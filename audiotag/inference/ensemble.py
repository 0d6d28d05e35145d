"""An ensemble: what its members say, what that makes together, and how far they agree.

Shapes: M members, N recordings, C classes.
"""

from __future__ import annotations

import functools
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray
from rich.text import Text

from audiotag.config import Ensemble
from audiotag.console import console, print_columns
from audiotag.evaluation.metrics import Scores
from audiotag.evaluation.scores import figures
from audiotag.files import write_csv
from audiotag.inference.fusion import Fusion, agreement, average, cross_fitted_losses, learn
from audiotag.inference.members import Member, held_out_votes


@dataclass(frozen=True)
class Ensembled:
    """What the members say, posteriors (M, N, C), and how that becomes one; `fusion` is None for equal weights."""

    members: Sequence[Member]
    by_member: NDArray[np.float64]
    fusion: Fusion | None
    settings: Ensemble

    @functools.cached_property
    def posteriors(self) -> NDArray[np.float64]:
        """Posteriors (N, C) of all members together."""
        if self.fusion is not None:
            return self.fusion.fuse(self.by_member)
        return self.by_member[0] if len(self.members) == 1 else average(self.by_member, self.settings.mean)

    @functools.cached_property
    def agreement(self) -> NDArray[np.float64]:
        """Share (M, M) of recordings to which two members give the same top label."""
        return agreement(self.by_member)


def choose_fusion(members: Sequence[Member], settings: Ensemble) -> Fusion | None:
    """Return learned weights and biases, None where the weights are equal; prints what they bring on held-out clips.

    They are learned from what training stored: the members' consensus on verified clips that each of them held out.
    Raises RunError where there are none.
    """
    if settings.weights == "equal":
        return None
    votes = held_out_votes(members)
    fusion = learn(votes.posteriors, votes.targets, settings.l2)
    equal, learned = cross_fitted_losses(votes.posteriors, votes.targets, votes.folds, settings.l2)
    console.print(
        f"Weights learned from {len(votes.targets)} verified clips that every member held out; mean negative "
        f"log-likelihood there, each fold's by weights learned from the others: {learned:.4f} (equal: {equal:.4f})",
        soft_wrap=True,
    )
    if learned >= equal:
        console.print(
            Text("no gain:", "yellow"), "on clips they were not learned from, equal weights are as likely or likelier"
        )
    return fusion


def write_ensemble(folder: Path, together: Ensembled) -> None:
    """Write and print `agreement.csv`, of several members, and `weights.csv`, where weights were learned."""
    names = [member.name for member in together.members]
    if len(names) > 1:
        table = pd.DataFrame(together.agreement, columns=names)
        table.insert(0, "member", names)
        write_csv(folder / "agreement.csv", table)
        _print_agreement(names, together.agreement)
    if together.fusion is not None:
        write_csv(folder / "weights.csv", weights_table(together.fusion, names, together.members[0].folder.classes))
        shown = ", ".join(f"{n} {w:.3f}" for n, w in zip(names, together.fusion.weights, strict=True))
        biases = together.fusion.biases
        console.print(f"Weights: {shown}; biases of the classes: {biases.min():.3f} to {biases.max():.3f}")


def weights_table(fusion: Fusion, names: Sequence[str], classes: Sequence[str]) -> pd.DataFrame:
    """Return the rows of `weights.csv`: parameter (weight or bias), name (a member or a class), value."""
    weights = [("weight", name, value) for name, value in zip(names, fusion.weights, strict=True)]
    biases = [("bias", label, value) for label, value in zip(classes, fusion.biases, strict=True)]
    return pd.DataFrame([*weights, *biases], columns=["parameter", "name", "value"])


def _print_agreement(names: Sequence[str], shares: NDArray[np.float64]) -> None:
    numbers = [str(i + 1) for i in range(len(names))]
    cells = {"": numbers, "Same top label as": list(names)}
    cells |= {number: [f"{share:.3f}" for share in column] for number, column in zip(numbers, shares.T, strict=True)}
    print_columns(cells, left=("Same top label as",))


def print_members(together: Ensembled, by_member: Sequence[Scores], scores: Scores) -> None:
    """Print accuracy and MAP@3 of each member, and of all together."""
    together_too = [*by_member, scores]
    cells = {
        "": [*(str(i + 1) for i in range(len(by_member))), ""],
        "Member": [*(member.name for member in together.members), f"together ({_how(together.settings)})"],
        "Accuracy": [f"{100 * own.accuracy:.3f} %" for own in together_too],
        "MAP@3": [f"{own.map3:.4f}" for own in together_too],
    }
    print_columns(cells, left=("Member",))


def _how(settings: Ensemble) -> str:
    return "learned weights" if settings.weights == "learned" else f"{settings.mean} mean"


def ensemble_fields(together: Ensembled, by_member: Sequence[Scores]) -> dict[str, Any]:
    """Return what `scores.json` says of an ensemble: how it averages, and each member's run, round and scores."""
    fusion = together.fusion
    weights = np.full(len(together.members), 1 / len(together.members)) if fusion is None else fusion.weights
    return {
        "ensemble": {"mean": together.settings.mean, "weights": together.settings.weights},
        "members": [
            {"run": member.folder.path.name, "round": member.round, "weight": round(float(weight), 6), **figures(own)}
            for member, weight, own in zip(together.members, weights, by_member, strict=True)
        ],
        "agreement": together.agreement.round(6).tolist(),
    }

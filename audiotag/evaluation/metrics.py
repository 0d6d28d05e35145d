"""How good predictions are: accuracy, MAP@3, lwlrap, and precision, recall and F1 per class.

Everything is computed from ranked labels, most probable first, so that the networks' posteriors and anybody's
submission file are scored by the same code. Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audiotag.errors import AudiotagError

MAP_DEPTH = 3  # the challenge's (Fonseca et al. 2018, "Task setup"): three labels per clip count
PER_CLASS = ["label", "count", "accuracy", "precision", "recall", "f1"]
RATES = PER_CLASS[2:]


@dataclass(frozen=True)
class Scores:
    """Scores of N clips, all shares from 0 to 1.

    `per_class` has the columns `PER_CLASS` and a row per class, in the order of the class list. A class's accuracy is
    the share of its clips that were recognised, which is its recall, as in the writeup's table. What is undefined is 0:
    recall of a class without clips, precision of a class never predicted. `macro` is the mean of each rate over the
    classes that have clips. `lwlrap` is None where not every class was ranked, as in a submission file.
    """

    clips: int
    accuracy: float
    map3: float
    lwlrap: float | None
    per_class: pd.DataFrame

    @property
    def macro(self) -> dict[str, float]:
        """Mean accuracy, precision, recall and F1 over the classes that have clips."""
        present = self.per_class[self.per_class["count"] > 0]
        return {name: float(present[name].mean()) for name in RATES}


def ranking(posteriors: NDArray[np.floating], top: int) -> NDArray[np.intp]:
    """Return the indices (N, top) of the most probable of posteriors (N, C); of equals the first class comes first."""
    return np.argsort(-posteriors, axis=1, kind="stable")[:, :top]


def ranked_labels(
    posteriors: NDArray[np.floating], classes: Sequence[str], depth: int | None = None
) -> list[list[str]]:
    """Return each clip's labels, best first, of posteriors (N, C), columns as `classes`: `depth` of them, None: all.

    Raises AudiotagError if the posteriors do not fit the classes or are not finite.
    """
    if posteriors.ndim != 2 or posteriors.shape[1] != len(classes):
        raise AudiotagError(f"posteriors of shape {posteriors.shape} do not fit {len(classes)} classes")
    if not np.isfinite(posteriors).all():
        raise AudiotagError("posteriors that are not finite cannot be ranked")
    top = len(classes) if depth is None else depth
    ranked: list[list[str]] = np.array(classes, dtype=object)[ranking(posteriors, top)].tolist()
    return ranked


def score_posteriors(posteriors: NDArray[np.floating], labels: Sequence[str], classes: Sequence[str]) -> Scores:
    """Score posteriors (N, C), columns in the order of `classes`, against N labels; raises as `score_ranked` does."""
    return score_ranked(ranked_labels(posteriors, classes), labels, classes)


def score_ranked(ranked: Sequence[Sequence[str]], labels: Sequence[str], classes: Sequence[str]) -> Scores:
    """Score each clip's labels, best first, against its right one.

    Lists may be of any length, also empty, and hold labels that are no classes: those are wrong. Raises AudiotagError
    if there is no clip, the numbers of clips differ, or a right label is not in the class list.
    """
    if len(ranked) != len(labels) or not len(labels):
        raise AudiotagError(f"{len(ranked)} predictions cannot be scored against {len(labels)} labels")
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise AudiotagError(f"these right labels are not in the class list: {', '.join(unknown)}")
    # Here: it takes a second, and a wrong name should be reported before.
    from sklearn.metrics import precision_recall_fscore_support

    first = first_labels(ranked)
    precision, recall, f1, count = precision_recall_fscore_support(
        list(labels), first, labels=list(classes), average=None, zero_division=0.0
    )
    columns = (list(classes), count.astype(int), recall, precision, recall, f1)
    per_class = pd.DataFrame(dict(zip(PER_CLASS, columns, strict=True)))
    accuracy, map3 = float(hits(ranked, labels)[:, 0].mean()), mean_average_precision(ranked, labels)
    return Scores(len(labels), accuracy, map3, label_ranking_precision(ranked, labels, classes), per_class)


def first_labels(ranked: Sequence[Sequence[str]]) -> list[str]:
    """Return the label that each clip is taken for, empty where none is given."""
    return [names[0] if len(names) else "" for names in ranked]


def mean_average_precision(ranked: Sequence[Sequence[str]], labels: Sequence[str], depth: int = MAP_DEPTH) -> float:
    """Return MAP@depth of each clip's labels, best first, against the right ones."""
    return float(reciprocal_ranks(hits(ranked, labels, depth)).mean())


def label_ranking_precision(
    ranked: Sequence[Sequence[str]], labels: Sequence[str], classes: Sequence[str]
) -> float | None:
    """Return lwlrap, the label-weighted label-ranking average precision (Fonseca et al. 2019, FSDKaggle2019).

    With one right label per clip it is the mean of 1 / rank of the right label, however deep it lies. None unless each
    clip ranks every class once.
    """
    every = set(classes)
    if any(len(names) != len(every) or set(names) != every for names in ranked):
        return None
    return float(np.mean([1 / (1 + names.index(label)) for names, label in zip(ranked, labels, strict=True)]))


def hits(ranked: Sequence[Sequence[str]], labels: Sequence[str], depth: int = MAP_DEPTH) -> NDArray[np.bool_]:
    """Return which of the first labels of each clip are right (N, depth)."""
    first = [[*names[:depth], *[None] * depth][:depth] for names in ranked]
    return np.array(first, dtype=object).reshape(-1, depth) == np.array(labels, dtype=object)[:, None]


def reciprocal_ranks(hits: Any) -> Any:
    """Return each clip's part (N,) of MAP@K: 1 / rank of the first of its K labels, best first, that is right, else 0.

    `hits` (N, K) say which are right, in an array or in a tensor on any device. With one right label per clip this is
    the challenge's measure, as the original's evaluation and the reference code of Kaggle's metric (Hamner, ml_metrics,
    `apk`) compute it: a label given again scores nothing, yet takes its rank.
    """
    first = hits & (hits.cumsum(1) == 1)
    return sum((first[:, k] / (k + 1) for k in range(1, first.shape[1])), first[:, 0] / 1)

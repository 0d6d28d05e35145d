"""How good predictions are: accuracy, MAP@3, and precision, recall and F1 per class.

Everything is computed from ranked labels, most probable first, so that the networks' posteriors and anybody's
submission file are scored by the same code. Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

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
    classes that have clips.
    """

    clips: int
    accuracy: float
    map3: float
    per_class: pd.DataFrame

    @property
    def macro(self) -> dict[str, float]:
        """Mean accuracy, precision, recall and F1 over the classes that have clips."""
        present = self.per_class[self.per_class["count"] > 0]
        return {name: float(present[name].mean()) for name in RATES}


def ranking(posteriors: NDArray[np.floating], top: int) -> NDArray[np.intp]:
    """Return the indices (N, top) of the most probable of posteriors (N, C); of equals the first class comes first."""
    return np.argsort(-posteriors, axis=1, kind="stable")[:, :top]


def ranked_labels(posteriors: NDArray[np.floating], classes: Sequence[str]) -> list[list[str]]:
    """Return each clip's labels that MAP@3 looks at, best first, of posteriors (N, C), columns as `classes`.

    Raises AudiotagError where the posteriors do not fit the classes or are not finite.
    """
    if posteriors.ndim != 2 or posteriors.shape[1] != len(classes):
        raise AudiotagError(f"posteriors of shape {posteriors.shape} do not fit {len(classes)} classes")
    if not np.isfinite(posteriors).all():
        raise AudiotagError("posteriors that are not finite cannot be ranked")
    ranked: list[list[str]] = np.array(classes, dtype=object)[ranking(posteriors, MAP_DEPTH)].tolist()
    return ranked


def score_posteriors(posteriors: NDArray[np.floating], labels: Sequence[str], classes: Sequence[str]) -> Scores:
    """Score posteriors (N, C), columns in the order of `classes`, against N labels; raises as `score_ranked` does."""
    return score_ranked(ranked_labels(posteriors, classes), labels, classes)


def score_ranked(ranked: Sequence[Sequence[str]], labels: Sequence[str], classes: Sequence[str]) -> Scores:
    """Score each clip's labels, best first, against its right one.

    Lists may be of any length, also empty, and hold labels that are no classes: those are wrong. Raises AudiotagError
    where there is no clip, the numbers of clips differ, or a right label is none of the classes.
    """
    if len(ranked) != len(labels) or not len(labels):
        raise AudiotagError(f"{len(ranked)} predictions cannot be scored against {len(labels)} labels")
    unknown = sorted(set(labels) - set(classes))
    if unknown:
        raise AudiotagError(f"these right labels are none of the classes: {', '.join(unknown)}")
    # Here: it takes a second, in which nobody would hear of a wrong name.
    from sklearn.metrics import precision_recall_fscore_support

    first = first_labels(ranked)
    precision, recall, f1, count = precision_recall_fscore_support(
        list(labels), first, labels=list(classes), average=None, zero_division=0.0
    )
    columns = (list(classes), count.astype(int), recall, precision, recall, f1)
    per_class = pd.DataFrame(dict(zip(PER_CLASS, columns, strict=True)))
    return Scores(len(labels), float(np.mean(hits(ranked, labels))), mean_average_precision(ranked, labels), per_class)


def first_labels(ranked: Sequence[Sequence[str]]) -> list[str]:
    """Return the label that each clip is taken for, empty where none is given."""
    return [names[0] if len(names) else "" for names in ranked]


def hits(ranked: Sequence[Sequence[str]], labels: Sequence[str]) -> NDArray[np.float64]:
    """Return each clip's part (N,) of the accuracy: 1 where its first label is right, else 0."""
    return np.array([guess == label for guess, label in zip(first_labels(ranked), labels, strict=True)], np.float64)


def mean_average_precision(ranked: Sequence[Sequence[str]], labels: Sequence[str], depth: int = MAP_DEPTH) -> float:
    """Return MAP@depth: 1/rank of the right label where it first stands among its clip's first `depth`, else 0.

    With one right label per clip this is the challenge's measure, as the original's evaluation and the reference code
    of Kaggle's metric (Hamner, ml_metrics, `apk`) compute it: a label given again scores nothing, yet takes its rank.
    """
    return float(np.mean(reciprocal_ranks(ranked, labels, depth)))


def reciprocal_ranks(
    ranked: Sequence[Sequence[str]], labels: Sequence[str], depth: int = MAP_DEPTH
) -> NDArray[np.float64]:
    """Return each clip's part (N,) of MAP@depth."""
    return np.array([_reciprocal_rank(names[:depth], label) for names, label in zip(ranked, labels, strict=True)])


def _reciprocal_rank(names: Sequence[str], label: str) -> float:
    return 1 / (1 + list(names).index(label)) if label in names else 0.0

"""The numbers behind a report's figures, as tables of their own: what is drawn is what stands in them.

Shapes: N clips, C classes.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from numpy.typing import NDArray

from audiotag.verification.ledger import short_reasons, was_label
from audiotag.verification.noise_model import Evidence, estimate_noise
from audiotag.verification.promise import Bounds
from audiotag.verification.rules import ACCEPTED, BELOW, DIFFERS, FULL, ISSUE, RELABELLED

REASONS = (ACCEPTED, RELABELLED, FULL, BELOW, ISSUE, DIFFERS)
CURVES = ("train_loss", "valid_loss", "valid_accuracy")
CONSENSUS_BINS = 20  # of 0.05, so that the paper's threshold of 0.95 lies on a border
RELIABILITY_BINS = 10


def epoch_means(metrics: pd.DataFrame) -> pd.DataFrame:
    """Return mean and deviation over folds of `CURVES`, a row per round and epoch.

    `metrics` has a row per `round`, `fold` and `epoch`. `passed` counts the epochs since round 0 began; `folds` says
    over how many a mean is taken, since a fold may need fewer epochs than another for the same number of steps.
    """
    by_epoch = metrics.groupby(["round", "epoch"])[list(CURVES)]
    means = by_epoch.mean().join(by_epoch.std(ddof=0).add_suffix("_std"))
    table = means.join(by_epoch.size().rename("folds")).reset_index()
    lengths = table.groupby("round")["epoch"].max() + 1
    passed = table["epoch"] + 1 + table["round"].map(lengths.cumsum() - lengths)
    columns = [part for name in CURVES for part in (name, f"{name}_std")]
    return table.assign(passed=passed)[["round", "epoch", "passed", "folds", *columns]]


def reasons_per_class(ledger: pd.DataFrame, classes: Sequence[str]) -> pd.DataFrame:
    """Return how many unverified clips of each class each round accepted or refused, and for which of `REASONS`."""
    ledger = ledger.assign(reason=short_reasons(ledger))
    counts = ledger.groupby(["label", "round", "reason"]).size().unstack(fill_value=0)
    rows = pd.MultiIndex.from_product([classes, sorted(ledger["round"].unique())], names=["label", "round"])
    others = [reason for reason in counts.columns if reason not in REASONS]
    counts = counts.reindex(index=rows, columns=[*REASONS, *others], fill_value=0)
    counts.insert(0, "unverified", counts.sum(axis=1))
    return counts.reset_index().rename_axis(columns=None)


def consensus_counts(decided: pd.DataFrame, classes: Sequence[str], bins: int = CONSENSUS_BINS) -> pd.DataFrame:
    """Return a histogram of the posterior of the given label per class and reason, of one round's ledger.

    Columns: `label`, `reason`, `clips`, then a count per bin, named by its lower border; a bin holds its lower border,
    the last one also 1. Pairs without a clip are left out.
    """
    decided = decided.assign(reason=short_reasons(decided))
    edges = np.arange(bins + 1) / bins  # to the bit what is written as 0.3
    rows = []
    for label in classes:
        of_class = decided[decided["label"] == label]
        for reason in [*REASONS, *sorted(set(of_class["reason"]) - set(REASONS))]:
            values = of_class["posterior"][of_class["reason"] == reason]
            if len(values):
                counts = np.histogram(values, edges)[0]
                rows.append([label, reason, len(values), *counts])
    return pd.DataFrame(rows, columns=["label", "reason", "clips", *(f"{edge:.2f}" for edge in edges[:-1])])


def promised_precision(found: Bounds, decided: pd.DataFrame, truth: pd.Series | None) -> pd.DataFrame:
    """Return a row per set of labels, best first, that a rule may choose: its size, and its precision.

    `low` is reached with the confidence of the bounds, `expected` on average; `precision` is the real one, NaN where
    the right labels are not known.
    """
    agreeing = decided[decided["predicted"] == was_label(decided)]
    known = agreeing["clip_id"].map(truth) if truth is not None else pd.Series(np.nan, agreeing.index, dtype=object)
    right = (known == agreeing["label"]).where(known.notna())
    rows = []
    for level, low, expected in zip(found.levels, found.low, found.expected, strict=True):
        inside = agreeing["posterior"] >= level
        rows.append((int(inside.sum()), level, low, expected, right[inside].astype(float).mean()))
    return pd.DataFrame(rows, columns=["labels", "posterior_from", "low", "expected", "precision"])


def noise_per_class(e: Evidence, decided: pd.DataFrame, classes: Sequence[str]) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return the estimated noise: right labels of each class, and how many of which class are called which other."""
    n = np.bincount(e.labels, minlength=len(classes))
    flat = np.ones(len(e.verified_labels)), np.ones(len(e.labels))
    noise = estimate_noise(e, np.zeros(1), np.zeros(1), *flat)
    clips = noise.origin * n[:, None]
    p_right = decided.groupby(was_label(decided))["p_right"].sum().reindex(list(classes), fill_value=0.0)
    share = p_right.to_numpy() / np.maximum(n, 1)
    table = pd.DataFrame({"label": classes, "unverified": n, "right": p_right.to_numpy(), "share": share})
    pairs = [
        (classes[right], classes[given], clips[given, right])
        for given in range(len(classes))
        for right in range(len(classes))
        if given != right
    ]
    confused = pd.DataFrame(pairs, columns=["class", "said_to_be", "clips"])
    return table, confused.sort_values("clips", ascending=False, kind="stable", ignore_index=True)


@dataclass(frozen=True)
class Reliability:
    """How often predictions of a confidence are right.

    `bins` has a row per bin: `above`, `to`, `clips`, mean `confidence` and `accuracy` (NaN in empty bins).
    `error` is the expected calibration error (Guo et al. 2017): the mean over clips of |accuracy - confidence| of their
    bin.
    """

    bins: pd.DataFrame
    error: float


def reliability(
    posteriors: NDArray[np.floating], labels: NDArray[np.integer], bins: int = RELIABILITY_BINS
) -> Reliability:
    """Measure posteriors (N, C) against right classes (N,) in bins of equal width of the highest posterior."""
    confidence = posteriors.max(axis=1)
    right = posteriors.argmax(axis=1) == labels
    which = np.clip(np.ceil(confidence * bins).astype(int) - 1, 0, bins - 1)  # a bin holds its upper border
    clips = np.bincount(which, minlength=bins)
    total = np.where(clips > 0, clips, np.nan)
    edges = np.linspace(0, 1, bins + 1)
    table = pd.DataFrame(
        {
            "above": edges[:-1],
            "to": edges[1:],
            "clips": clips,
            "confidence": np.bincount(which, confidence, bins) / total,
            "accuracy": np.bincount(which, right, bins) / total,
        }
    )
    gaps = (table["accuracy"] - table["confidence"]).abs() * clips
    return Reliability(table, float(gaps.sum() / max(len(labels), 1)))


def confusions(labels: Sequence[str], predicted: Sequence[str]) -> pd.DataFrame:
    """Return how many clips of each label were taken for which other, most first, and their share of the label's."""
    pairs = pd.DataFrame({"label": list(labels), "taken_for": list(predicted)})
    wrong = pairs[pairs["label"] != pairs["taken_for"]]
    counts = wrong.groupby(["label", "taken_for"]).size().rename("count").reset_index()
    of_label = counts["label"].map(pairs["label"].value_counts()).astype(int)  # of none it would be text
    counts["share"] = counts["count"] / of_label
    return counts.sort_values(["count", "label", "taken_for"], ascending=[False, True, True], ignore_index=True)

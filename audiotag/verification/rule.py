"""The rule: which unverified labels are accepted, given the consensus posteriors. Pure functions of arrays.

Shapes: N unverified clips, C classes.
"""

from __future__ import annotations

import numpy as np

ACCEPTED, DIFFERS, BELOW, FULL = "accepted", "label differs", "below threshold", "class is full"
ISSUE = "label issue"  # as cleanlab calls it
TEMPERATURES = (0.05, 20.0)


def decide(
    posteriors: np.ndarray,
    labels: np.ndarray,
    threshold: float | None,
    cap: int | None,
    agreement: bool = True,
    issues: np.ndarray | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return which of N clips are accepted (N,) and the reason for each (N,).

    A label is accepted if the posteriors (N, C) predict it (with `agreement`), its posterior exceeds `threshold`, it is
    none of the `issues` (N,) found by other means, and fewer than `cap` clips of its class have a higher posterior, all
    folds together (paper section 4.2). Of equal posteriors the earlier clip comes first.
    """
    if posteriors.ndim != 2 or len(posteriors) != len(labels):
        raise ValueError(f"posteriors {posteriors.shape} do not belong to labels {labels.shape}")
    if not np.isfinite(posteriors).all():
        raise ValueError("posteriors hold values that are not finite")
    if len(labels) and not (labels.min() >= 0 and labels.max() < posteriors.shape[1]):
        raise ValueError(f"labels must lie in 0 to {posteriors.shape[1] - 1}")
    given = posteriors[np.arange(len(labels)), labels]
    reasons = np.full(len(labels), ACCEPTED, dtype=object)
    if issues is not None:
        reasons[issues] = ISSUE
    if threshold is not None:
        reasons[~(given > threshold)] = BELOW
    if agreement:
        reasons[posteriors.argmax(axis=1) != labels] = DIFFERS
    if cap is not None:
        for label in np.unique(labels):
            candidates = np.flatnonzero((labels == label) & (reasons == ACCEPTED))
            best_first = candidates[np.argsort(-given[candidates], kind="stable")]
            reasons[best_first[cap:]] = FULL
    return reasons == ACCEPTED, reasons


def sharpen(posteriors: np.ndarray, temperature: float) -> np.ndarray:
    """Return posteriors (N, C) raised to 1 / temperature and normalised; 1 leaves them as they are."""
    logits = np.log(np.clip(posteriors.astype(np.float64), 1e-12, None)) / temperature
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def fit_temperature(posteriors: np.ndarray, labels: np.ndarray) -> float:
    """Return the temperature at which posteriors (N, C) explain the verified labels (N,) best (Guo et al. 2017).

    Targets are (N + 1) / (N + 2) for the label and the rest spread over the others, as Platt (1999) does for sigmoids:
    where all N clips are right, likelihood alone would drive the temperature to zero, certain of everything.
    """
    if len(labels) == 0:
        return 1.0
    n, classes = posteriors.shape
    targets = np.full((n, classes), 1 / (n + 2) / (classes - 1))
    targets[np.arange(n), labels] = (n + 1) / (n + 2)

    def cross_entropy(log_temperature: float) -> float:
        likelihood = np.clip(sharpen(posteriors, np.exp(log_temperature)), 1e-300, None)
        return -float((targets * np.log(likelihood)).sum())

    from scipy.optimize import minimize_scalar  # here: half a second of every command's first one, and few need it

    bounds = (np.log(TEMPERATURES[0]), np.log(TEMPERATURES[1]))
    found = minimize_scalar(cross_entropy, bounds=bounds, method="bounded", options={"xatol": 1e-6})
    return float(np.exp(found.x))

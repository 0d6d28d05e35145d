"""Calibration: a temperature for each fold's posteriors, fitted on its verified held-out clips.

Shapes: N clips, C classes.
"""

from __future__ import annotations

import numpy as np

TEMPERATURES = (0.05, 20.0)


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

"""Confident learning (Northcutt et al. 2021, doi:10.1613/jair.1.12125): which labels cleanlab takes for errors.

Shapes: N unverified clips, C classes.
"""

from __future__ import annotations

import importlib.util

import numpy as np

from audiotag.config import Verification
from audiotag.errors import AudiotagError, RunError


def check_installed(verification: Verification) -> None:
    """Raise AudiotagError where the rule needs cleanlab, an extra, and it is not installed."""
    if verification.confident_learning is not None and importlib.util.find_spec("cleanlab") is None:
        raise AudiotagError(
            f"verification.confident_learning={verification.confident_learning}: cleanlab is not installed: "
            "pip install -e '.[cleanlab]'"
        )


def label_issues(posteriors: np.ndarray, labels: np.ndarray, filter_by: str) -> np.ndarray:
    """Return which of N labels (N,) cleanlab flags (N,), given out-of-fold posteriors (N, C); `filter_by` is its own.

    Raises RunError where fewer than two classes are among the labels: it compares classes.
    """
    # Of the unverified clips alone. Verified ones would dilute the noise rates that it estimates, and since it flags so
    # many clips per pair of classes, not clip by clip, it would spend flags on labels that are known to be right.
    from cleanlab.filter import find_label_issues  # here: an extra, and slow to import

    if len(np.unique(labels)) < 2:
        raise RunError(
            "Confident learning compares classes, and all unverified labels are of one: set verification= to a rule "
            "without it, such as as_documented"
        )
    found: np.ndarray = find_label_issues(labels, posteriors, filter_by=filter_by, n_jobs=1)
    return found

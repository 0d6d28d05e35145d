"""Rules: which unverified labels are accepted, given the consensus posteriors. Pure functions of arrays.

Shapes: N unverified clips, C classes.
"""

from __future__ import annotations

import importlib.util
from dataclasses import dataclass
from typing import Annotated, Literal, NamedTuple, Protocol, get_args

import numpy as np
from pydantic import Field

from audiotag.config import Verification
from audiotag.config.leaf import build
from audiotag.console import as_called
from audiotag.errors import AudiotagError, ConfigError, RunError

SETTING = "verification.rule"
ACCEPTED, DIFFERS, BELOW, FULL = "accepted", "label differs", "below threshold", "class is full"
ISSUE = "label issue"  # as cleanlab calls it
RELABELLED = "relabelled"  # the ledger adds what the label was

Share = Annotated[float, Field(ge=0, le=1)]
Cap = Annotated[int, Field(ge=0, le=1_000_000_000)]
WayToFlag = Literal[
    "prune_by_noise_rate",
    "prune_by_class",
    "both",
    "confident_learning",
    "low_normalized_margin",
    "low_self_confidence",
    "predicted_neq_given",
]
WAYS_TO_FLAG: tuple[WayToFlag, ...] = get_args(WayToFlag)


class Decision(NamedTuple):
    """What a rule decides: which labels are `accepted` (N,), and the `reasons` (N,).

    `labels` (N,) are those under which clips are accepted, None: the given ones.
    """

    accepted: np.ndarray
    reasons: np.ndarray
    labels: np.ndarray | None = None


class Rule(Protocol):
    """Decides by posteriors and labels alone, of all folds together, and owns its settings: its arguments.

    A rule must give the same decisions for the same clips, and leave its arguments as they are. Posteriors are finite,
    and labels are indices of classes: that is checked before. `str(rule)` tells a reader what it asks of a label. One
    that has an attribute `uses_verified = True` is given two more arrays, the posteriors (M, C) and labels (M,) of the
    verified clips, each scored by the networks that held it out.
    """

    def decide(self, posteriors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which of the labels (N,) are accepted (N,) by the posteriors (N, C), and the reason for each (N,).

        A `Decision` may be returned, too.
        """


@dataclass(frozen=True)
class AgreementRule:
    """The rule of the paper (section 4.2): the consensus predicts the label, surely enough, and its class has room.

    A label is accepted if the posteriors predict it (with `agreement`), its posterior exceeds `threshold`, and fewer
    than `cap` clips of its class have a higher posterior, all folds together. Of equal posteriors the earlier clip
    comes first. None: that is not asked.
    """

    threshold: Share | None = 0.95
    cap: Cap | None = 40
    agreement: bool = True

    def decide(self, posteriors: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return which labels are accepted, and why or why not."""
        given = posteriors[np.arange(len(labels)), labels]
        reasons = np.full(len(labels), ACCEPTED, dtype=object)
        reasons[self._flagged(posteriors, labels)] = ISSUE
        if self.threshold is not None:
            reasons[~(given > self.threshold)] = BELOW
        if self.agreement:
            reasons[posteriors.argmax(axis=1) != labels] = DIFFERS
        if self.cap is not None:
            for label in np.unique(labels):
                candidates = np.flatnonzero((labels == label) & (reasons == ACCEPTED))
                best_first = candidates[np.argsort(-given[candidates], kind="stable")]
                reasons[best_first[self.cap :]] = FULL
        return reasons == ACCEPTED, reasons

    def _flagged(self, posteriors: np.ndarray, labels: np.ndarray) -> np.ndarray:
        """Return which labels are refused by other means."""
        return np.zeros(len(labels), bool)

    def __str__(self) -> str:
        asked = ["the predicted label must be the given one"] if self.agreement else []
        if self.threshold is not None:
            asked.append(f"the consensus of the given label must exceed {self.threshold:g}")
        if self.cap is not None:
            asked.append(f"of each class the {self.cap} surest are taken")
        return ", ".join(asked) or "every label is accepted"


@dataclass(frozen=True)
class CleanlabRule(AgreementRule):
    """Confident learning (Northcutt et al. 2021, doi:10.1613/jair.1.12125): what cleanlab does not flag is accepted.

    `filter_by` is cleanlab's own. It has thresholds of its own, per class; those of the paper can be asked for beside.
    """

    threshold: Share | None = None
    cap: Cap | None = None
    agreement: bool = False
    filter_by: WayToFlag = "prune_by_noise_rate"

    def __post_init__(self) -> None:
        if importlib.util.find_spec("cleanlab") is None:
            raise AudiotagError(as_called(f"{SETTING}: cleanlab is not installed: pip install -e '.[cleanlab]'"))

    def _flagged(self, posteriors: np.ndarray, labels: np.ndarray) -> np.ndarray:
        # Of the unverified clips alone. Verified ones would dilute the noise rates that it estimates, and since it
        # flags so many clips per pair of classes, not clip by clip, it would spend flags on labels known to be right.
        from cleanlab.filter import find_label_issues  # here: an extra, and slow to import

        if len(np.unique(labels)) < 2:
            raise RunError(
                "Confident learning compares classes, and all unverified labels are of one: set verification= to a "
                "rule without it, such as as_documented"
            )
        found: np.ndarray = find_label_issues(labels, posteriors, filter_by=self.filter_by, n_jobs=1)
        return found

    def __str__(self) -> str:
        others = [super().__str__()] if self.agreement or self.threshold is not None or self.cap is not None else []
        return ", ".join([f"cleanlab ({self.filter_by}) must not flag it", *others])


def rule_of(verification: Verification) -> Rule:
    """Return the rule of these settings.

    Raises ConfigError if the class cannot be imported, its arguments are wrong, or it has no `decide`; AudiotagError if
    it needs a package that is not installed.
    """
    rule: Rule = build(verification.rule, SETTING)
    if not callable(getattr(rule, "decide", None)):
        raise ConfigError("The rule cannot be used:", [f"{SETTING}: {type(rule).__name__} has no method decide"])
    return rule


def in_words(rule: Rule) -> str:
    """Return what a rule asks of a label: what `str()` makes of it, or the name of a class that says nothing itself."""
    silent = type(rule).__str__ is object.__str__ and type(rule).__repr__ is object.__repr__
    return type(rule).__name__ if silent else str(rule)


def decide(
    rule: Rule,
    posteriors: np.ndarray,
    labels: np.ndarray,
    verified_posteriors: np.ndarray | None = None,
    verified_labels: np.ndarray | None = None,
) -> Decision:
    """Return which labels (N,) a rule accepts (N,) by the posteriors (N, C), and the reason for each (N,).

    Raises ValueError for posteriors that are not finite or do not fit the labels, RunError if the rule breaks its
    contract.
    """
    given = [posteriors, labels]
    if verified_posteriors is not None and verified_labels is not None:
        given += [verified_posteriors, verified_labels]
    for scores, codes in zip(given[::2], given[1::2], strict=True):
        _check_scores(scores, codes)
    if not len(labels):
        return Decision(np.zeros(0, bool), np.zeros(0, object))
    if not getattr(rule, "uses_verified", False):
        given = given[:2]
    shown = [array.copy() for array in given]
    found = Decision(*rule.decide(*shown))
    accepted, reasons = np.asarray(found.accepted), np.asarray(found.reasons)
    name, problems = type(rule).__name__, []
    if accepted.dtype != bool or accepted.shape != labels.shape:
        problems.append(f"accepted is {accepted.dtype} of shape {accepted.shape}, not bool of shape {labels.shape}")
    if reasons.shape != labels.shape or not all(isinstance(reason, str) for reason in reasons.flat):
        problems.append(f"reasons of shape {reasons.shape} are not a text for each of {len(labels)} labels")
    if found.labels is not None and not _are_codes(found.labels, labels.shape, posteriors.shape[1]):
        problems.append(f"labels are not an index of a class for each of {len(labels)} clips")
    if not all(np.array_equal(before, after) for before, after in zip(given, shown, strict=True)):
        problems.append("it changes the posteriors or the labels that it is given")
    if problems:
        raise RunError(f"{SETTING}: {name}.decide breaks its contract: {'; '.join(problems)}")
    return Decision(accepted, reasons, found.labels)


def _check_scores(posteriors: np.ndarray, labels: np.ndarray) -> None:
    if posteriors.ndim != 2 or len(posteriors) != len(labels):
        raise ValueError(f"posteriors {posteriors.shape} do not belong to labels {labels.shape}")
    if not np.isfinite(posteriors).all():
        raise ValueError("posteriors hold values that are not finite")
    if len(labels) and not _are_codes(labels, labels.shape, posteriors.shape[1]):
        raise ValueError(f"labels must lie in 0 to {posteriors.shape[1] - 1}")


def _are_codes(labels: np.ndarray, shape: tuple[int, ...], classes: int) -> bool:
    labels = np.asarray(labels)
    is_whole = labels.shape == shape and np.issubdtype(labels.dtype, np.integer)
    return bool(is_whole and labels.min() >= 0 and labels.max() < classes)

"""verification=cleanlab: just what cleanlab flags is refused, for a reason of its own."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from audiotag.config import CONFIDENT_LEARNING, Verification
from audiotag.errors import AudiotagError, RunError
from audiotag.verification.confident_learning import check_installed, label_issues
from audiotag.verification.ledger import decide_round
from audiotag.verification.rule import BELOW, FULL, ISSUE, decide
from tests.unit.test_ledger import CLASSES, make_train, make_votes

CLEANLAB = Verification(
    rule="cleanlab", agreement=False, threshold=None, cap=None, confident_learning="prune_by_noise_rate"
)


def certain(classes: list[int], p: float = 0.9) -> np.ndarray:
    """Return posteriors (N, 3) that are sure of these classes."""
    posteriors = np.full((len(classes), 3), (1 - p) / 2)
    posteriors[np.arange(len(classes)), classes] = p
    return posteriors


def test_what_is_surely_another_class_is_flagged():
    """Ten clips of each class, of which the network is sure; three are labelled otherwise."""
    truth = np.repeat([0, 1, 2], 10)
    labels = truth.copy()
    labels[[0, 1, 25]] = [1, 2, 0]
    for way in CONFIDENT_LEARNING:
        assert list(np.flatnonzero(label_issues(certain(list(truth)), labels, way))) == [0, 1, 25], way


def test_a_weak_disagreement_is_none():
    """The rule of the paper refuses it, confident learning need not: no class is above its mean self-confidence."""
    labels = np.repeat([0, 1, 2], 10)
    posteriors = certain(list(labels))
    posteriors[0] = [0.4, 0.45, 0.15]
    assert not label_issues(posteriors, labels, "prune_by_noise_rate").any()


@pytest.mark.parametrize("way", CONFIDENT_LEARNING)
def test_the_ledger_refuses_what_cleanlab_flags_over_all_folds(way):
    train = make_train(96)
    votes = make_votes(train, sharpness=3)
    ledger = decide_round(0, votes, train, CLASSES, Verification(**{**vars(CLEANLAB), "confident_learning": way}))
    scores = {}
    for vote in votes.values():
        scores |= vote.unverified.set_index("clip_id")[CLASSES].T.to_dict("list")
    posteriors = np.array([scores[clip] for clip in ledger["clip_id"]], dtype=np.float64)
    labels = np.array([CLASSES.index(label) for label in ledger["label"]])
    flagged = find_label_issues(labels, posteriors, filter_by=way, n_jobs=1)
    assert 0 < flagged.sum() < len(flagged)
    assert list(ledger["accepted"] == 0) == list(flagged)
    assert set(ledger["reason"][flagged]) == {"label issue"}


def test_it_goes_together_with_threshold_and_cap():
    posteriors, labels = certain([0, 0, 0, 0]), np.array([0, 0, 0, 1])
    posteriors[0] = [0.4, 0.3, 0.3]
    _, reasons = decide(posteriors, labels, 0.5, 1, False, np.array([False, True, False, False]))
    assert list(reasons) == [BELOW, ISSUE, "accepted", BELOW]
    _, reasons = decide(posteriors, labels, None, 1, False, np.array([False, True, False, False]))
    assert list(reasons) == [FULL, ISSUE, "accepted", "accepted"]


def test_one_class_alone_cannot_be_compared():
    with pytest.raises(RunError, match="all unverified labels are of one"):
        label_issues(certain([1, 1]), np.array([1, 1]), "both")


def test_a_missing_package_is_told_by_the_name_of_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    check_installed(Verification())
    with pytest.raises(AudiotagError, match=r"pip install -e '\.\[cleanlab\]'"):
        check_installed(CLEANLAB)

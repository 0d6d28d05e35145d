"""CleanlabRule: just what cleanlab flags is refused, for a reason of its own."""

from __future__ import annotations

import importlib.util

import numpy as np
import pytest
from cleanlab.filter import find_label_issues

from audiotag.errors import AudiotagError, RunError
from audiotag.verification.ledger import decide_round
from audiotag.verification.rules import BELOW, FULL, ISSUE, WAYS_TO_FLAG, CleanlabRule, decide
from tests.unit.test_ledger import CLASSES, make_train, make_votes


def certain(classes: list[int], p: float = 0.9) -> np.ndarray:
    """Return posteriors (N, 3) that are sure of these classes."""
    posteriors = np.full((len(classes), 3), (1 - p) / 2)
    posteriors[np.arange(len(classes)), classes] = p
    return posteriors


def test_cleanlab_flags_what_is_surely_another_class():
    """Ten clips of each class, of which the network is sure; three are labelled otherwise."""
    truth = np.repeat([0, 1, 2], 10)
    labels = truth.copy()
    labels[[0, 1, 25]] = [1, 2, 0]
    for way in WAYS_TO_FLAG:
        accepted, reasons, _ = decide(CleanlabRule(filter_by=way), certain(list(truth)), labels)
        assert list(np.flatnonzero(~accepted)) == list(np.flatnonzero(reasons == ISSUE)) == [0, 1, 25], way


def test_cleanlab_lets_a_weak_disagreement_pass():
    """The rule of the paper refuses it, confident learning need not: no class is above its mean self-confidence."""
    labels = np.repeat([0, 1, 2], 10)
    posteriors = certain(list(labels))
    posteriors[0] = [0.4, 0.45, 0.15]
    assert decide(CleanlabRule(), posteriors, labels)[0].all()


@pytest.mark.parametrize("way", WAYS_TO_FLAG)
def test_cleanlab_decides_over_all_folds(way):
    train = make_train(96)
    votes = make_votes(train, sharpness=3)
    ledger = decide_round(0, votes, train, CLASSES, CleanlabRule(filter_by=way))
    scores = {}
    for vote in votes.values():
        scores |= vote.unverified.set_index("clip_id")[CLASSES].T.to_dict("list")
    posteriors = np.array([scores[clip] for clip in ledger["clip_id"]], dtype=np.float64)
    labels = np.array([CLASSES.index(label) for label in ledger["label"]])
    flagged = find_label_issues(labels, posteriors, filter_by=way, n_jobs=1)
    assert 0 < flagged.sum() < len(flagged)
    assert list(ledger["accepted"] == 0) == list(flagged)
    assert set(ledger["reason"][flagged]) == {"label issue"}


class FlagsTheSecond(CleanlabRule):
    def _flagged(self, posteriors, labels):
        return np.arange(len(labels)) == 1


def test_cleanlab_goes_together_with_threshold_and_cap():
    posteriors, labels = certain([0, 0, 0, 0]), np.array([0, 0, 0, 1])
    posteriors[0] = [0.4, 0.3, 0.3]
    _, reasons, _ = decide(FlagsTheSecond(threshold=0.5, cap=1), posteriors, labels)
    assert list(reasons) == [BELOW, ISSUE, "accepted", BELOW]
    _, reasons, _ = decide(FlagsTheSecond(cap=1), posteriors, labels)
    assert list(reasons) == [FULL, ISSUE, "accepted", "accepted"]


def test_cleanlab_needs_two_classes_to_compare():
    with pytest.raises(RunError, match="all unverified labels are of one"):
        decide(CleanlabRule(filter_by="both"), certain([1, 1]), np.array([1, 1]))


def test_cleanlab_that_is_not_installed_is_told_by_the_name_of_the_extra(monkeypatch):
    monkeypatch.setattr(importlib.util, "find_spec", lambda name: None)
    with pytest.raises(AudiotagError, match=r"pip install -e '\.\[cleanlab\]'"):
        CleanlabRule()


def test_cleanlab_tells_what_it_asks():
    assert str(CleanlabRule()) == "cleanlab (prune_by_noise_rate) must not flag it"
    assert str(CleanlabRule(cap=3)).endswith("must not flag it, of each class the 3 surest are taken")

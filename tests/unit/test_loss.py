"""The generalised cross-entropy, by hand and between its limits."""

from __future__ import annotations

import pytest
import torch
import torch.nn.functional as F

from audiotag.config import Training
from audiotag.models.loss import GeneralizedCrossEntropy, build_loss

LOGITS = torch.tensor([[0.0, 0.0, 0.0], [2.0, 0.0, -1.0]])
TARGETS = torch.tensor([[1.0, 0.0, 0.0], [0.3, 0.7, 0.0]])


def test_generalised_cross_entropy_by_hand():
    loss = GeneralizedCrossEntropy(reduction="none", q=0.5)(LOGITS, TARGETS)
    p = LOGITS.softmax(dim=1)
    mixed = 0.3 * (1 - p[1, 0] ** 0.5) / 0.5 + 0.7 * (1 - p[1, 1] ** 0.5) / 0.5
    torch.testing.assert_close(loss, torch.stack([(1 - torch.tensor(1 / 3) ** 0.5) / 0.5, mixed]))
    assert GeneralizedCrossEntropy(q=0.5)(LOGITS, TARGETS) == pytest.approx(loss.mean().item())


def test_generalised_cross_entropy_lies_between_cross_entropy_and_absolute_error():
    near_zero = GeneralizedCrossEntropy(q=1e-4)(LOGITS, TARGETS)
    assert near_zero.item() == pytest.approx(F.cross_entropy(LOGITS, TARGETS).item(), rel=1e-3)
    one = GeneralizedCrossEntropy(q=1.0)(LOGITS, TARGETS)
    assert one.item() == pytest.approx((TARGETS * (1 - LOGITS.softmax(1))).sum(1).mean().item(), rel=1e-5)


def test_generalised_cross_entropy_has_a_gradient_where_the_label_is_impossible():
    logits = torch.tensor([[200.0, -200.0]], requires_grad=True)
    loss = GeneralizedCrossEntropy()(logits, torch.tensor([[0.0, 1.0]]))
    loss.backward()
    assert loss.item() == pytest.approx(1 / 0.7)
    assert logits.grad.isfinite().all()


def test_generalised_cross_entropy_is_chosen_by_the_configuration():
    leaf = {"_target_": "audiotag.models.loss.GeneralizedCrossEntropy", "q": 0.5}
    loss = build_loss(Training(loss=leaf), "none")
    assert isinstance(loss, GeneralizedCrossEntropy)
    assert (loss.q, loss.reduction) == (0.5, "none")

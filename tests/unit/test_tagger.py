"""The tagger's loss, its schedule and its scores, worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import Tensor

from audiotag.config import Phase
from audiotag.models.augmentation import mixed
from audiotag.models.fine_tuning import decay
from tests.toy_tagger import CLASSES, batch_of, cross_entropy, loader, make_tagger, trainer


def test_mixup_by_hand():
    batch = {
        "x": torch.tensor([1.0, 10.0]).reshape(2, 1, 1, 1),
        "label": torch.tensor([0, 2]),
        "other_x": torch.tensor([10.0, 1.0]).reshape(2, 1, 1, 1),
        "other_label": torch.tensor([2, 0]),
        "share": torch.tensor([0.75, 1.0]),
    }
    x, targets = mixed(batch, 3)
    # 0.75 of the first and 0.25 of the other; and all of the second.
    assert x.flatten().tolist() == [0.75 * 1 + 0.25 * 10, 10.0]
    assert targets.tolist() == [[0.75, 0.0, 0.25], [0.0, 0.0, 1.0]]


def test_mixup_of_two_of_one_class_keeps_the_label_whole():
    batch = batch_of(torch.zeros(1, CLASSES), [3])
    batch |= {"other_x": batch["x"] + 1, "other_label": batch["label"], "share": torch.tensor([0.3])}
    assert mixed(batch, CLASSES)[1].tolist() == [[0.0, 0.0, 0.0, 1.0]]


def test_mixup_that_is_off_leaves_the_batch_as_it_is():
    batch = batch_of(torch.zeros(2, CLASSES), [3, 0])
    x, targets = mixed(batch, CLASSES)
    assert x is batch["x"]
    assert targets.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]


@pytest.mark.parametrize(
    ("epochs", "start", "epoch", "factor"),
    [
        (500, 100, 0, 1.0),  # the original's 500 epochs: from epoch 100 on lower by 1/400 each, zero in the last
        (500, 100, 99, 1.0),
        (500, 100, 100, 399 / 400),
        (500, 100, 299, 0.5),
        (500, 100, 498, 1 / 400),
        (500, 100, 499, 0.0),
        (10, 10, 9, 1.0),
        (10, 0, 0, 0.9),
        (10, 0, 4, 0.5),
    ],
)
def test_decay_by_hand(epochs, start, epoch, factor):
    assert decay(epoch, Phase(epochs=epochs, decay_from_epoch=start)) == pytest.approx(factor)


def test_decay_of_a_fine_tuning_is_the_papers():
    """30 epochs, decay from epoch 5: 17 times the initial rate in all."""
    factors = [decay(epoch, Phase(epochs=30, decay_from_epoch=5)) for epoch in range(30)]
    assert factors == [1.0] * 5 + [n / 25 for n in range(24, -1, -1)]
    assert sum(factors) == pytest.approx(17)


LOGITS = np.array(
    [
        [3.0, 2.0, 1.0, 0.0],  # label 0 is first
        [3.0, 2.0, 1.0, 0.0],  # label 1 is second
        [3.0, 2.0, 1.0, 0.0],  # label 2 is third
        [3.0, 2.0, 1.0, 0.0],  # label 3 is fourth: no point
        [0.0, 0.1, 5.0, 0.2],  # label 2 is first
        [0.0, 0.3, 0.2, 0.1],  # label 3 is third
        [-1.0, -9.0, -2.0, -3.0],  # label 2 is second
    ]
)


LABELS = [0, 1, 2, 3, 2, 3, 2]


MAP3 = (1 + 1 / 2 + 1 / 3 + 0 + 1 + 1 / 3 + 1 / 2) / 7


ACCURACY = 2 / 7


@pytest.mark.parametrize("sizes", [[7], [3, 4], [1, 1, 5], [1] * 7])
def test_validation_scores_by_hand_however_the_clips_are_batched(tmp_path, sizes):
    ends = np.cumsum(sizes)
    parts = [(LOGITS[end - size : end], LABELS[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    tagger, _ = make_tagger()
    run = trainer(tmp_path)
    for _ in range(2):  # the second time starts from nothing again
        (scores,) = run.validate(tagger, loader(*(batch_of(*part) for part in parts)), verbose=False)
        assert scores["valid_map3"] == pytest.approx(MAP3, rel=1e-6)
        assert scores["valid_accuracy"] == pytest.approx(ACCURACY, rel=1e-6)
        assert scores["valid_loss"] == pytest.approx(cross_entropy(LOGITS, np.eye(CLASSES)[LABELS]), rel=1e-5)


def test_validation_scores_unverified_clips_beside_and_selects_nothing_by_them(tmp_path):
    tagger, _ = make_tagger()
    verified, unverified = batch_of(LOGITS, LABELS), batch_of(LOGITS[:2], [0, 3])
    scores: dict[str, float] = {}
    for of_loader in trainer(tmp_path).validate(tagger, [loader(verified), loader(unverified)], verbose=False):
        scores |= of_loader
    assert scores["valid_map3"] == pytest.approx(MAP3, rel=1e-6)
    assert scores["valid_loss"] == pytest.approx(cross_entropy(LOGITS, np.eye(CLASSES)[LABELS]), rel=1e-5)
    assert scores["valid_unverified_accuracy"] == 0.5
    assert scores["valid_unverified_loss"] == pytest.approx(
        cross_entropy(LOGITS[:2], np.eye(CLASSES)[[0, 3]]), rel=1e-5
    )


def test_validation_figures_are_on_the_networks_device_when_ranks_take_their_mean():
    """NCCL refuses tensors on the CPU. The device that holds nothing stands for a GPU."""
    tagger, _ = make_tagger()
    logged: dict[str, Tensor] = {}
    tagger.log_dict = lambda figures, **_: logged.update(figures)  # type: ignore[method-assign, assignment]
    tagger._outputs = {0: [(torch.arange(2), torch.eye(2, CLASSES), torch.tensor([0, 1]))]}
    tagger.to("meta").on_validation_epoch_end()
    assert logged.keys() == {"valid_loss", "valid_accuracy", "valid_map3"}
    assert {value.device.type for value in logged.values()} == {"meta"}

"""The tagger: its loss, its schedule and its scores worked out by hand, and masks that only training sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader

from audiotag.config import Augment, Phase
from audiotag.models.tagger import Tagger, build_masks, decay, mixed

CLASSES = 4
KEYS = (0, 0, 1)
MASKS = Augment(time_masks=2, time_mask_frames=9, band_masks=1, band_mask_bands=5)


class SlidingWindowTagger(nn.Module):
    """Takes the first values of a spectrogram for its logits, and keeps what it hears."""

    def __init__(self, dropout: float = 0.0) -> None:
        super().__init__()
        self.scale = nn.Parameter(torch.ones(()))
        self.dropout = nn.Dropout(dropout)
        self.heard: dict[bool, list[Tensor]] = {True: [], False: []}

    def forward(self, x: Tensor) -> Tensor:
        self.heard[self.training].append(x.detach().clone())
        return self.scale * self.dropout(x[:, 0, :CLASSES, 0])


def make_tagger(phase: Phase | None = None, augment: Augment | None = None, keys: tuple[int, ...] = KEYS, dropout=0.0):
    listener = SlidingWindowTagger(dropout)
    return Tagger(listener, CLASSES, phase or Phase(), augment or Augment(), keys), listener  # type: ignore[arg-type]


def batch_of(logits: Any, labels: list[int]) -> dict[str, Tensor]:
    """Return spectrograms (B, 1, 8, 6) that the listener answers with `logits` (B, C)."""
    values = torch.as_tensor(logits, dtype=torch.float32)
    x = torch.randn(len(labels), 1, 8, 6, generator=torch.Generator().manual_seed(len(labels)))
    x[:, 0, :CLASSES, 0] = values
    return {"x": x, "label": torch.tensor(labels)}


def loader(*batches: dict[str, Tensor]) -> DataLoader:
    """Load batches, each clip with its position among all, as validation wants it."""
    ends = np.cumsum([len(batch["label"]) for batch in batches])
    placed = [
        {**batch, "at": torch.arange(end - len(batch["label"]), end)} for batch, end in zip(batches, ends, strict=True)
    ]
    return DataLoader(placed, batch_size=None)  # type: ignore[arg-type]


def trainer(folder: Path, **arguments: Any) -> pl.Trainer:
    return pl.Trainer(
        accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, default_root_dir=folder, **arguments,
    )  # fmt: skip


# Loss


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


def test_mixing_two_of_one_class_keeps_the_label_whole():
    batch = batch_of(torch.zeros(1, CLASSES), [3])
    batch |= {"other_x": batch["x"] + 1, "other_label": batch["label"], "share": torch.tensor([0.3])}
    assert mixed(batch, CLASSES)[1].tolist() == [[0.0, 0.0, 0.0, 1.0]]


def test_without_mixup_the_batch_stays_as_it_is():
    batch = batch_of(torch.zeros(2, CLASSES), [3, 0])
    x, targets = mixed(batch, CLASSES)
    assert x is batch["x"]
    assert targets.tolist() == [[0, 0, 0, 1], [1, 0, 0, 0]]


def cross_entropy(logits: np.ndarray, targets: np.ndarray) -> float:
    """Mean over clips of -sum t log softmax."""
    logs = logits - np.log(np.exp(logits).sum(axis=1, keepdims=True))
    return float(-(targets * logs).sum(axis=1).mean())


def test_training_loss_is_the_cross_entropy_of_the_soft_targets(tmp_path):
    logits = np.array([[2.0, -1.0, 0.5, 0.0], [0.1, 0.2, 0.3, -3.0]])
    batch = batch_of(logits, [1, 3])
    share = np.array([0.25, 0.6], dtype=np.float32)
    batch |= {"other_x": batch["x"].flip(0), "other_label": batch["label"].flip(0), "share": torch.from_numpy(share)}
    tagger, _ = make_tagger(Phase(epochs=1, decay_from_epoch=1, learning_rate=1e-9))
    run = trainer(tmp_path, max_epochs=1)
    run.fit(tagger, loader(batch), loader(batch_of(np.eye(CLASSES), [0, 1, 2, 3])))
    weight = share[:, None].astype(np.float64)
    heard = weight * logits + (1 - weight) * logits[::-1]
    hard = np.eye(CLASSES)[[1, 3]]
    expected = cross_entropy(heard, weight * hard + (1 - weight) * hard[::-1])
    assert float(run.callback_metrics["train_loss"]) == pytest.approx(expected, rel=1e-5)


# Schedule


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


def test_every_rate_of_a_fine_tuning_of_the_paper():
    """30 epochs, decay from epoch 5: 17 times the initial rate in all."""
    factors = [decay(epoch, Phase(epochs=30, decay_from_epoch=5)) for epoch in range(30)]
    assert factors == [1.0] * 5 + [n / 25 for n in range(24, -1, -1)]
    assert sum(factors) == pytest.approx(17)


def test_the_optimiser_is_adam_at_the_rate_of_the_epoch(tmp_path):
    rates: list[float] = []

    class Watch(pl.Callback):
        def on_train_batch_end(self, trainer: pl.Trainer, *_: Any) -> None:
            rates.append(trainer.optimizers[0].param_groups[0]["lr"])

    tagger, _ = make_tagger(Phase(epochs=4, decay_from_epoch=1, learning_rate=0.02))
    batches = [batch_of(np.eye(CLASSES), [0, 1, 2, 3])] * 2
    run = trainer(tmp_path, max_epochs=4, callbacks=[Watch()])
    run.fit(tagger, loader(*batches), loader(*batches))
    assert rates == pytest.approx([0.02] * 2 + [0.02 * 2 / 3] * 2 + [0.02 / 3] * 2 + [0.0] * 2)
    assert type(run.optimizers[0]) is torch.optim.Adam
    group = run.optimizers[0].param_groups[0]
    assert (group["betas"], group["eps"], group["weight_decay"]) == ((0.9, 0.999), 1e-8, 0)


# Scores


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
def test_scores_by_hand_however_the_clips_are_batched(tmp_path, sizes):
    ends = np.cumsum(sizes)
    parts = [(LOGITS[end - size : end], LABELS[end - size : end]) for size, end in zip(sizes, ends, strict=True)]
    tagger, _ = make_tagger()
    run = trainer(tmp_path)
    for _ in range(2):  # the second time starts from nothing again
        (scores,) = run.validate(tagger, loader(*(batch_of(*part) for part in parts)), verbose=False)
        assert scores["valid_map3"] == pytest.approx(MAP3, rel=1e-6)
        assert scores["valid_accuracy"] == pytest.approx(ACCURACY, rel=1e-6)
        assert scores["valid_loss"] == pytest.approx(cross_entropy(LOGITS, np.eye(CLASSES)[LABELS]), rel=1e-5)


def test_unverified_clips_are_scored_beside_and_select_nothing(tmp_path):
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


# Masks and chance


X = 1 + torch.rand(3, 1, 40, 60, generator=torch.Generator().manual_seed(5))  # no zero in it


def fit(
    folder: Path,
    augment: Augment | None = None,
    keys: tuple[int, ...] = KEYS,
    dropout: float = 0.0,
    epochs: int = 2,
    resume: Path | None = None,
) -> SlidingWindowTagger:
    """Fit epochs of two batches of X, keep a checkpoint in the folder, and return what was heard."""
    tagger, listener = make_tagger(Phase(epochs=9, decay_from_epoch=9), augment, keys, dropout)
    batch = {"x": X, "label": torch.tensor([0, 1, 2])}
    torch.manual_seed(len(keys) + sum(keys) + epochs)  # whatever was drawn before must not matter
    run = trainer(folder, max_epochs=epochs)
    run.fit(tagger, loader(batch, batch), loader(batch), ckpt_path=resume, weights_only=True)
    run.save_checkpoint(folder / "last.ckpt")
    assert all(torch.equal(heard, X) for heard in listener.heard[False]), "validation hears no mask"
    return listener


def test_masks_blank_bands_and_frames_of_each_clip_by_itself(tmp_path):
    listener = fit(tmp_path, MASKS)
    assert len(listener.heard[True]) == 4
    for heard in listener.heard[True]:
        assert heard.shape == X.shape
        changed = heard != X
        for clip in changed[:, 0]:
            # A frame is masked whole, a band is masked whole, and everything else is as it was.
            frames, bands = clip.all(dim=0), clip.all(dim=1)
            assert (clip == (frames[None, :] | bands[:, None])).all()
            assert frames.sum() <= 2 * 9
            assert bands.sum() <= 5
        assert changed.any()
        assert len({tuple(clip.flatten().tolist()) for clip in changed}) > 1, "every clip has its own masks"
        assert heard[changed].min() >= X.mean() - 0.05, "masks hold about the mean, not zero"
        assert heard[changed].max() <= X.mean() + 0.05


def test_masks_are_keyed_by_seed_round_fold_epoch_and_batch(tmp_path):
    first, again = fit(tmp_path, MASKS).heard[True], fit(tmp_path, MASKS).heard[True]
    assert all(map(torch.equal, first, again))
    for one in range(4):
        for other in range(one):
            assert not torch.equal(first[one], first[other]), "another epoch or batch has other masks"
    for keys in ((1, 0, 1), (0, 1, 1), (0, 0, 2)):
        assert not torch.equal(fit(tmp_path, MASKS, keys).heard[True][0], first[0])


def test_dropout_is_keyed_too(tmp_path):
    scales = {float(fit(tmp_path, keys=keys, dropout=0.5).scale.detach()) for keys in (KEYS, KEYS)}
    assert len(scales) == 1
    others = {float(fit(tmp_path, keys=(seed, 0, 1), dropout=0.5).scale.detach()) for seed in range(5)}
    assert len(others) > 1


@pytest.mark.parametrize("broken_off_after", [1, 2, 3])
def test_a_resumed_fit_draws_what_an_unbroken_one_does(tmp_path, broken_off_after):
    """Lightning draws a random number for each data loader that it opens, and the first one it opens earlier."""
    unbroken = fit(tmp_path / "unbroken", MASKS, dropout=0.5, epochs=4)
    fit(tmp_path / "broken", MASKS, dropout=0.5, epochs=broken_off_after)
    resumed = fit(tmp_path / "broken", MASKS, dropout=0.5, epochs=4, resume=tmp_path / "broken" / "last.ckpt")
    assert len(resumed.heard[True]) == 2 * (4 - broken_off_after)
    assert all(map(torch.equal, unbroken.heard[True][2 * broken_off_after :], resumed.heard[True]))
    assert torch.equal(unbroken.scale, resumed.scale)


def test_without_masks_training_hears_the_spectrograms_as_they_are(tmp_path):
    assert build_masks(Augment()) == []
    listener = fit(tmp_path)
    assert all(torch.equal(heard, X) for heard in listener.heard[True])


def test_masks_of_time_alone_and_of_bands_alone(tmp_path):
    for augment in (Augment(time_masks=1, time_mask_frames=9), Augment(band_masks=1, band_mask_bands=5)):
        listener = fit(tmp_path, augment)
        changed = [heard != X for heard in listener.heard[True]]
        bands = torch.stack([clip.all(dim=1).sum() for clip in torch.cat(changed)[:, 0]])
        frames = torch.stack([clip.all(dim=0).sum() for clip in torch.cat(changed)[:, 0]])
        used, unused, widest = (frames, bands, 9) if augment.time_masks else (bands, frames, 5)
        assert used.max() > 0
        assert used.max() <= widest
        assert unused.max() == 0
        patterns = [{tuple(clip.flatten().tolist()) for clip in of_batch} for of_batch in changed]
        assert max(map(len, patterns)) > 1, "every clip has its own masks"


def test_figures_are_on_the_networks_device_when_ranks_take_their_mean():
    """NCCL refuses tensors on the CPU. The device that holds nothing stands for a GPU."""
    tagger, _ = make_tagger()
    logged: dict[str, Tensor] = {}
    tagger.log_dict = lambda figures, **_: logged.update(figures)  # type: ignore[method-assign, assignment]
    tagger._said = {0: [(torch.arange(2), torch.eye(2, CLASSES), torch.tensor([0, 1]))]}
    tagger.to("meta").on_validation_epoch_end()
    assert logged.keys() == {"valid_loss", "valid_accuracy", "valid_map3"}
    assert {value.device.type for value in logged.values()} == {"meta"}

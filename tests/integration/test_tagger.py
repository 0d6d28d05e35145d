"""The tagger: its loss, its schedule and its scores worked out by hand, and masks that only training sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import pytorch_lightning as pl
import torch

from audiotag.config import Phase
from audiotag.models.augmentation import Masking
from tests.toy_tagger import CLASSES, KEYS, ToyNetwork, batch_of, cross_entropy, loader, make_tagger, trainer

MASKS = Masking(time_masks=2, time_mask_frames=9, band_masks=1, band_mask_bands=5)


# Loss


def test_training_loss_is_the_cross_entropy_of_the_soft_targets(tmp_path):
    logits = np.array([[2.0, -1.0, 0.5, 0.0], [0.1, 0.2, 0.3, -3.0]])
    batch = batch_of(logits, [1, 3])
    share = np.array([0.25, 0.6], dtype=np.float32)
    batch |= {"other_x": batch["x"].flip(0), "other_label": batch["label"].flip(0), "share": torch.from_numpy(share)}
    tagger, _ = make_tagger(Phase(epochs=1, decay_from_epoch=1, learning_rate=1e-9))
    run = trainer(tmp_path, max_epochs=1)
    run.fit(tagger, loader(batch), loader(batch_of(np.eye(CLASSES), [0, 1, 2, 3])))
    weight = share[:, None].astype(np.float64)
    given = weight * logits + (1 - weight) * logits[::-1]
    hard = np.eye(CLASSES)[[1, 3]]
    expected = cross_entropy(given, weight * hard + (1 - weight) * hard[::-1])
    assert float(run.callback_metrics["train_loss"]) == pytest.approx(expected, rel=1e-5)


# Schedule


def test_optimiser_is_adam_at_the_rate_of_the_epoch(tmp_path):
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


# Masks and chance


X = 1 + torch.rand(3, 1, 40, 60, generator=torch.Generator().manual_seed(5))  # no zero in it


def fit(
    folder: Path,
    augment: Masking | None = None,
    keys: tuple[int, ...] = KEYS,
    dropout: float = 0.0,
    epochs: int = 2,
    resume: Path | None = None,
) -> ToyNetwork:
    """Fit epochs of two batches of X, keep a checkpoint in the folder, and return the network."""
    tagger, network = make_tagger(Phase(epochs=9, decay_from_epoch=9), augment, keys, dropout)
    batch = {"x": X, "label": torch.tensor([0, 1, 2])}
    torch.manual_seed(len(keys) + sum(keys) + epochs)  # whatever was drawn before must not matter
    run = trainer(folder, max_epochs=epochs)
    run.fit(tagger, loader(batch, batch), loader(batch), ckpt_path=resume, weights_only=True)
    run.save_checkpoint(folder / "last.ckpt")
    assert all(torch.equal(given, X) for given in network.inputs[False]), "validation sees no mask"
    return network


def test_masks_blank_bands_and_frames_of_each_clip_by_itself(tmp_path):
    network = fit(tmp_path, MASKS)
    assert len(network.inputs[True]) == 4
    for given in network.inputs[True]:
        assert given.shape == X.shape
        changed = given != X
        for clip in changed[:, 0]:
            # A frame is masked whole, a band is masked whole, and everything else is as it was.
            frames, bands = clip.all(dim=0), clip.all(dim=1)
            assert (clip == (frames[None, :] | bands[:, None])).all()
            assert frames.sum() <= 2 * 9
            assert bands.sum() <= 5
        assert changed.any()
        assert len({tuple(clip.flatten().tolist()) for clip in changed}) > 1, "every clip has its own masks"
        assert given[changed].min() >= X.mean() - 0.05, "masks hold about the mean, not zero"
        assert given[changed].max() <= X.mean() + 0.05


def test_masks_are_keyed_by_seed_round_fold_epoch_and_batch(tmp_path):
    first, again = fit(tmp_path, MASKS).inputs[True], fit(tmp_path, MASKS).inputs[True]
    assert all(map(torch.equal, first, again))
    for one in range(4):
        for other in range(one):
            assert not torch.equal(first[one], first[other]), "another epoch or batch has other masks"
    for keys in ((1, 0, 1), (0, 1, 1), (0, 0, 2)):
        assert not torch.equal(fit(tmp_path, MASKS, keys).inputs[True][0], first[0])


def test_dropout_is_keyed_too(tmp_path):
    scales = {float(fit(tmp_path, keys=keys, dropout=0.5).scale.detach()) for keys in (KEYS, KEYS)}
    assert len(scales) == 1
    others = {float(fit(tmp_path, keys=(seed, 0, 1), dropout=0.5).scale.detach()) for seed in range(5)}
    assert len(others) > 1


@pytest.mark.parametrize("broken_off_after", [1, 2, 3])
def test_fit_that_is_resumed_draws_what_an_unbroken_one_does(tmp_path, broken_off_after):
    """Lightning draws a random number for each data loader that it opens, and the first one it opens earlier."""
    unbroken = fit(tmp_path / "unbroken", MASKS, dropout=0.5, epochs=4)
    fit(tmp_path / "broken", MASKS, dropout=0.5, epochs=broken_off_after)
    resumed = fit(tmp_path / "broken", MASKS, dropout=0.5, epochs=4, resume=tmp_path / "broken" / "last.ckpt")
    assert len(resumed.inputs[True]) == 2 * (4 - broken_off_after)
    assert all(map(torch.equal, unbroken.inputs[True][2 * broken_off_after :], resumed.inputs[True]))
    assert torch.equal(unbroken.scale, resumed.scale)


def test_masks_that_are_off_leave_the_spectrograms_as_they_are(tmp_path):
    network = fit(tmp_path)
    assert all(torch.equal(given, X) for given in network.inputs[True])


def test_masks_may_be_of_time_alone_and_of_bands_alone(tmp_path):
    for settings in ({"time_masks": 1, "time_mask_frames": 9}, {"band_masks": 1, "band_mask_bands": 5}):
        network = fit(tmp_path, Masking(**settings))
        changed = [given != X for given in network.inputs[True]]
        bands = torch.stack([clip.all(dim=1).sum() for clip in torch.cat(changed)[:, 0]])
        frames = torch.stack([clip.all(dim=0).sum() for clip in torch.cat(changed)[:, 0]])
        used, unused, widest = (frames, bands, 9) if "time_masks" in settings else (bands, frames, 5)
        assert used.max() > 0
        assert used.max() <= widest
        assert unused.max() == 0
        patterns = [{tuple(clip.flatten().tolist()) for clip in of_batch} for of_batch in changed]
        assert max(map(len, patterns)) > 1, "every clip has its own masks"

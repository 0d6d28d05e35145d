"""The LightningModule: soft-target cross-entropy, mixup, masking, Adam with linear decay, accuracy and MAP@3.

Shapes: B clips, F bands, T frames, C classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable

import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.classification import MulticlassAccuracy
from torchmetrics.retrieval import RetrievalMAP

from audiotag.config import Augment, Phase
from audiotag.models.vgg_gap import VggGap
from audiotag.randomness import key


class Tagger(pl.LightningModule):
    """Trains a network on batches of `FoldDataModule`; `keys` (seed, round, fold) key all that is random."""

    def __init__(self, network: VggGap, classes: int, phase: Phase, augment: Augment, keys: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.classes, self.phase, self.keys = network, classes, phase, keys
        self.masks = build_masks(augment)
        self.valid_accuracy = MulticlassAccuracy(classes, average="micro")
        self.valid_map3 = RetrievalMAP(top_k=3)
        self._clips_seen = 0

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of spectrograms (B, 1, F, T)."""
        logits: Tensor = self.network(x)
        return logits

    def on_train_epoch_start(self) -> None:
        """Set the epoch's learning rate."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.phase.learning_rate * decay(self.current_epoch, self.phase)

    def training_step(self, batch: dict[str, Tensor], batch_index: int) -> Tensor:
        """Return the mean cross-entropy of a batch against its soft targets."""
        # Dropout and masks are keyed here: between epochs Lightning draws numbers too, and others when it resumes.
        torch.manual_seed(key("dropout", *self.keys, self.current_epoch, batch_index))
        x, targets = mixed(batch, self.classes)
        for mask in self.masks:
            x = mask(x)
        loss = F.cross_entropy(self(x), targets)
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(x))
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin to count clips: MAP needs to know which scores belong to one clip."""
        self._clips_seen = 0

    def validation_step(self, batch: dict[str, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        """Score whole clips: loader 0 the verified ones, which select the model; loader 1 unverified ones."""
        logits, labels = self(batch["x"]), batch["label"]
        name = "valid" if dataloader_idx == 0 else "valid_unverified"
        log = functools.partial(
            self.log, on_step=False, on_epoch=True, batch_size=len(labels), add_dataloader_idx=False
        )
        log(f"{name}_loss", F.cross_entropy(logits, labels))
        if dataloader_idx > 0:
            log(f"{name}_accuracy", (logits.argmax(dim=1) == labels).float().mean())
            return
        self.valid_accuracy.update(logits, labels)
        clips = torch.arange(self._clips_seen, self._clips_seen + len(labels), device=labels.device)
        self._clips_seen += len(labels)
        relevant = F.one_hot(labels, self.classes)
        self.valid_map3.update(logits.softmax(dim=1), relevant, clips[:, None].expand_as(relevant))
        log("valid_accuracy", self.valid_accuracy)
        log("valid_map3", self.valid_map3)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam (paper section 3); its learning rate is set by epoch."""
        return torch.optim.Adam(self.parameters(), lr=self.phase.learning_rate)


def decay(epoch: int, phase: Phase) -> float:
    """Return the factor on the learning rate: 1 until `decay_from_epoch`, then linearly to zero at the end."""
    if epoch < phase.decay_from_epoch:
        return 1.0
    return max(0.0, (phase.epochs - epoch) / max(1, phase.epochs - phase.decay_from_epoch))


def mixed(batch: dict[str, Tensor], classes: int) -> tuple[Tensor, Tensor]:
    """Return spectrograms (B, 1, F, T) and soft targets (B, C), mixed with their partners where the batch has any."""
    x, targets = batch["x"], F.one_hot(batch["label"], classes).float()
    if "share" not in batch:
        return x, targets
    share = batch["share"]
    other = F.one_hot(batch["other_label"], classes).float()
    x = torch.lerp(batch["other_x"], x, share[:, None, None, None])
    return x, torch.lerp(other, targets, share[:, None])


def build_masks(augment: Augment) -> list[Callable[[Tensor], Tensor]]:
    """Return the masks to apply one after another, each clip masked by itself, with the batch's mean as value."""
    if augment.time_masks == augment.band_masks == 0:
        return []
    from torchaudio.transforms import FrequencyMasking, TimeMasking  # here: it is slow to import and seldom needed

    time = [TimeMasking(augment.time_mask_frames, iid_masks=True)] * augment.time_masks
    band = [FrequencyMasking(augment.band_mask_bands, iid_masks=True)] * augment.band_masks
    return [functools.partial(_masked, mask=mask) for mask in [*time, *band]]


def _masked(x: Tensor, mask: Callable[..., Tensor]) -> Tensor:
    return mask(x, mask_value=float(x.mean()))

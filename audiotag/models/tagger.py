"""The LightningModule: soft-target cross-entropy, mixup, masking, Adam with linear decay, accuracy and MAP@3.

Shapes: B clips, F bands, T frames, C classes.
"""

from __future__ import annotations

import functools
from collections.abc import Callable
from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor
from torchmetrics.retrieval import RetrievalMAP

from audiotag.config import Augment, Phase
from audiotag.distributed import context
from audiotag.errors import RunError
from audiotag.models.vgg_gap import VggGap
from audiotag.randomness import key

Said = tuple[Tensor, Tensor, Tensor]  # positions, logits and labels of one batch's clips


class Tagger(pl.LightningModule):
    """Trains a network on batches of `FoldDataModule`; `keys` (seed, round, fold) key all that is random."""

    def __init__(self, network: VggGap, classes: int, phase: Phase, augment: Augment, keys: tuple[int, ...]) -> None:
        super().__init__()
        self.network, self.classes, self.phase, self.keys = network, classes, phase, keys
        self.masks = build_masks(augment)
        self._said: dict[int, list[Said]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of spectrograms (B, 1, F, T)."""
        logits: Tensor = self.network(x.to(next(self.network.parameters()).dtype))  # not float32 in every precision
        return logits

    def on_train_epoch_start(self) -> None:
        """Set the epoch's learning rate."""
        for group in self.trainer.optimizers[0].param_groups:
            group["lr"] = self.phase.learning_rate * decay(self.current_epoch, self.phase)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the mean cross-entropy of a batch against its soft targets; on several ranks, of their clips together.

        There, the ranks' mean is meant: DDP averages their gradients.
        """
        # Dropout and masks are keyed here: between epochs Lightning draws numbers too, and others when it resumes.
        # Each rank has its own clips, and needs its own numbers.
        rank = (context.current().rank,) if context.current().rank else ()
        torch.manual_seed(key("dropout", *self.keys, self.current_epoch, batch_index, *rank))
        x, targets = mixed(batch, self.classes)
        for mask in self.masks:
            x = mask(x)
        if "weight" not in batch:
            loss = F.cross_entropy(self(x), targets)
            self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=len(x))
            return loss
        loss = (F.cross_entropy(self(x), targets, reduction="none") * batch["weight"]).sum()
        # Of all ranks' clips: Lightning averages batch sizes over ranks as whole numbers.
        self.log("train_loss", loss, on_step=False, on_epoch=True, batch_size=batch["total"], sync_dist=True)
        return loss

    def on_validation_epoch_start(self) -> None:
        """Begin to collect what is said of clips."""
        self._said = {}

    def validation_step(self, batch: dict[str, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        """Tag whole clips: loader 0 the verified ones, which select the model; loader 1 unverified ones."""
        said = (batch["at"], self(batch["x"]).float(), batch["label"])
        self._said.setdefault(dataloader_idx, []).append(said)

    def on_validation_epoch_end(self) -> None:
        """Score all ranks' clips together: every rank logs the same figures."""
        for loader, said in sorted(self._said.items()):
            logits, labels = _by_position(said)
            name = "valid" if loader == 0 else "valid_unverified"
            figures = {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()}
            if loader == 0:
                clips, relevant = torch.arange(len(labels)), F.one_hot(labels, self.classes)
                map3 = RetrievalMAP(top_k=3)
                figures["map3"] = map3(logits.softmax(dim=1), relevant, clips[:, None].expand_as(relevant))
            # NCCL, which Lightning takes their mean over ranks by, serves GPUs only.
            here = {f"{name}_{figure}": value.to(self.device) for figure, value in figures.items()}
            self.log_dict(here, sync_dist=self._shared())
        self._said = {}

    def _shared(self) -> bool:
        return context.current().world_size > 1

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam (paper section 3); its learning rate is set by epoch."""
        return torch.optim.Adam(self.parameters(), lr=self.phase.learning_rate)


def _by_position(said: list[Said]) -> tuple[Tensor, Tensor]:
    """Return logits (B, C) and labels (B,) of all ranks' clips in order, on the CPU; a clip that came twice, once."""
    own = [torch.cat(parts).cpu() for parts in zip(*said, strict=True)]
    at, logits, labels = (torch.cat(parts) for parts in zip(*context.all_gather(own), strict=True))
    positions, first = np.unique(at.numpy(), return_index=True)
    if not np.array_equal(positions, np.arange(len(positions))):
        raise RunError("validation has left out clips of some rank")
    return logits[first], labels[first]


def decay(epoch: int, phase: Phase) -> float:
    """Return the factor on the learning rate: 1 before `decay_from_epoch`, then linearly down to 0 in the last epoch.

    As in the original: of 400 epochs of decay the first has 399/400. The last one only moves batch norm's averages.
    """
    if epoch < phase.decay_from_epoch:
        return 1.0
    return (phase.epochs - 1 - epoch) / (phase.epochs - phase.decay_from_epoch)


def mixed(batch: dict[str, Tensor], classes: int) -> tuple[Tensor, Tensor]:
    """Return spectrograms (B, 1, F, T) and soft targets (B, C), mixed with their partners where the batch has any."""
    x, targets = batch["x"], F.one_hot(batch["label"], classes).float()
    if "share" not in batch:
        return x, targets
    share = batch["share"].to(x.dtype)
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

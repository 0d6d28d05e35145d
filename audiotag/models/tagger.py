"""The LightningModule: loss, mixup, augmentation, Adam with linear decay, accuracy and MAP@3.

Shapes: B clips, F bands, T frames, C classes.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import pytorch_lightning as pl
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotag.config import Phase
from audiotag.distributed import context
from audiotag.errors import RunError
from audiotag.evaluation.metrics import MAP_DEPTH, reciprocal_ranks
from audiotag.models.augmentation import Augmentation, mixed
from audiotag.models.fine_tuning import (
    Average,
    freeze_body,
    head_alone,
    hold_statistics,
    learning_rates,
    parameter_groups,
)
from audiotag.models.loss import Loss
from audiotag.models.network import ask
from audiotag.randomness import key

SWA_SHARE = 0.25  # of the epochs, the last ones, whose ends are averaged (Izmailov et al. 2018)

ValidationOutput = tuple[Tensor, Tensor, Tensor]  # positions, logits and labels of one batch's clips


class Tagger(pl.LightningModule):
    """Trains a network on batches of `FoldDataModule`; `seed_key` (seed, round, fold) keys all that is random.

    `loss` is one of `reduction="none"` where several ranks train together or clips have weights, else of "mean".
    With an `average`, it is the mean of the network's weights that is validated, and kept.
    """

    def __init__(
        self,
        network: nn.Module,
        classes: int,
        phase: Phase,
        loss: Loss,
        augmentation: Augmentation | None,
        seed_key: tuple[int, ...],
        average: Average | None = None,
    ) -> None:
        super().__init__()
        self.network, self.classes, self.phase, self.seed_key = network, classes, phase, seed_key
        self.loss, self.augmentation, self.average = loss, augmentation, average
        if phase.head_share == 1:
            freeze_body(network)
        self._outputs: dict[int, list[ValidationOutput]] = {}

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of spectrograms (B, 1, F, T)."""
        return ask(self.network, self._cast(x))

    def _cast(self, x: Tensor) -> Tensor:
        return x.to(next(self.network.parameters()).dtype)  # not float32 in every precision

    @property
    def kept_network(self) -> nn.Module:
        """The network that is validated, and kept: the mean over steps, as soon as there is one."""
        return self.network if self.average is None or not self.average.updates else self.average.mean

    def on_train_epoch_start(self) -> None:
        """Set the epoch's learning rate, begin to sum its loss.

        Not by a LambdaLR: Lightning steps it before its hooks at an epoch's end, and `metrics.csv` would hold the rate
        of the next one.
        """
        self._loss_sum, self._n = torch.zeros((), device=self.device), 0
        groups = self.trainer.optimizers[0].param_groups
        for group, rate in zip(groups, learning_rates(self.phase, self.current_epoch, len(groups)), strict=True):
            group["lr"] = rate
        if self.phase.head_share:
            self.network.train()
        if head_alone(self.phase, self.current_epoch):
            hold_statistics(self.network)

    def training_step(self, batch: dict[str, Any], batch_index: int) -> Tensor:
        """Return the mean cross-entropy of a batch against its soft targets; on several ranks, of their clips together.

        There, the ranks' mean is meant: DDP averages their gradients.
        """
        # Dropout and masks are keyed here: between epochs Lightning draws numbers too, and others when it resumes.
        # Each rank has its own clips, and needs its own numbers.
        rank = (context.current().rank,) if context.current().rank else ()
        _seed(key("dropout", *self.seed_key, self.current_epoch, batch_index, *rank), self.device)
        x, targets = mixed(batch, self.classes)
        if self.augmentation is not None:
            x = self.augmentation(x)
        loss = self.loss(self(x), targets)
        if "weight" in batch:
            loss = (loss * batch["weight"]).sum()
        # Not by `self.log` at every step, which takes more than a millisecond.
        n = batch.get("total", len(x))
        self._loss_sum, self._n = self._loss_sum + loss.detach() * n, self._n + n
        return loss

    def on_train_batch_end(self, outputs: Any, batch: dict[str, Any], batch_index: int) -> None:
        """Let the mean of the weights take note of the step, or of the epoch."""
        if self.average is None:
            return
        is_last = batch_index + 1 == self.trainer.num_training_batches
        late = self.current_epoch >= (1 - SWA_SHARE) * self.phase.epochs
        if self.average.decay is not None or (is_last and late):
            self.average.update(self.network)

    def on_train_epoch_end(self) -> None:
        """Log the mean loss over the epoch's clips, those of all ranks."""
        self.log("train_loss", self._loss_sum / self._n, sync_dist=context.current().world_size > 1)

    def on_validation_epoch_start(self) -> None:
        """Begin to collect the network's outputs."""
        self._outputs = {}

    def validation_step(self, batch: dict[str, Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        """Tag whole clips: loader 0 the verified ones, which select the model; loader 1 unverified ones."""
        output = (batch["at"], ask(self.kept_network, self._cast(batch["x"])).float(), batch["label"])
        self._outputs.setdefault(dataloader_idx, []).append(output)

    def on_validation_epoch_end(self) -> None:
        """Score all ranks' clips together: every rank logs the same figures."""
        for loader, outputs in sorted(self._outputs.items()):
            logits, labels = _by_position(outputs)
            name = "valid" if loader == 0 else "valid_unverified"
            figures = {"loss": F.cross_entropy(logits, labels), "accuracy": (logits.argmax(1) == labels).float().mean()}
            if loader == 0:
                best_first = logits.topk(min(MAP_DEPTH, self.classes)).indices
                figures["map3"] = reciprocal_ranks(best_first == labels[:, None]).mean()
            # NCCL, which Lightning takes their mean over ranks by, serves GPUs only.
            here = {f"{name}_{figure}": value.to(self.device) for figure, value in figures.items()}
            self.log_dict(here, sync_dist=context.current().world_size > 1)
        self._outputs = {}

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """Adam (paper section 3); its learning rates are set by epoch."""
        return torch.optim.Adam(parameter_groups(self.network, self.phase), lr=self.phase.learning_rate)


def _seed(number: int, device: torch.device) -> None:
    """Seed the generators that a step draws from; `torch.manual_seed` takes milliseconds to seed all others, too."""
    torch.default_generator.manual_seed(number)
    if device.type == "cuda":
        torch.cuda.default_generators[device.index].manual_seed(number)


def _by_position(outputs: list[ValidationOutput]) -> tuple[Tensor, Tensor]:
    """Return logits (B, C) and labels (B,) of all ranks' clips in order, on the CPU; a clip that came twice, once."""
    own = [torch.cat(parts).cpu() for parts in zip(*outputs, strict=True)]
    at, logits, labels = (torch.cat(parts) for parts in zip(*context.all_gather(own), strict=True))
    positions, first = np.unique(at.numpy(), return_index=True)
    if not np.array_equal(positions, np.arange(len(positions))):
        raise RunError("validation has left out clips of some rank")
    return logits[first], labels[first]

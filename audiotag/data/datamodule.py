"""Batches of one cell: random excerpts of its training clips, whole clips of its verified held-out ones.

What is drawn in an epoch depends on (seed, round, fold, epoch) alone: not on workers, devices, or what came before.
Shapes: B clips, F bands, T frames.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler

from audiotag.config import Features, TrainConfig
from audiotag.data.corrections import verified_by_correction
from audiotag.data.manifest import Manifest
from audiotag.data.store import Excerpts, Store
from audiotag.distributed.context import ALONE, DistributedContext, current, processes_on_this_machine
from audiotag.errors import LeakError
from audiotag.randomness import generator

Draw = dict[str, Any]
Batch = dict[str, Any]


@dataclass(frozen=True)
class CellClips:
    """The clips of one cell, indexed by clip id: what it trains on, is validated on, and votes on.

    `corrected` are held-out clips that are verified by a person's correction alone: they are scored for the ledger.
    `targets` (N, C) are what is learned of the training clips where it is not their labels.
    """

    train: pd.DataFrame
    valid: pd.DataFrame
    unverified: pd.DataFrame
    corrected: pd.DataFrame
    targets: pd.DataFrame | None = None

    def check_no_leak(self, earlier_training: set[str]) -> None:
        """Make sure that no held-out clip is, or in this fold's earlier rounds was, trained on; raises LeakError.

        Not by assertions: these vanish under `python -O`.
        """
        held = pd.concat([self.valid, self.unverified, self.corrected])
        leaks = {
            "held-out clips are trained on": set(held.index) & set(self.train.index),
            "held-out clips were trained on in an earlier round": set(held.index) & earlier_training,
            "held-out audio is trained on": set(held["content_hash"]) & set(self.train["content_hash"]),
            "groups are both trained on and held out": set(held["group"]) & set(self.train["group"]) - {""},
            "clips to select a model by are not verified": set(self.valid.index[~self.valid["verified"]]),
            "clips to vote on are verified": set(self.unverified.index[self.unverified["verified"]]),
        }
        found = [f"{what}: {', '.join(sorted(which)[:5])}" for what, which in leaks.items() if which]
        if self.train.empty:
            found.append("there is nothing to train on")
        if found:
            raise LeakError(f"The cell's clips break the rule of no leak: {'; '.join(found)}")


def cell_clips(
    manifest: Manifest, round_: int, fold: int, accepted: pd.DataFrame | None, train_on_all: bool
) -> CellClips:
    """Return the clips of cell (round, fold); `accepted` are those that the round before accepted, in all folds.

    Round 0 trains on every clip outside the fold, later rounds on the verified and the accepted ones (paper 4.2), these
    under the `label` that they were accepted under; `weight`, if there, says how much they count. Clips whose audio,
    byte for byte, the fold holds out under another id are not trained on.
    """
    given = pd.DataFrame({"label": {}}) if accepted is None else accepted
    clips = manifest.train
    in_fold, verified = clips["fold"] == fold, clips["verified"]
    wanted = verified | (round_ == 0) | clips.index.isin(given.index)
    unheard = ~clips["content_hash"].isin(clips["content_hash"][in_fold])
    train = clips[wanted & (unheard | train_on_all)]
    train = train.assign(label=given["label"].reindex(train.index).where(train.index.isin(given.index), train["label"]))
    if "weight" in given:
        train = train.assign(weight=given["weight"].reindex(train.index).fillna(1.0))
    new = clips.index.isin(verified_by_correction(manifest.corrections))
    valid, corrected = clips[in_fold & verified & ~new], clips[in_fold & verified & new]
    return CellClips(train, valid, clips[in_fold & ~verified], corrected)


class ExcerptSampler(Sampler[Draw]):
    """Draws an epoch: an order, an excerpt of every clip, and, for mixup, a partner excerpt and its share.

    The last batch is filled up with other excerpts of the order's first clips, as in the original: a step with few
    clips, the last one before validation, would leave weights and batch norm to them. A training set smaller than a
    batch is one batch, each clip once.

    One draw is one batch: arrays `row`, `offset`, `label` of (B,), and with mixup `other_row`, `other_offset`,
    `other_label` and `share`, the weight of the first excerpt, from Beta(alpha, alpha) (Zhang et al. 2018). Of clips
    with `weights` (N,), `weight` is what each adds to the batch's loss; over the batch it sums to 1. With `targets`
    (N, C), `target` (B, C) is what is learned instead of the label.
    """

    def __init__(
        self,
        rows: np.ndarray,
        labels: np.ndarray,
        features: Features,
        batch_size: int,
        alpha: float,
        seed_key: tuple[int, ...],
        context: DistributedContext = ALONE,
        weights: np.ndarray | None = None,
        targets: np.ndarray | None = None,
    ) -> None:
        self.rows, self.labels, self.features, self.weights, self.targets = rows, labels, features, weights, targets
        self.batch_size, self.alpha, self.seed_key, self.context = batch_size, alpha, seed_key, context
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Choose the epoch to draw; Lightning calls this before each."""
        self.epoch = epoch

    def __len__(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Draw]:
        rng = generator("epoch", *self.seed_key, self.epoch)
        size = min(self.batch_size, len(self.rows))
        n = len(self) * size
        last_offset = self.features.clip_frames - self.features.excerpt_frames
        order, offsets = rng.permutation(len(self.rows)), rng.integers(0, last_offset, n, endpoint=True)
        order = np.resize(order, n)  # repeats its beginning
        shares = rng.beta(self.alpha, self.alpha, n) if self.alpha > 0 else None
        for begin in range(0, n, size):
            now = slice(begin, begin + size)
            draw: Draw = {"row": self.rows[order[now]], "offset": offsets[now], "label": self.labels[order[now]]}
            if self.targets is not None:
                draw["target"] = self.targets[order[now]]
            weight = None if self.weights is None else self.weights[order[now]]
            if shares is not None:
                partner = rng.permutation(len(draw["row"]))
                draw |= {f"other_{name}": values[partner] for name, values in draw.items()}
                draw["share"] = share = shares[now].astype(np.float32)
                weight = None if weight is None else share * weight + (1 - share) * weight[partner]
            if weight is not None:
                draw |= {"weight": (weight / weight.sum()).astype(np.float32), "total": size}
            yield draw if self.context.world_size == 1 else _part(draw, self.context)


def _part(draw: Draw, context: DistributedContext) -> Draw:
    """Return one rank's clips of a draw, `weight` for each, and `total`, the number of all ranks' clips.

    DDP averages gradients over ranks, however many clips each has: with these weights, the mean of the ranks' sums of
    losses is the mean over all clips. Raises ValueError for a rank without a clip: batch norm would have no mean.
    """
    n = len(draw["row"])
    if n < context.world_size:
        raise ValueError(f"{n} clips cannot be shared out among {context.world_size} ranks")
    own = np.arange(n)[context.rank :: context.world_size]
    weight = context.world_size * draw.get("weight", np.full(n, 1 / n))[own]
    arrays = {name: values[own] for name, values in draw.items() if isinstance(values, np.ndarray)}
    return {**arrays, "weight": weight.astype(np.float32), "total": n}


class WholeClips(Sampler[Draw]):
    """Every clip from its beginning, in the order given; `at` is its position in that order.

    Batches are the same for any number of ranks, and dealt out in turn. So that every rank has as many, some come
    twice: results are to be kept by position.
    """

    def __init__(
        self, rows: np.ndarray, labels: np.ndarray, batch_size: int, context: DistributedContext = ALONE
    ) -> None:
        self.rows, self.labels, self.batch_size, self.context = rows, labels, batch_size, context

    def __len__(self) -> int:
        return -(-self._batches() // self.context.world_size)

    def _batches(self) -> int:
        return -(-len(self.rows) // self.batch_size)

    def __iter__(self) -> Iterator[Draw]:
        for turn in range(len(self)):
            begin = (turn * self.context.world_size + self.context.rank) % self._batches() * self.batch_size
            at = np.arange(begin, min(begin + self.batch_size, len(self.rows)))
            yield {"row": self.rows[at], "offset": np.zeros_like(self.rows[at]), "label": self.labels[at], "at": at}


class _Drawn(Dataset[Any]):
    """Turns a draw into tensors; cuts its excerpts here where the store stays in the host's memory."""

    def __init__(self, excerpts: Excerpts | None, n_frames: int) -> None:
        self.excerpts, self.n_frames = excerpts, n_frames

    def __getitem__(self, draw: Draw) -> Batch:
        arrays = {name: values for name, values in draw.items() if isinstance(values, np.ndarray)}
        batch = {**draw, **{name: torch.from_numpy(values.copy()) for name, values in arrays.items()}}
        return batch if self.excerpts is None else crop_batch(batch, self.excerpts, self.n_frames)


def crop_batch(batch: Batch, excerpts: Excerpts, n_frames: int) -> Batch:
    """Replace rows and offsets of a drawn batch by spectrograms (B, 1, F, n_frames): `x`, and `other_x` for mixup."""
    made = {name: values for name, values in batch.items() if not name.endswith(("row", "offset"))}
    made["x"] = excerpts.crop(batch["row"], batch["offset"], n_frames)
    if "share" in batch:
        made["other_x"] = excerpts.crop(batch["other_row"], batch["other_offset"], n_frames)
    return made


class FoldDataModule(pl.LightningDataModule):
    """Data of one cell: `train` excerpts and `valid` whole clips, cut on the device if the store fits there."""

    def __init__(
        self,
        clips: CellClips,
        classes: list[str],
        store: Store,
        config: TrainConfig,
        mixup_alpha: float,
        seed_key: tuple[int, ...],
    ) -> None:
        super().__init__()
        self.clips, self.classes, self.store, self.config = clips, classes, store, config
        self.mixup_alpha, self.seed_key = mixup_alpha, seed_key
        self._excerpts: Excerpts | None = None  # where excerpts are cut after the transfer to the device

    def setup(self, stage: str) -> None:
        """Decide where excerpts are cut."""
        hardware = self.config.hardware
        shared_by = processes_on_this_machine() if hardware.share_devices else 1
        self._excerpts = self.store.excerpts_on(self._device, hardware.store_on_device, shared_by)

    @property
    def _device(self) -> torch.device:
        assert self.trainer is not None
        return self.trainer.strategy.root_device

    def labels(self, clips: pd.DataFrame) -> np.ndarray:
        """Return class indices of clips."""
        return pd.Categorical(clips["label"], self.classes).codes.astype(np.int64)

    def train_dataloader(self) -> DataLoader[Batch]:
        """Excerpts of the training clips, drawn anew each epoch."""
        rows, labels = self.store.rows(self.clips.train), self.labels(self.clips.train)
        features, batch_size = self.config.features, self.config.training.batch_size
        weights = self._weights()
        taught = None if self.clips.targets is None else self.clips.targets.loc[self.clips.train.index, self.classes]
        targets = None if taught is None else taught.to_numpy(np.float32)
        sampler = ExcerptSampler(
            rows, labels, features, batch_size, self.mixup_alpha, self.seed_key, current(), weights, targets
        )
        return self._loader(sampler, features.excerpt_frames)

    def _weights(self) -> np.ndarray | None:
        """Return how much each training clip counts; None: all the same."""
        labels, weights = self.clips.train["label"], self.clips.train.get("weight")
        if self.config.training.balance == "classes":
            each = 1 / labels.map(labels.value_counts())
            weights = each if weights is None else weights * each
        return None if weights is None else weights.to_numpy(np.float64)

    def val_dataloader(self) -> list[DataLoader[Batch]]:
        """Whole held-out clips: verified ones, and, if asked for, a second loader of unverified ones."""
        parts = [self.clips.valid, *([self.clips.unverified] if self.config.data.validate_unverified else [])]
        batch_size, n_frames = self.config.training.valid_batch_size, self.config.features.clip_frames
        samplers = [WholeClips(self.store.rows(clips), self.labels(clips), batch_size, current()) for clips in parts]
        return [self._loader(sampler, n_frames) for sampler in samplers]

    def _loader(self, sampler: Sampler[Draw], n_frames: int) -> DataLoader[Batch]:
        host = self.store.excerpts if self._excerpts is None else None
        return DataLoader(_Drawn(host, n_frames), batch_size=None, sampler=sampler, pin_memory=host is not None)

    def on_store_device(self, numbers: np.ndarray) -> Tensor:
        """Return rows or offsets on the device where excerpts are cut."""
        return torch.tensor(numbers, device=(self._excerpts or self.store.excerpts).frames.device)

    def excerpts(self, rows: Tensor, offsets: Tensor) -> Tensor:
        """Cut K excerpts of each of B clips, at `offsets` (B, K): (B * K, 1, F, excerpt_frames) on the fit's device."""
        excerpts = self._excerpts or self.store.excerpts
        each = rows.repeat_interleave(offsets.shape[1], output_size=offsets.numel())
        return excerpts.crop(each, offsets.flatten(), self.config.features.excerpt_frames).to(self._device)

    def on_after_batch_transfer(self, batch: Batch, dataloader_idx: int) -> Batch:
        """Cut excerpts on the device."""
        if self._excerpts is None:
            return batch
        assert self.trainer is not None
        features = self.config.features
        n_frames = features.excerpt_frames if self.trainer.training else features.clip_frames
        return crop_batch(batch, self._excerpts, n_frames)

"""The callback between rounds: when a cell's fit ends, its best network votes on the clips that it never saw.

Shapes: K excerpts, C classes.
"""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pandas as pd
import pytorch_lightning as pl
import torch
from numpy.typing import NDArray
from torch import nn

from audiotag.config import Features
from audiotag.data.datamodule import FoldDataModule
from audiotag.distributed import context
from audiotag.errors import LeakError, RunError
from audiotag.files import write_parquet
from audiotag.models.weights import load_weights
from audiotag.randomness import generator
from audiotag.verification.ledger import POSTERIORS, VERIFIED_POSTERIORS


def excerpt_offsets(seed_key: tuple[int, int], clip_id: str, features: Features, excerpts: int) -> NDArray[np.int64]:
    """Draw the first frames (K,) of a clip's excerpts, the same ones whenever `seed_key` (seed, round) and clip are."""
    last = features.clip_frames - features.excerpt_frames
    return generator("consensus", *seed_key, clip_id).integers(0, last, excerpts, endpoint=True)


def clips_per_pass(device: torch.device, excerpts: int) -> int:
    """Return how many clips share a forward pass: one on a CPU, for its cache; 100 excerpts on a GPU."""
    return 1 if device.type == "cpu" else max(1, 100 // excerpts)


class Consensus(pl.Callback):
    """Scores held-out clips by the mean posterior of K random excerpts (paper section 4.2, K = 25).

    Writes `posteriors.parquet` (unverified clips, the ones to decide on) and `verified_posteriors.parquet` (verified
    ones, to calibrate on, and corrected ones) into the cell's folder: `clip_id`, then a column per class.
    """

    def __init__(self, folder: Path, excerpts: int, seed_key: tuple[int, int], advance: Callable[[], None]) -> None:
        self.folder, self.excerpts, self.seed_key, self.advance = folder, excerpts, seed_key, advance

    def on_fit_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Vote with the cell's best weights; raises RunError if they are not those of the best epoch."""
        assert isinstance(pl_module.network, nn.Module)
        best_epoch = trainer.checkpoint_callback.best_epoch()  # type: ignore[union-attr]
        load_weights(pl_module.network, self.folder / "best.ckpt", best_epoch)
        self.vote(trainer, pl_module, trainer.datamodule)  # type: ignore[attr-defined]

    def vote(self, trainer: pl.Trainer, module: pl.LightningModule, data: FoldDataModule) -> None:
        """Score each held-out clip on one rank, write what all ranks found.

        Raises LeakError if a clip to vote on was trained on, RunError if one is not scored just once.
        """
        module.to(trainer.strategy.root_device).eval()
        verified = pd.concat([data.clips.valid, data.clips.corrected])
        groups = [(verified, VERIFIED_POSTERIORS), (data.clips.unverified, POSTERIORS)]
        for clips, name in groups:
            trained_on = set(data.clips.train.index) & set(clips.index)
            if trained_on:
                raise LeakError(f"clips to vote on were trained on: {', '.join(sorted(trained_on)[:5])}")
            own = clips.iloc[context.current().rank :: context.current().world_size]
            scored = pd.concat(context.all_gather(self._score(own, data, trainer, module)))
            if sorted(scored["clip_id"]) != sorted(clips.index):
                raise RunError(f"{self.folder}: the ranks have not scored each held-out clip once")
            if context.is_rank_zero():
                write_parquet(self.folder / name, scored.set_index("clip_id").loc[clips.index].reset_index())

    @torch.inference_mode()
    def _score(
        self, clips: pd.DataFrame, data: FoldDataModule, trainer: pl.Trainer, module: pl.LightningModule
    ) -> pd.DataFrame:
        n, features = len(clips), data.config.features
        offsets = np.empty((n, self.excerpts), np.int64)
        for i, clip_id in enumerate(clips.index):
            offsets[i] = excerpt_offsets(self.seed_key, clip_id, features, self.excerpts)
        where, starts = data.on_store_device(data.store.rows(clips)), data.on_store_device(offsets)
        # Passes of one shape, each clip by itself in them: a posterior must not depend on what else stands in the pass.
        size = clips_per_pass(module.device, self.excerpts)
        means = []
        for begin in range(0, n, size):
            at = torch.arange(begin, begin + size, device=where.device).clamp(max=n - 1)  # the last is filled up
            with trainer.precision_plugin.forward_context():
                logits = module(data.excerpts(where[at], starts[at]))
            means.append(logits.softmax(dim=1).unflatten(0, (size, self.excerpts)).mean(dim=1))
            for _ in range(min(size, n - begin)):
                self.advance()
        # To the CPU once, at the end: a GPU would stand still at every pass.
        posteriors = torch.cat(means)[:n].float().cpu().numpy() if n else np.empty((0, len(data.classes)), np.float32)
        if not np.isfinite(posteriors).all():
            raise RunError(f"{self.folder}: the network gives posteriors that are not finite")
        return pd.DataFrame(posteriors, columns=data.classes).assign(clip_id=clips.index)[["clip_id", *data.classes]]

"""Random changes to training excerpts, as the configuration names them.

Shapes: B clips, F bands, T frames, C classes.
"""

from __future__ import annotations

from typing import Annotated, Protocol

import torch
import torch.nn.functional as F
from pydantic import Field
from torch import Tensor

from audiotag.config import Augment, Features
from audiotag.config.leaf import build
from audiotag.errors import ConfigError

SETTING = "augment.transform"
Count = Annotated[int, Field(ge=0, le=100)]
Width = Annotated[int, Field(ge=0, le=100_000)]


class Augmentation(Protocol):
    """Changes the spectrograms (B, 1, F, T) of a training batch into others of the same shape, after mixup.

    It draws from PyTorch's global generators, which are seeded before every batch by seed, round, fold, epoch and
    batch; so it must keep nothing from batch to batch.
    """

    def __call__(self, x: Tensor, /) -> Tensor:
        """Return the changed spectrograms."""


class Masking:
    """Masks over time and bands (Park et al. 2019), each clip masked by itself, with the batch's mean as value.

    Widths are the largest, in frames and bands; every mask's own is drawn.
    """

    def __init__(
        self, time_masks: Count = 0, time_mask_frames: Width = 0, band_masks: Count = 0, band_mask_bands: Width = 0
    ) -> None:
        if (time_masks and not time_mask_frames) or (band_masks and not band_mask_bands):
            raise ValueError("a mask without a width masks nothing: set time_mask_frames, band_mask_bands")
        from torchaudio.transforms import FrequencyMasking, TimeMasking  # here: it is slow to import and seldom needed

        self.time_mask_frames = time_mask_frames
        self.masks = [TimeMasking(time_mask_frames, iid_masks=True)] * time_masks
        self.masks += [FrequencyMasking(band_mask_bands, iid_masks=True)] * band_masks

    def __call__(self, x: Tensor) -> Tensor:
        """Return masked spectrograms (B, 1, F, T); raises ValueError for masks that are longer than an excerpt."""
        if self.time_mask_frames > x.shape[-1]:
            raise ValueError(
                f"time_mask_frames={self.time_mask_frames} is longer than an excerpt, {x.shape[-1]} frames"
            )
        for mask in self.masks:
            x = mask(x, mask_value=x.mean())
        return x


def build_augmentation(augment: Augment) -> Augmentation | None:
    """Build the configured augmentation, if any; raises ConfigError if it cannot be imported or built."""
    if not augment.transform:
        return None
    augmentation: Augmentation = build(augment.transform, SETTING)
    return augmentation


def check_augmentation(augment: Augment, features: Features, bands: int) -> None:
    """Try the augmentation on random spectrograms; raises ConfigError if it breaks its contract."""
    augmentation = build_augmentation(augment)
    if augmentation is None:
        return
    name, problems = type(augmentation).__name__, []
    with torch.random.fork_rng(devices=[]):
        x = torch.randn(2, 1, bands, features.excerpt_frames)
        try:
            made = augmentation(x.clone())
        except ValueError as error:
            problems.append(f"{SETTING}: {error}")
        else:
            if made.shape != x.shape or made.dtype != x.dtype or not made.isfinite().all():
                problems.append(
                    f"{SETTING}: {name} must make finite {x.dtype} of shape {tuple(x.shape)} of spectrograms like "
                    f"these, not {made.dtype} of shape {tuple(made.shape)}"
                )
    if problems:
        raise ConfigError("The augmentation cannot be used:", problems)


def mixed(batch: dict[str, Tensor], classes: int) -> tuple[Tensor, Tensor]:
    """Return spectrograms (B, 1, F, T) and soft targets (B, C), mixed with their partners if the batch has any.

    Mixup (Zhang et al. 2018): partners and shares are drawn with the epoch's excerpts, by `data.datamodule`.
    """
    x, targets = batch["x"], _targets(batch, "", classes)
    if "share" not in batch:
        return x, targets
    share, other = batch["share"].to(x.dtype), _targets(batch, "other_", classes)
    x = torch.lerp(batch["other_x"], x, share[:, None, None, None])
    return x, torch.lerp(other, targets, share[:, None])


def _targets(batch: dict[str, Tensor], of: str, classes: int) -> Tensor:
    """Return what is learned (B, C): what teachers say, if the batch has it, else the labels."""
    taught = batch.get(f"{of}target")
    return F.one_hot(batch[f"{of}label"], classes).float() if taught is None else taught

"""Settings of front end, network, augmentation and training."""

from __future__ import annotations

import dataclasses
from dataclasses import dataclass, field

from audiotag.config.checks import at_least, one_of, share

FRONT_ENDS = ("v1", "v2")
MIN_FRAMES = 191  # of an excerpt, to survive the network's pools; `models.vgg_gap` counts them


@dataclass(frozen=True)
class Features:
    """From waveform to spectrogram, and how much of it a network sees."""

    front_end: str = "v1"
    """v1: perceptually weighted mel bands, hop 192; v2: logarithmic filter bank, hop 128 (32 kHz, 128 bands)."""
    trim: bool = True
    """Cut silence off both ends as the original's SoX command does; false for live use."""
    excerpt_frames: int = 384
    """Frames of a training excerpt (paper section 3)."""
    clip_frames: int = 3000
    """Frames a clip is repeated or cut to for validation and for drawing excerpts (paper section 2)."""

    def problems(self) -> list[str]:
        found = one_of("features.front_end", self.front_end, FRONT_ENDS)
        found += at_least("features.excerpt_frames", self.excerpt_frames, 1)
        if self.clip_frames < self.excerpt_frames:
            found.append(
                f"features.clip_frames={self.clip_frames} is shorter than "
                f"features.excerpt_frames={self.excerpt_frames}: excerpts are cut from it"
            )
        return found


@dataclass(frozen=True)
class Model:
    """The VGG network with global average pooling (paper figure 2)."""

    name: str = "tiny"
    """Name of the configuration; for people only."""
    width: int = 8
    """Channels of the first convolution; all others are multiples of it."""
    dropout: float = 0.0
    """Dropout after the blocks of the feature part; 0.3 in the paper. Scale it with width."""
    head_dropout: float = 0.0
    """Dropout in the classification part; 0.5 in the paper. Scale it with width."""

    def problems(self) -> list[str]:
        found = at_least("model.width", self.width, 1)
        return found + share("model.dropout", self.dropout) + share("model.head_dropout", self.head_dropout)


@dataclass(frozen=True)
class Augment:
    """Random changes to training excerpts, besides mixup (see `training.*.mixup_alpha`)."""

    time_masks: int = 0
    """Number of time masks per excerpt."""
    time_mask_frames: int = 0
    """Longest time mask, in frames."""
    band_masks: int = 0
    """Number of band masks per excerpt."""
    band_mask_bands: int = 0
    """Widest band mask, in bands of 128."""

    def problems(self) -> list[str]:
        values = dataclasses.asdict(self)
        found = [problem for name, value in values.items() for problem in at_least(f"augment.{name}", value, 0)]
        for many, wide in (("time_masks", "time_mask_frames"), ("band_masks", "band_mask_bands")):
            if values[many] > 0 and values[wide] == 0:
                found.append(f"augment.{many}={values[many]} masks nothing: set augment.{wide}")
        return found


@dataclass(frozen=True)
class Phase:
    """One training schedule: constant learning rate, then linear decay, to zero in the last epoch."""

    epochs: int = 30
    """Passes over the training clips."""
    learning_rate: float = 1e-3
    """Initial learning rate of Adam."""
    decay_from_epoch: int = 5
    """First epoch with a lower learning rate, counted from 0; equal to epochs: no decay."""
    mixup_alpha: float = 0.0
    """Parameter of mixup's Beta distribution; 0 switches mixup off."""
    min_steps: int = 0
    """Fewest optimiser steps: a small data set gets more epochs for it, and the decay starts later in proportion."""

    def problems(self, name: str) -> list[str]:
        found = at_least(f"{name}.epochs", self.epochs, 1) + at_least(f"{name}.mixup_alpha", self.mixup_alpha, 0)
        found += at_least(f"{name}.min_steps", self.min_steps, 0)
        if self.learning_rate <= 0:
            found.append(f"{name}.learning_rate={self.learning_rate} must be above 0")
        if not 0 <= self.decay_from_epoch <= self.epochs:
            found.append(
                f"{name}.decay_from_epoch={self.decay_from_epoch} must lie in 0 to {name}.epochs={self.epochs}"
            )
        if self.epochs == 1 and self.decay_from_epoch == 0:
            found.append(f"{name}.decay_from_epoch=0 leaves the only epoch a learning rate of 0: set it to 1")
        return found


@dataclass(frozen=True)
class Training:
    """How networks are fitted: round 0 is the pre-training, every later round the fine-tuning."""

    batch_size: int = 32
    """Excerpts per optimiser step; an epoch's last step is filled up with clips from its beginning."""
    valid_batch_size: int = 25
    """Whole clips per validation step."""
    pretrain: Phase = field(default_factory=Phase)
    """Round 0: on all clips, verified or not."""
    finetune: Phase = field(default_factory=Phase)
    """Rounds 1 and later: on verified and self-verified clips."""

    def problems(self) -> list[str]:
        found = at_least("training.batch_size", self.batch_size, 2)
        found += at_least("training.valid_batch_size", self.valid_batch_size, 1)
        return found + self.pretrain.problems("training.pretrain") + self.finetune.problems("training.finetune")

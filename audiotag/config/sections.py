"""The sections of a run's settings: how recordings become spectrograms, the network, its training, the rule, and where
the work is done and shown. Those of the data are in `audiotag.config.data`.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Iterator
from typing import Annotated, Any, Literal

from pydantic import Field

from audiotag.config.leaf import Leaf, class_name
from audiotag.config.schema import Settings, settings

V1 = {"_target_": "audiotag.features.spectrogram.MelFrontEnd", "sample_rate_hz": 32_000, "hop_samples": 192}
V1 |= {"n_fft": 1024, "bands": 128}
VGG_GAP = {"_target_": "audiotag.models.vgg_gap.VggGap", "width": 8, "dropout": 0.0, "head_dropout": 0.1}
PROMISE = {"_target_": "audiotag.verification.promise.PromiseRule", "precision": 0.95, "confidence": 0.9}
PROMISE |= {"relabel": False, "relabel_precision": 0.8, "fallback": "calibrated"}
Excerpts = Annotated[int, Field(ge=1, le=10_000)]


@settings
class Features(Settings):
    """From waveform to spectrogram, and how much of it a network sees."""

    name: str | None = None
    """Name of the configuration; for people only; null: the front end's class."""
    front_end: Annotated[dict[str, Any], Leaf()] = Field(V1)
    """Class of the front end (`_target_`) and its arguments: sample_rate_hz, hop_samples, n_fft, bands, or, for
    LogFrontEnd, bands_per_octave, and others."""
    trim: bool = True
    """Cut silence off both ends as the original's SoX command does; false for live use."""
    excerpt_frames: int = Field(384, ge=1, le=100_000)
    """Frames of a training excerpt (paper section 3)."""
    clip_frames: int = Field(3000, ge=1, le=1_000_000)
    """Frames a clip is repeated or cut to for validation and for drawing excerpts (paper section 2)."""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or class_name(self.front_end)

    def clashes(self, prefix: str) -> Iterator[str]:
        if self.clip_frames < self.excerpt_frames:
            excerpt = f"{prefix}excerpt_frames={self.excerpt_frames}"
            yield f"{prefix}clip_frames={self.clip_frames} is shorter than {excerpt}: excerpts are cut from it"


@settings
class Model(Settings):
    """The network."""

    name: str | None = None
    """Name of the configuration; for people only; null: the network's class."""
    network: Annotated[dict[str, Any], Leaf(given=("classes",), offered=("bands",))] = Field(VGG_GAP)
    """Class of the network (`_target_`) and its arguments; for VggGap: width, channels of the first convolution, of
    which all others are multiples; dropout after the blocks and head_dropout, 0.3 and 0.5 in the paper, to be scaled
    with the width."""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or class_name(self.network)


@settings
class Augment(Settings):
    """Random changes to training excerpts, besides mixup (see `training.*.mixup_alpha`)."""

    transform: Annotated[dict[str, Any] | None, Leaf()] = None
    """Class of the change (`_target_`) and its arguments; for Masking: time_masks per excerpt and time_mask_frames, the
    longest; band_masks and band_mask_bands, the widest. null: excerpts as they are."""


@settings
class Phase(Settings):
    """One training schedule: constant learning rate, then linear decay, to zero in the last epoch."""

    epochs: int = Field(30, ge=1, le=100_000)
    """Passes over the training clips."""
    learning_rate: float = Field(1e-3, gt=0, le=10)
    """Initial learning rate of Adam."""
    decay_from_epoch: int = Field(5, le=100_000)
    """First epoch with a lower learning rate, counted from 0; equal to epochs: no decay."""
    mixup_alpha: float = Field(0.0, ge=0, le=100)
    """Parameter of mixup's Beta distribution; 0 switches mixup off."""
    min_steps: int = Field(0, ge=0, le=100_000_000)
    """Fewest optimiser steps: a small data set gets more epochs for it, and the decay starts later in proportion."""
    warmup_share: float = Field(0.0, ge=0, lt=1)
    """Share of the epochs, at the beginning, in which the learning rate rises."""
    head_share: float = Field(0.0, ge=0, le=1)
    """Share of the epochs, at the beginning, in which the network's last layer alone is trained; 1: all of them."""
    head_factor: float = Field(1.0, gt=0, le=1000)
    """Learning rate of the network's last layer, as a multiple of `learning_rate`."""
    layer_decay: float = Field(1.0, gt=0, le=1)
    """Learning rate of a layer by that of the one after it: with less than 1, what is near the input changes least."""

    def clashes(self, prefix: str) -> Iterator[str]:
        decay = f"{prefix}decay_from_epoch={self.decay_from_epoch}"
        if not 0 <= self.decay_from_epoch <= self.epochs:
            yield f"{decay} must lie in 0 to {prefix}epochs={self.epochs}"
        if self.epochs == 1 and self.decay_from_epoch == 0:
            yield f"{decay} leaves the only epoch a learning rate of 0: set it to 1"
        if self.head_share == 1 and self.layer_decay < 1:
            layers = f"{prefix}layer_decay={self.layer_decay}"
            yield f"{layers} has no effect with {prefix}head_share=1, by which the last layer alone is trained"


@settings
class Training(Settings):
    """How networks are fitted: round 0 is the pre-training, every later round the fine-tuning."""

    batch_size: int = Field(32, ge=2, le=100_000)
    """Excerpts per optimiser step; an epoch's last step is filled up with clips from its beginning."""
    valid_batch_size: int = Field(25, ge=1, le=100_000)
    """Whole clips per validation step."""
    loss: Annotated[dict[str, Any], Leaf(given=("reduction",))] = Field(
        {"_target_": "audiotag.models.loss.SoftTargetCrossEntropy"}
    )
    """Class of the loss (`_target_`) and its arguments; for SoftTargetCrossEntropy: label_smoothing, for
    GeneralizedCrossEntropy: q."""
    weights: Literal["none", "p_right"] = "none"
    """From round 1 on, how much a clip counts: all the same (none), or accepted labels as much as they are probable to
    be right by the round before (p_right)."""
    balance: Literal["none", "classes"] = "none"
    """How much a clip counts: all the same (none), or as much as makes all classes count the same (classes)."""
    average: Literal["none", "ema", "swa"] = "none"
    """Whose weights are validated and kept: the network's (none), or their mean over steps, exponential (ema), or over
    the ends of the last quarter of the epochs (swa)."""
    average_decay: float = Field(0.99, gt=0, lt=1)
    """With average=ema: what is left of a step's weights in the mean after the next step."""
    save_every_s: float = Field(60.0, ge=0, le=86_400)
    """Seconds of work that a kill may cost: what going on needs is saved at the end of the first epoch after as many.
    0: at every epoch's end."""
    pretrain: Phase = Phase()
    """Round 0: on all clips, verified or not."""
    finetune: Phase = Phase()
    """Rounds 1 and later: on verified and self-verified clips."""

    def clashes(self, prefix: str) -> Iterator[str]:
        if self.average != "ema" and self.average_decay != Training.average_decay:
            yield f"{prefix}average_decay={self.average_decay} has no effect without {prefix}average=ema"

    def schedule(self, round_: int, n_clips: int) -> Phase:
        """Return the schedule of a round with `n_clips` training clips, its epochs raised to `min_steps`."""
        phase = self.pretrain if round_ == 0 else self.finetune
        epochs = max(phase.epochs, math.ceil(phase.min_steps / math.ceil(n_clips / self.batch_size)))
        decay_from = round(phase.decay_from_epoch * epochs / phase.epochs)
        return dataclasses.replace(phase, epochs=epochs, decay_from_epoch=decay_from)


@settings
class Verification(Settings):
    """How unverified labels are accepted (paper section 4.2)."""

    name: str | None = None
    """Name of the configuration; for people only; null: the rule's class."""
    excerpts: Excerpts = 25
    """Excerpts K per clip whose posteriors are averaged into the consensus."""
    calibrate: bool = False
    """Apply a temperature, fitted per fold on its verified held-out clips, before the rule."""
    rule: Annotated[
        dict[str, Any], Leaf(usual=("agreement", "threshold", "cap", "precision", "confidence", "relabel"))
    ] = Field(PROMISE)
    """Class of the rule (`_target_`) and its arguments; for PromiseRule: precision of the accepted labels, confidence
    of the promise, relabel and relabel_precision, fallback where nothing can be promised; for AgreementRule: agreement,
    the consensus must predict the given label; threshold, which the consensus of the given label must exceed, or null;
    cap, most clips accepted per class over all folds, highest consensus first, or null. CleanlabRule: filter_by too."""

    @property
    def title(self) -> str:
        """What to call it."""
        return self.name or class_name(self.rule)


@settings
class VerificationChange(Settings):
    """What to decide otherwise than the run did."""

    name: str | None = None
    """Name of the configuration; for people only."""
    excerpts: Excerpts | None = None
    """With vote_again=true: excerpts K per clip; null: as many as the run had, whose means are stored."""
    calibrate: bool | None = None
    """Apply a temperature, fitted per fold on its verified held-out clips, before the rule; null: as the run did."""
    rule: Annotated[
        dict[str, Any], Leaf(usual=("agreement", "threshold", "cap", "precision", "confidence", "relabel"))
    ] = Field({})
    """Arguments of the run's rule that are to be others, such as threshold or cap, or another rule with its class."""


@settings
class Logger(Settings):
    """Where a run can be watched besides its own files, which are always written; nothing here changes a result."""

    trackers: Annotated[dict[str, dict[str, Any]], Leaf(several=True)] = Field({})
    """Trackers by name, each a class (audiotag.tracking.trackers.Tracker) and its settings; see logger=."""
    artifacts: list[Literal["manifest", "weights"]] | None = None
    """Files to hand to trackers when the experiment ends: [manifest,weights], or one of them."""


@settings
class Trainer(Settings):
    """How several devices fit one network together."""

    sync_batchnorm: bool = True
    """Normalise over the clips of all devices, as one device would; false: each device over its own."""


@settings
class Hardware(Settings):
    """What the work runs on; nothing here belongs to the experiment."""

    accelerator: Literal["auto", "cpu", "gpu"] = "auto"
    """auto, cpu or gpu."""
    precision: Literal["auto", "32-true", "bf16-mixed", "16-mixed", "bf16-true", "64-true"] = "auto"
    """auto: bfloat16 mixed precision where the processor has it, else float32; or a precision that Lightning names."""
    channels_last: bool | None = None
    """Memory layout of the convolutions; null: channels last on every device (faster on both)."""
    threads: int | None = Field(None, ge=1, le=1024)
    """Threads of each process on a CPU; null: the cores, shared out among the job's processes. Results are equal to
    the bit only for an equal number."""
    workers: int | None = Field(None, ge=0, le=1024)
    """Processes that decode audio and compute spectrograms; null: one per core, 0: none, in this process."""
    store_on_device: bool | None = None
    """Keep the spectrogram store in the GPU's memory; null: where it fits."""
    share_devices: bool = False
    """Start on GPUs that other runs of this user hold; false: wait until enough are free."""
    wait_s: float = Field(180.0, ge=0, le=30 * 86_400)
    """How long to wait, in seconds, for cells of other jobs that nobody works on, before giving up. On a cluster: as
    long as a job may stand in the queue; a file of another machine may be seen a minute late over NFS."""

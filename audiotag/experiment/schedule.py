"""How long a cell is trained."""

from __future__ import annotations

import dataclasses
import math

from audiotag.config import Phase, TrainConfig


def schedule(config: TrainConfig, round_: int, n_clips: int) -> Phase:
    """Return the training schedule of a round with `n_clips` training clips, its epochs raised to `min_steps`."""
    phase = config.training.pretrain if round_ == 0 else config.training.finetune
    steps_per_epoch = math.ceil(n_clips / config.training.batch_size)
    epochs = max(phase.epochs, math.ceil(phase.min_steps / steps_per_epoch))
    decay_from = round(phase.decay_from_epoch * epochs / phase.epochs)
    return dataclasses.replace(phase, epochs=epochs, decay_from_epoch=decay_from)

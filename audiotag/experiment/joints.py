"""The classes that a configuration names, built and tried before hours of work."""

from __future__ import annotations

from audiotag.config import TrainConfig
from audiotag.config.schema import check_leaves
from audiotag.features.spectrogram import front_end_of
from audiotag.models.augmentation import check_augmentation
from audiotag.models.loss import build_loss
from audiotag.models.network import check_network
from audiotag.verification.rules import rule_of


def check_joints(config: TrainConfig) -> None:
    """Build every class that the configuration names, and hold it to its contract.

    Raises ConfigError for a class that cannot be imported, arguments that it does not take, and a contract broken.
    """
    check_leaves(config)
    bands = front_end_of(config.features).bands
    check_network(config.model, config.features, bands)
    check_augmentation(config.augment, config.features, bands)
    for reduction in ("mean", "none"):  # which one training needs, the number of devices decides
        build_loss(config.training, reduction)
    rule_of(config.verification)

"""A cell's weights, read from its checkpoint: whole, of the expected network, and of the expected epoch."""

from __future__ import annotations

import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from audiotag.console import as_called
from audiotag.errors import RunError

PREFIX = "network."  # what the tagger calls it
RESTORE = "put back a copy, or train a run of another name"
# What PyTorch raises for files of every wrong kind.
UNREADABLE = (
    RuntimeError,
    EOFError,
    LookupError,
    TypeError,
    ValueError,
    AttributeError,
    pickle.UnpicklingError,
    OSError,
)


def read_checkpoint(file: Path, restore: str = RESTORE) -> dict[str, Any]:
    """Return what a checkpoint holds, tensors and plain values; raises RunError if it is missing or damaged."""
    if not file.is_file():
        raise RunError(f"{file}: the weights are missing: {restore}")
    try:
        checkpoint: dict[str, Any] = dict(torch.load(file, map_location="cpu", weights_only=True))
        dict(checkpoint["state_dict"])
    except UNREADABLE as error:
        raise RunError(f"{file}: the weights cannot be read ({type(error).__name__}): {restore}") from error
    return checkpoint


def load_weights(network: nn.Module, file: Path, epoch: int | None) -> None:
    """Give a network the weights of a cell's `best.ckpt`.

    `epoch` is the one with the lowest validation loss, by the cell's metrics. Raises RunError if the file is missing,
    damaged, of another network, or of another epoch.
    """
    checkpoint = read_checkpoint(file)
    if epoch is not None and checkpoint.get("epoch") != epoch:
        raise RunError(
            f"{file}: these are the weights of epoch {checkpoint.get('epoch')}, and epoch {epoch} was the best one: "
            + as_called("delete the cell's folder and the later rounds, then start train.py again")
        )
    state = checkpoint["state_dict"]
    try:
        network.load_state_dict({name.removeprefix(PREFIX): value for name, value in state.items()})
    except UNREADABLE as error:
        raise RunError(f"{file}: these are the weights of another network: {RESTORE}") from error

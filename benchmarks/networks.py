"""What networks take: `python -m benchmarks.networks [OPTION ...]`, of every `model=` without arguments.

Parameters, and operations (a multiplication and an addition each) per second of audio, counted by PyTorch while a clip
of `features.clip_frames` passes. Nothing is computed: tensors have shapes alone.
"""

from __future__ import annotations

import sys

import torch
from rich.console import Console
from rich.table import Table
from torch.utils.flop_counter import FlopCounterMode

from audiotag.cli.arguments import groups
from audiotag.cli.composition import compose_config
from audiotag.config import TrainConfig
from audiotag.errors import AudiotagError
from audiotag.features.spectrogram import front_end_of
from audiotag.models.network import ask, build_network

CLASSES = 41


def row(option: str) -> tuple[str, ...]:
    """Return what a `model=` takes, in words."""
    config = compose_config(TrainConfig, [f"model={option}"])
    front_end, frames = front_end_of(config.features), config.features.clip_frames
    seconds = frames / front_end.frames_per_second
    with torch.device("meta"):
        network = build_network(config.model, CLASSES, front_end.bands).eval()
        x = torch.empty(1, 1, front_end.bands, frames)
    with torch.inference_mode(), FlopCounterMode(display=False) as counter:
        ask(network, x)
    parameters = sum(weight.numel() for weight in network.parameters())
    fixed = getattr(network, "fixed_frames", None)
    lengths = f"{fixed} only" if fixed else f"{network.min_frames} or more"
    return (
        option,
        f"{parameters / 1e6:.2f}",
        f"{counter.get_total_flops() / 2e9 / seconds:.3f}",
        f"{config.features.title}, {front_end.bands} bands",
        lengths,
        f"{frames} = {seconds:.1f} s",
    )


def main(options: list[str]) -> None:
    """Print the table."""
    heads = ("model=", "parameters, M", "G operations / s of audio", "front end", "frames", "clips")
    table = Table(*heads, title=f"of {CLASSES} classes")
    for option in options or groups(TrainConfig)["model"]:
        try:
            table.add_row(*row(option))
        except AudiotagError as error:
            table.add_row(option, str(error))
    Console(width=120).print(table)


if __name__ == "__main__":
    main(sys.argv[1:])

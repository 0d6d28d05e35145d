"""A training step on this CPU, by precision and layout: `python -m benchmarks.training_step [width frames]`."""

from __future__ import annotations

import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F

from audiotag.models.vgg_gap import VggGap
from benchmarks.timing import compare


def step(width: int, frames: int, layout: torch.memory_format, mixed: bool) -> Callable[[], None]:
    """Return one optimiser step on 32 random excerpts of 128 bands."""
    torch.manual_seed(0)
    network = VggGap(10, width).to(memory_format=layout)  # type: ignore[call-overload]
    optimizer = torch.optim.Adam(network.parameters())
    x = torch.randn(32, 1, 128, frames).to(memory_format=layout)
    labels = torch.randint(10, (32,))

    def run() -> None:
        with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            loss = F.cross_entropy(network(x), labels)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()

    return run


if __name__ == "__main__":
    width, frames = (int(a) for a in [*sys.argv[1:], *("8", "192")[len(sys.argv) - 1 :]])
    ways = {
        f"{'bf16' if mixed else 'float32'}, {'channels last' if layout is torch.channels_last else 'contiguous'}": step(
            width, frames, layout, mixed
        )
        for mixed in (False, True)
        for layout in (torch.contiguous_format, torch.channels_last)
    }
    compare(f"training step, width {width}, [32, 1, 128, {frames}], {torch.get_num_threads()} threads", ways)

"""A training step by precision and layout: `python -m benchmarks.training_step [WIDTH FRAMES BATCH]`.

On a GPU if there is one. Beside the time, the rate of arithmetic, and its share of a large matrix product's in the
same precision, which no network exceeds; on a GPU with `torch.compile` and `cudnn.benchmark`, too.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch.utils.flop_counter import FlopCounterMode

from audiotag.models.vgg_gap import VggGap
from benchmarks.timing import measure, report

DEVICE = torch.device("cuda" if torch.cuda.is_available() else "cpu")
RUNS = 7
MATRIX = 8192 if DEVICE.type == "cuda" else 1024


def finished() -> None:
    """Wait until the device has done what it was told."""
    if DEVICE.type == "cuda":
        torch.cuda.synchronize()


class Step:
    """Optimiser steps on random excerpts of 128 bands, `repeats` at a call."""

    def __init__(
        self, width: int, frames: int, batch: int, layout: torch.memory_format, mixed: bool, repeats: int
    ) -> None:
        torch.manual_seed(0)
        self.network = VggGap(41, width).to(DEVICE, memory_format=layout)  # type: ignore[call-overload]
        self.optimizer = torch.optim.Adam(self.network.parameters())
        self.x = torch.randn(batch, 1, 128, frames, device=DEVICE).to(memory_format=layout)
        self.labels = torch.randint(41, (batch,), device=DEVICE)
        self.mixed, self.repeats = mixed, repeats
        self.asked: Callable[[torch.Tensor], torch.Tensor] = self.network

    def loss(self) -> torch.Tensor:
        """Return the loss of the batch."""
        with torch.autocast(DEVICE.type, torch.bfloat16, enabled=self.mixed):
            return F.cross_entropy(self.asked(self.x), self.labels)

    def __call__(self) -> None:
        for _ in range(self.repeats):
            self.optimizer.zero_grad()
            self.loss().backward()
            self.optimizer.step()
        finished()

    def floating_point_operations(self) -> int:
        """Count those of one step's convolutions and matrix products."""
        with FlopCounterMode(display=False) as counter:
            self.loss().backward()
        return counter.get_total_flops()


def matrix_rate(dtype: torch.dtype) -> float:
    """Return the rate of a large matrix product, in operations per second."""
    a = torch.randn(MATRIX, MATRIX, device=DEVICE, dtype=dtype)

    def run() -> None:
        for _ in range(5):
            a @ a
        finished()

    return 5 * 2 * MATRIX**3 / statistics.median(measure({"matrix": run}, RUNS)["matrix"])


if __name__ == "__main__":
    width, frames, batch = (int(a) for a in [*sys.argv[1:], *("8", "192", "32")[len(sys.argv) - 1 :]])
    on_gpu = DEVICE.type == "cuda"
    steps: dict[str, Step] = {}
    for mixed in (False, True):
        for layout in (torch.contiguous_format, torch.channels_last):
            order = "channels last" if layout is torch.channels_last else "contiguous"
            steps[f"{'bf16' if mixed else 'float32'}, {order}"] = Step(
                width, frames, batch, layout, mixed, 20 if on_gpu else 1
            )
    if on_gpu:
        compiled = Step(width, frames, batch, torch.channels_last, True, 20)
        compiled.asked = torch.compile(compiled.network)
        steps["bf16, channels last, compiled"] = compiled
    for chosen in (False, True) if on_gpu else (False,):
        torch.backends.cudnn.benchmark = chosen
        seconds = measure({**steps}, RUNS)
        threads = "" if on_gpu else f", {torch.get_num_threads()} threads"
        where = torch.cuda.get_device_name() if on_gpu else "CPU"
        shape = f"width {width}, [{batch}, 1, 128, {frames}]"
        report(f"training step, {shape}, {where}{threads}, cudnn.benchmark={chosen}", seconds)
        rates = {mixed: matrix_rate(torch.bfloat16 if mixed else torch.float32) for mixed in (False, True)}
        for name, step in steps.items():
            rate = step.floating_point_operations() * step.repeats / statistics.median(seconds[name])
            share = rate / rates[step.mixed]
            print(
                f"{name}: {rate / 1e12:.3g} TFLOP/s, {share:.0%} of a matrix product's {rates[step.mixed] / 1e12:.3g}"
            )

"""Predictions per second of a live tagger on one core: `python -m benchmarks.live [PREDICTIONS]`.

The paper's network of width 64 with random weights, windows of 256 frames, a prediction every 10 frames, each from
samples to posteriors: by PyTorch, and by the graph that `python -m audiotag.export window_frames=256` writes; and by
the graph's network alone, for who measures each frame once and has them already. One thread on the last core this
process may use; all ways in turn, on the same windows. Latency is by the clock and, for other programs may use that
core too, in the processor's time.
"""

from __future__ import annotations

import copy
import os
import statistics
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass, replace

import numpy as np
import torch
from numpy.typing import NDArray
from onnx.utils import Extractor
from rich.console import Console
from rich.table import Table

from audiotag.config import Features, Hardware
from audiotag.distributed.hardware import choose_precision
from audiotag.export.graph import ensemble_graph
from audiotag.features.spectrogram import front_end_of
from audiotag.files import write_json
from audiotag.inference.onnx_file import open_session
from audiotag.inference.spectrograms import WindowSpec
from audiotag.models.vgg_gap import VggGap
from benchmarks.timing import FOLDER, processor

PREDICTIONS, CLASSES, WIDTH, FRAMES, EVERY = 200, 41, 64, 256, 10
AIM = "25 predictions per second, 99 % of them within 80 ms"


@dataclass(frozen=True)
class Window:
    """Samples (samples,), and the frames (1, 1, F, T) that are made of them."""

    wave: NDArray[np.float32]
    frames: NDArray[np.float32]


Way = Callable[[Window], NDArray[np.float32]]


def network() -> VggGap:
    """Return the network, with statistics of batch norm that are not trivial."""
    torch.manual_seed(0)
    made = VggGap(CLASSES, WIDTH).eval()
    for module in made.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.running_mean.normal_(0, 0.1)
            module.running_var.uniform_(0.5, 1.5)
    return made


def by_pytorch(model: VggGap, features: Features, dtype: torch.dtype, layout: torch.memory_format) -> Way:
    """Return the prediction by the front end and the network as they are, in a precision."""
    front_end = front_end_of(features)
    own = copy.deepcopy(model).to(dtype, memory_format=layout)

    @torch.inference_mode()
    def predict(window: Window) -> NDArray[np.float32]:
        x = front_end(torch.from_numpy(window.wave)[None]).half().to(dtype)[:, None]
        posteriors: NDArray[np.float32] = own(x.contiguous(memory_format=layout)).softmax(dim=1)[0].numpy()
        return posteriors

    return predict


def by_onnx(model: VggGap, features: Features) -> tuple[Way, Way]:
    """Return the prediction by the exported graph, and by its network from frames that are there already."""
    groups = [(WindowSpec(replace(features, clip_frames=FRAMES)), {(0, 0): model})]
    graph = ensemble_graph(groups, "arithmetic", None, CLASSES)
    session = open_session(graph.SerializeToString(), 1)
    network = Extractor(graph).extract_model(["g0_windows"], ["g0_each"])
    alone = open_session(network.SerializeToString(), 1)
    return (
        lambda window: session.run(["posteriors"], {"wave": window.wave[None]})[0][0],
        lambda window: alone.run(None, {"g0_windows": window.frames})[0][0, 0],
    )


def measure(ways: dict[str, Way], windows: list[Window]) -> dict[str, dict[str, list[float]]]:
    """Return how long each way takes for each window, by the clock and of the processor's time, in seconds."""
    taken: dict[str, dict[str, list[float]]] = {name: {"clock": [], "processor": []} for name in ways}
    for window in windows:
        for name, predict in ways.items():
            clock, used = time.perf_counter(), time.process_time()
            predict(window)
            taken[name]["processor"].append(time.process_time() - used)
            taken[name]["clock"].append(time.perf_counter() - clock)
    return taken


def report(taken: dict[str, dict[str, list[float]]], apart: dict[str, float]) -> None:
    """Print rates, latencies and ratios, and write them as JSON."""
    table = Table("way", "per second", "median, p99 ms", "of the processor's time: per second", "median, p99 ms",
                  "speed against the first", "posteriors differ", title=f"{AIM}?\n{processor()}")  # fmt: skip
    first = next(iter(taken.values()))["processor"]
    rows = []
    for name, by in taken.items():
        median, p99 = ({c: float(np.percentile(by[c], q)) for c in by} for q in (50, 99))
        speeds = [a / b for a, b in zip(first, by["processor"], strict=True)]
        low, high = np.percentile(speeds, [5, 95])
        cells = [cell for c in by for cell in (f"{1 / median[c]:.1f}", f"{1e3 * median[c]:.1f}, {1e3 * p99[c]:.1f}")]
        table.add_row(name, *cells, f"{statistics.median(speeds):.2f} ({low:.2f} to {high:.2f})", f"{apart[name]:.0e}")
        speed = {"median": statistics.median(speeds), "p5": low, "p95": high}
        rows.append({"way": name, "median_s": median, "p99_s": p99, "speed": speed, "differs": apart[name]})
    Console(width=150).print(table)
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(FOLDER / "live.json", {"processor": processor(), "predictions": len(first), "rows": rows})


if __name__ == "__main__":
    os.sched_setaffinity(0, {max(os.sched_getaffinity(0))})
    torch.set_num_threads(1)
    features, model = Features(), network()
    hop, n_samples = front_end_of(features).hop_samples, FRAMES * front_end_of(features).hop_samples - 1
    predictions = int(sys.argv[1]) if len(sys.argv) > 1 else PREDICTIONS
    sound = np.random.default_rng(0).standard_normal(n_samples + predictions * EVERY * hop).astype(np.float32) * 0.1
    waves = [sound[at * EVERY * hop :][:n_samples].copy() for at in range(predictions)]
    windows = [
        Window(w, front_end_of(features)(torch.from_numpy(w)[None])[:, None].half().float().numpy()) for w in waves
    ]
    ways = {
        "PyTorch, float32": by_pytorch(model, features, torch.float32, torch.contiguous_format),
        "PyTorch, float32, channels last": by_pytorch(model, features, torch.float32, torch.channels_last),
    }
    ways["ONNX Runtime, float32"], ways["ONNX Runtime, float32, frames given"] = by_onnx(model, features)
    if choose_precision(Hardware(accelerator="cpu")) == "bf16-mixed":  # the processor has it
        ways["PyTorch, bfloat16, channels last"] = by_pytorch(model, features, torch.bfloat16, torch.channels_last)
    exact = ways["PyTorch, float32"](windows[0])
    apart = {name: float(np.abs(predict(windows[0]) - exact).max()) for name, predict in ways.items()}
    measure(ways, windows[:5])  # to warm up
    report(measure(ways, windows), apart)

"""What labelling costs on a CPU: `python -m benchmarks.inference RUN SOUNDS [HOURS]`.

Labels the files of the folder SOUNDS by all networks of RUN's best round: as `predict.py` does; as the original would,
each clip through librosa's functions, and each network in float32 by itself; and with ONNX Runtime (if it and `onnx`
are installed) in place of PyTorch's networks. One thread, the processor's time. Then a recording of HOURS hours, 1 if
left out, made of the same sounds: times real time, and the memory that it takes beyond what a short one does.
"""

from __future__ import annotations

import importlib.util
import io
import resource
import sys
import tempfile
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import soundfile
import torch
from torch import Tensor, nn

import audiotag
from audiotag.data.store import spectrogram
from audiotag.features.audio import load
from audiotag.models.network import ask
from benchmarks.front_ends import files_of, writeup_version_1
from benchmarks.timing import measure, processor_seconds, report

RUNS = 5
RATE_HZ, MIN_FRAMES = 32_000, 191


def networks_of(tagger: audiotag.Tagger, folds: int) -> list[nn.Module]:
    """Return new networks in float32 of PyTorch's own layout, with the weights of the tagger's."""
    return [tagger.network(fold).to(torch.float32, memory_format=torch.contiguous_format) for fold in range(folds)]


def long_enough(bands: np.ndarray) -> np.ndarray:
    """Repeat a spectrogram (F, T) to the length that the networks need."""
    return np.tile(bands, -(-MIN_FRAMES // bands.shape[1])).astype(np.float32)


def original(networks: list[nn.Module], files: list[Path]) -> Callable[[], None]:
    """Return the labelling of each file by itself, by librosa's functions and float32 networks."""

    @torch.inference_mode()
    def run() -> None:
        for file in files:
            x = torch.from_numpy(long_enough(writeup_version_1(file)))[None, None]
            torch.stack([ask(network, x).softmax(dim=1) for network in networks]).mean(dim=0)

    return run


class Ask(nn.Module):
    """A network without its check of shapes, which cannot be exported."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        self.features, self.head = network.features, network.head

    def forward(self, x: Tensor) -> Tensor:
        """Return posteriors (B, C)."""
        maps: Tensor = self.head(self.features(x))
        return maps.mean(dim=(2, 3)).softmax(dim=1)


def onnx_runtime(run: audiotag.Run, networks: list[nn.Module], files: list[Path]) -> Callable[[], None]:
    """Return the labelling of each file by our front end and ONNX Runtime's networks."""
    import onnxruntime

    options = onnxruntime.SessionOptions()
    options.intra_op_num_threads = options.inter_op_num_threads = 1
    x, axes, sessions = torch.randn(1, 1, 128, 256), {"x": {0: "clips", 3: "frames"}}, []
    for network in networks:
        content = io.BytesIO()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # the older exporter is enough, and needs fewer packages
            torch.onnx.export(
                Ask(network).eval(), (x,), content, input_names=["x"], dynamic_axes=axes, dynamo=False, opset_version=17
            )
        sessions.append(onnxruntime.InferenceSession(content.getvalue(), options, ["CPUExecutionProvider"]))

    def label() -> None:
        for file in files:
            frames, _ = spectrogram(file, run.config.features)
            x = long_enough(frames.T)[None, None]
            np.mean([session.run(None, {"x": x})[0] for session in sessions], axis=0)

    return label


def long_recording(files: list[Path], hours: float, folder: Path) -> Path:
    """Write the sounds of files one after another, over and over."""
    sounds = [load(file, trim_silence=False).wave for file in files]
    with soundfile.SoundFile(folder / "long.wav", "w", RATE_HZ, 1, "PCM_16") as file:
        at = 0
        while file.tell() < hours * 3600 * RATE_HZ:
            file.write(sounds[at % len(sounds)])
            at += 1
    return folder / "long.wav"


def most_memory_mb() -> float:
    """Return the most memory that this process has had."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1e3


if __name__ == "__main__":
    torch.set_num_threads(1)
    run, files = audiotag.open_run(sys.argv[1]), files_of([Path(sys.argv[2])])
    hours = float(sys.argv[3]) if len(sys.argv) > 3 else 1.0
    tagger = audiotag.load(run, accelerator="cpu")
    plain = networks_of(audiotag.load(run, accelerator="cpu", precision="32-true"), run.config.folds)
    ways: dict[str, Callable[[], object]] = {
        "audiotag": lambda: tagger.predict(files),
        "original: librosa, float32": original(plain, files),
    }
    if importlib.util.find_spec("onnxruntime") and importlib.util.find_spec("onnx"):
        ways["ONNX Runtime, our front end"] = onnx_runtime(run, plain, files)
    length_s = sum(load(file, trim_silence=False).duration_s for file in files)
    title = f"{len(files)} files, {length_s:.0f} s of audio, {run.config.folds} networks of {run.config.model.name}"
    report(title, measure(ways, RUNS, processor_seconds))
    with tempfile.TemporaryDirectory() as folder:
        path, before_mb = long_recording(files, hours, Path(folder)), most_memory_mb()
        seconds = measure({"long recording": lambda: tagger.predict(path)}, 1, processor_seconds)
        report(f"{hours:g} hours of audio", seconds)
        times, more_mb = hours * 3600 / seconds["long recording"][0], most_memory_mb() - before_mb
        print(f"{times:.0f} times real time, {more_mb:.0f} MB more")

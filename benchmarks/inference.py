"""What labelling costs on a CPU: `python -m benchmarks.inference RUN SOUNDS [HOURS]`.

Labels the files of the folder SOUNDS by all networks of RUN's best round: as `predict.py` does, and in float32; with
ONNX Runtime (if what exports is installed) in place of PyTorch's networks, which then hear the same windows of the same
spectrograms, and by the exported file alone; and as the original would, each clip through librosa's functions, and each
network in float32 by itself. One thread, the processor's time. Then the same with as many threads as there are cores,
by the clock; and the networks alone, with one window in a pass and with four. Then a recording of HOURS hours, 1 if
left out, made of the same sounds: times real time, and the memory that it takes beyond what a short one does.
"""

from __future__ import annotations

import importlib.util
import resource
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import soundfile
import torch
from torch import nn

import audiotag
from audiotag.config import ExportConfig, PredictConfig
from audiotag.export.write import NEEDED, export
from audiotag.features.audio import load
from audiotag.features.spectrogram import front_end_of
from audiotag.inference.load import Answering, load_tagger
from audiotag.inference.recordings import find_recordings
from audiotag.inference.tagging import Asked, label
from audiotag.models.network import ask
from benchmarks.front_ends import files_of, writeup_version_1
from benchmarks.timing import measure, processor_seconds, report

RUNS = 5
RATE_HZ, MIN_FRAMES = 32_000, 191


def tagger_of(run: str, threads: int | None, **hardware: Any) -> Answering:
    """Return what `predict.py run=RUN` asks on a CPU."""
    on = {"accelerator": "cpu", "threads": threads, **hardware}
    return load_tagger(PredictConfig(run=run, source=".", hardware=on))  # type: ignore[arg-type]


def ways(run: str, exported: Path | None, files: list[Path], threads: int | None) -> dict[str, Callable[[], object]]:
    """Return the labelling of all files, by audiotag and by what might be faster."""
    recordings = find_recordings([str(file) for file in files], ()).recordings

    def labelling(tagger: Answering) -> Callable[[], object]:
        return lambda: tagger.label(recordings)

    found = {
        "audiotag": labelling(tagger_of(run, threads)),
        "audiotag, float32": labelling(tagger_of(run, threads, precision="32-true")),
    }
    if exported is not None:
        file = tagger_of(str(exported), threads)
        found["ONNX Runtime, our front end"] = lambda: label(recordings, file.groups)
        found["exported file, no PyTorch"] = labelling(file)
    return found


def networks_alone(run: str, exported: Path | None, per_pass: int) -> dict[str, Callable[[], object]]:
    """Return asking the networks about eight windows of a clip's length, so many in a pass."""
    taggers = {"audiotag": tagger_of(run, 1), "audiotag, float32": tagger_of(run, 1, precision="32-true")}
    if exported is not None:
        taggers["ONNX Runtime"] = tagger_of(str(exported), 1)
    spec, _ = taggers["audiotag"].groups[0]
    shape = spec.features.clip_frames, front_end_of(spec.features).bands
    windows = [np.random.default_rng(n).normal(-40, 20, shape).astype(np.float16) for n in range(8)]

    def asking(networks: Asked) -> Callable[[], object]:
        return lambda: list(networks.each(windows, per_pass, list(networks.by_key)))

    return {name: asking(tagger.groups[0][1]) for name, tagger in taggers.items()}


def original(networks: list[nn.Module], files: list[Path]) -> Callable[[], None]:
    """Return the labelling of each file by itself, by librosa's functions and float32 networks."""

    @torch.inference_mode()
    def run() -> None:
        for file in files:
            bands = writeup_version_1(file)  # (F, T), repeated to the length that the networks need
            x = torch.from_numpy(np.tile(bands, -(-MIN_FRAMES // bands.shape[1])).astype(np.float32))[None, None]
            torch.stack([ask(network, x).softmax(dim=1) for network in networks]).mean(dim=0)

    return run


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


def main(run: str, sounds: str, hours: float = 1.0) -> None:
    """Print the tables."""
    files, config = files_of([Path(sounds)]), audiotag.open_run(run).config
    length_s = sum(load(file, trim_silence=False).duration_s for file in files)
    title = f"{len(files)} files, {length_s:.0f} s of audio, {config.folds} networks of {config.model.name}"
    with tempfile.TemporaryDirectory() as folder:
        exported = None
        if all(importlib.util.find_spec(name) for name in NEEDED):
            exported, begun = Path(folder) / "run.onnx", processor_seconds()
            export(ExportConfig(run=run, out=str(exported)))
            print(f"exported in {processor_seconds() - begun:.1f} s of the processor's time")
        by_one = ways(run, exported, files, 1)
        plain = tagger_of(run, 1, precision="32-true", channels_last=False)
        by_one["original: librosa, float32"] = original(list(plain.networks().values()), files)
        report(f"{title}: one thread, processor's time", measure(by_one, RUNS, processor_seconds))
        for per_pass in (1, 4):
            alone = networks_alone(run, exported, per_pass)
            report(f"networks alone, {per_pass} windows in a pass", measure(alone, RUNS, processor_seconds))
        by_all = ways(run, exported, files, None)
        report(f"{title}: a thread per core, by the clock", measure(by_all, RUNS, time.perf_counter))
        path, tagger = long_recording(files, hours, Path(folder)), tagger_of(run, 1)
        recordings, before_mb = find_recordings([str(path)], ()).recordings, most_memory_mb()
        begun = processor_seconds()
        tagger.label(recordings)
        times = hours * 3600 / (processor_seconds() - begun)
        print(f"{hours:g} hours of audio: {times:.0f} times real time, {most_memory_mb() - before_mb:.0f} MB more")


if __name__ == "__main__":
    main(*sys.argv[1:3], *map(float, sys.argv[3:4]))

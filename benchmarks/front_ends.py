"""From files to stored spectrograms, on one thread: `python -m benchmarks.front_ends [FILES_OR_FOLDERS] [--runs N]`.

Against the floor, which no program can beat: libsndfile's decoding, soxr, and a real FFT of the same frames; against
librosa's own functions; and against the path of the original, the `sox` program and then the writeup's code. Without
arguments, of embedded sounds. One thread is timed by the processor's time, since the machine may be shared. Then what a
second process brings, by the wall clock, which takes an idle machine. Prints tables, and writes them as JSON.
"""

from __future__ import annotations

import argparse
import functools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import BinaryIO

import librosa
import numpy as np
import soundfile
import soxr
import torch
from threadpoolctl import threadpool_limits

from audiotag.config import Features
from audiotag.data.parallel import parallel_map
from audiotag.data.sources.synthetic import SyntheticSettings, make
from audiotag.data.store import spectrogram
from audiotag.features.audio import RESAMPLING_QUALITY, SAMPLE_RATE_HZ, AudioStream, load
from audiotag.features.spectrogram import N_FFT
from benchmarks.timing import measure, processor_seconds, report

V2 = {"_target_": "audiotag.features.spectrogram.LogFrontEnd"}
FEATURES = {"v1": Features(), "v2": Features(front_end=V2)}
HOPS = {"v1": 192, "v2": 128}
SOX_TRIM = "norm -0.1 silence 1 0.025 0.15% norm -0.1 reverse silence 1 0.025 0.15% reverse"  # writeup
SOUNDS = SyntheticSettings(
    classes=2, verified_per_class=4, unverified_per_class=4, test_per_class=4, shortest_s=2, longest_s=12
)
POOLED_FILES = 300  # the first half while processes start, which takes them seconds


def parts_of_floor(files: list[Path]) -> dict[str, Callable[[], object]]:
    """Return what every path must do: decode the files, resample what trimming keeps of them, transform its frames."""
    kept = []  # wave and rate
    for stream in map(AudioStream, files):
        start, stop = (round(seconds * stream.source_rate_hz) for seconds in stream.kept_s)
        kept.append((np.concatenate([*stream.source()])[start:stop], stream.source_rate_hz))
    resampled = [torch.from_numpy(load(file).wave) for file in files]

    def transform(hop: int) -> None:
        for wave in resampled:
            frames = torch.nn.functional.pad(wave, (0, N_FFT)).unfold(0, N_FFT, hop)[: 1 + len(wave) // hop]
            for some in frames.split(128):  # twice as fast as all at once
                torch.fft.rfft(some)

    return {
        "decode": lambda: [soundfile.read(file, dtype="float32") for file in files],
        "soxr": lambda: [soxr.resample(wave, rate_hz, SAMPLE_RATE_HZ, RESAMPLING_QUALITY) for wave, rate_hz in kept],
        **{f"FFT {name}": functools.partial(transform, hop) for name, hop in HOPS.items()},
    }


def ours(files: list[Path], name: str, stored: BinaryIO) -> None:
    """Compute the spectrograms as the store does, and write them."""
    for file in files:
        frames, _ = spectrogram(file, FEATURES[name])
        stored.write(frames.data)


def writeup_version_1(path: Path) -> np.ndarray:
    """Compute Version 1 with librosa, by the writeup's code."""
    wave, rate_hz = librosa.load(path, sr=SAMPLE_RATE_HZ, mono=True)
    stft = np.abs(
        librosa.stft(wave, n_fft=N_FFT, hop_length=HOPS["v1"], window="hann", center=True, pad_mode="reflect")
    )
    frequencies = librosa.fft_frequencies(sr=rate_hz, n_fft=N_FFT)
    with np.errstate(divide="ignore"):  # the logarithm of 0 Hz
        weighted = librosa.perceptual_weighting(stft**2, frequencies, ref=1.0, amin=1e-10, top_db=99.0)
    return librosa.feature.melspectrogram(S=weighted, sr=rate_hz, n_mels=128)


def librosa_alone(files: list[Path], stored: BinaryIO) -> None:
    """Compute Version 1 without trimming."""
    for file in files:
        np.save(stored, writeup_version_1(file))


def original(files: list[Path], stored: BinaryIO, folder: Path) -> None:
    """Trim by the `sox` program, through a 16-bit file, and compute Version 1."""
    for file in files:
        trimmed = folder / "trimmed.wav"
        subprocess.run(["sox", str(file), str(trimmed), *SOX_TRIM.split()], check=True, capture_output=True)
        np.save(stored, writeup_version_1(trimmed))


def pooled(files: list[Path], workers: int) -> float:
    """Return the seconds that so many processes take for the second half of the files."""
    many = [files[k % len(files)] for k in range(POOLED_FILES)]
    work = functools.partial(spectrogram, features=FEATURES["v1"])
    ends = [time.perf_counter() for _ in parallel_map(work, many, workers, None)]
    return ends[-1] - ends[POOLED_FILES // 2 - 1]


def one_thread(files: list[Path], folder: Path, runs: int) -> None:
    """Print what each front end takes against the floor and, for v1, against the others."""
    with open(folder / "stored", "wb") as stored:
        parts = parts_of_floor(files)
        ways = {f"audiotag {name}": functools.partial(ours, files, name, stored) for name in FEATURES}
        others = {"librosa, untrimmed": functools.partial(librosa_alone, files, stored)}
        if shutil.which("sox"):
            others["original: sox, librosa"] = functools.partial(original, files, stored, folder)
        else:
            print("The original's path is left out: it needs the program sox.")
        seconds = measure(parts | ways | others, runs, processor_seconds)
    length_s = sum(load(file, trim_silence=False).duration_s for file in files)
    for name in FEATURES:
        needed = ["decode", "soxr", f"FFT {name}"]
        floor = [sum(taken) for taken in zip(*(seconds[part] for part in needed), strict=True)]
        shown = [f"audiotag {name}", *(others if name == "v1" else ()), *needed]
        title = f"{name}, one thread, {len(files)} files, {length_s:.0f} s of audio, processor time"
        report(title, {"floor": floor} | {way: seconds[way] for way in shown})


def processes(files: list[Path], runs: int) -> None:
    """Print what a second process brings, run by run in turn."""
    seconds: dict[str, list[float]] = {"one process": [], "two processes": []}
    for _ in range(runs):
        for workers, taken in enumerate(seconds.values(), 1):
            taken.append(pooled(files, workers))
    report(f"v1, {POOLED_FILES // 2} files", seconds)


def files_of(sources: list[Path]) -> list[Path]:
    """Return the sound files among files and in folders."""
    files = [file for source in sources for file in (sorted(source.rglob("*")) if source.is_dir() else [source])]
    return [file for file in files if file.suffix.lower() in (".wav", ".flac", ".ogg", ".mp3")]


if __name__ == "__main__":
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("sources", nargs="*", type=Path, help="sound files, or folders of them")
    parser.add_argument("--runs", type=int, default=5)
    given = parser.parse_args()
    os.environ["OMP_NUM_THREADS"] = "1"  # of the processes that are started
    torch.set_num_threads(1)
    with threadpool_limits(1), tempfile.TemporaryDirectory() as work:
        folder = Path(work)
        files = files_of(given.sources or [make(folder / "sounds", SOUNDS)])
        one_thread(files, folder, given.runs)
        processes(files, max(3, given.runs // 2))

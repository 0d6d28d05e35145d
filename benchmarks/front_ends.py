"""From file to spectrogram, ours against librosa's own functions: `python -m benchmarks.front_ends FILE`.

librosa's side decodes, resamples with soxr and computes the writeup's Version 1; it does not trim.
"""

from __future__ import annotations

import sys
from pathlib import Path

import librosa
import numpy as np
import torch

from audiotag.features.audio import load
from audiotag.features.spectrogram import LogFrontEnd, MelFrontEnd
from benchmarks.timing import compare


def writeup_version_1(path: Path) -> np.ndarray:
    """Compute Version 1 with librosa."""
    wave, rate_hz = librosa.load(path, sr=32000, mono=True)
    power = np.abs(librosa.stft(wave, n_fft=1024, hop_length=192)) ** 2
    weighted = librosa.perceptual_weighting(power, librosa.fft_frequencies(sr=rate_hz, n_fft=1024), top_db=99.0)
    return librosa.feature.melspectrogram(S=weighted, sr=rate_hz, n_mels=128)


def ours(path: Path, name: str, trim: bool) -> torch.Tensor:
    """Compute one front end."""
    with torch.inference_mode():
        return (MelFrontEnd if name == "v1" else LogFrontEnd)()(torch.from_numpy(load(path, trim).wave)[None])


if __name__ == "__main__":
    torch.set_num_threads(1)
    file = Path(sys.argv[1])
    ways = {
        "librosa v1, untrimmed": lambda: writeup_version_1(file),
        "audiotag v1, untrimmed": lambda: ours(file, "v1", False),
        "audiotag v1, trimmed": lambda: ours(file, "v1", True),
        "audiotag v2, trimmed": lambda: ours(file, "v2", True),
    }
    compare(f"one thread, {file.name}, {load(file).duration_s:.1f} s of audio", ways)

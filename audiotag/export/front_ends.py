"""The front ends in ONNX's operators: what `audiotag.features.spectrogram` computes of whole waves, in half precision.

Shapes: B clips, F bands, T frames, K Fourier bins.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import torch

from audiotag.errors import AudiotagError
from audiotag.export.nodes import Part, exported
from audiotag.features.log_mel import KaldiFrontEnd, LogMelFrontEnd
from audiotag.features.spectrogram import FourierFrontEnd, FrontEnd, LogFrontEnd, MelFrontEnd

# A wave that is too short is filled up. The padding of each version follows, then `magnitudes` (B, K, T).
FILLED = """
length = Shape<start=1, end=2>(wave)
too_few = Sub(least, length)
missing = Max(too_few, zero)
filling = Concat<axis=0>(zeros, missing)
filled = Pad(wave, filling)
"""
MIRRORED = """
padded = Pad<mode="reflect">(filled, half)
"""
ZEROS_BEHIND = """
padded = Pad(filled, behind)
"""
FILLED_BEHIND = """
filled_length = Shape<start=1, end=2>(filled)
rounded_up = Add(filled_length, all_but_one)
frames = Div(rounded_up, hop)
steps = Sub(frames, one)
to_last = Mul(steps, hop)
to_end = Add(to_last, n_fft)
lacking = Sub(to_end, filled_length)
behind = Concat<axis=0>(zeros, lacking)
whole = Pad(filled, behind)
sizes = Abs(whole)
peak = ReduceMax<keepdims=1>(sizes, one)
divisor = Max(peak, tiny)
padded = Div(whole, divisor)
"""
# A convolution with windowed cosines and sines: beside ONNX's STFT as fast, and nearer to the transform in float64.
MAGNITUDES = """
channel = Unsqueeze(padded, one)
spectrum = Conv<strides=[{hop}]>(channel, basis)
real, imaginary = Split<axis=1, num_outputs=2>(spectrum)
real_squared = Mul(real, real)
imaginary_squared = Mul(imaginary, imaginary)
powers = Add(real_squared, imaginary_squared)
magnitudes = Sqrt(powers)
"""
MEL = """
loudest = ReduceMax<keepdims=1>(magnitudes, bins_and_frames)
quietest = Mul(loudest, top)
floor = Max(quietest, least_magnitude)
clamped = Max(magnitudes, floor)
logs = Log(clamped)
decibels = Mul(logs, to_decibels)
summed = MatMul(bank, decibels)
bands = Add(summed, offset)
"""
POWERS = """
summed = MatMul(bank, powers)
raised = {raised}
logs = Log(raised)
centred = Sub(logs, mean)
bands = Div(centred, std)
"""
LOG = """
summed = MatMul(bank, magnitudes)
above = Add(summed, one_float)
logs = Log(above)
bands = Mul(logs, to_log10)
"""
HALF = """
half_precision = Cast<to=10>(bands)
{spectrogram} = Cast<to=1>(half_precision)
"""


def front_end_part(front_end: FrontEnd, prefix: str) -> Part:
    """Return the part from `wave` (B, samples) to `{prefix}spectrogram` (B, F, T).

    Raises AudiotagError if a front end of one's own has operators that ONNX lacks, or is no module of PyTorch.
    """
    made, half = f"{prefix}spectrogram", HALF.format(spectrogram=f"{prefix}spectrogram")
    written = _written(front_end)
    if written is not None:
        text, constants = written
        return Part.of(text + half, constants, f"{prefix}f_", keep=("wave", made))
    if not isinstance(front_end, torch.nn.Module):
        name = f"{type(front_end).__module__}.{type(front_end).__qualname__}"
        raise AudiotagError(f"{name} cannot be written as ONNX: PyTorch does not compute it, but {front_end}")
    wave = torch.linspace(-1, 1, 2 * front_end.sample_rate_hz).reshape(2, -1)
    bands = exported(front_end, wave, {0: "clips", 1: "samples"}, f"{prefix}f/", "wave", f"{prefix}f_bands")
    return bands + Part.of(half, {}, f"{prefix}f_", keep=(made,))


def _written(front_end: FrontEnd) -> tuple[str, dict[str, Any]] | None:
    """Return the text and the constants of a front end that ships, None for one's own, of which nothing is known."""
    match front_end:
        case MelFrontEnd() if type(front_end) is MelFrontEnd:
            return _mel(front_end)
        case LogFrontEnd() if type(front_end) is LogFrontEnd:
            return _log(front_end)
        case LogMelFrontEnd() if type(front_end) in (LogMelFrontEnd, KaldiFrontEnd):
            return _log_mel(front_end)
    return None


def _mel(front_end: MelFrontEnd) -> tuple[str, dict[str, Any]]:
    constants = _shared(front_end) | {
        "half": np.array([0, front_end.n_fft // 2] * 2, np.int64),
        "bins_and_frames": np.array([1, 2], np.int64),
        "top": np.float32(10 ** (-front_end.top_db / 20)),
        "least_magnitude": np.float32(front_end.min_power**0.5),
        "to_decibels": np.float32(20 / math.log(10)),
        "offset": front_end.offset_db.numpy(),
    }
    return FILLED + MIRRORED + MAGNITUDES.format(hop=front_end.hop_samples) + MEL, constants


def _log(front_end: FourierFrontEnd) -> tuple[str, dict[str, Any]]:
    constants = _shared(front_end) | {
        "hop": np.array([front_end.hop_samples], np.int64),
        "all_but_one": np.array([front_end.hop_samples - 1], np.int64),
        "n_fft": np.array([front_end.n_fft], np.int64),
        "tiny": np.finfo(np.float32).tiny,
        "one_float": np.float32(1),
        "to_log10": np.float32(1 / math.log(10)),
    }
    return FILLED + FILLED_BEHIND + MAGNITUDES.format(hop=front_end.hop_samples) + LOG, constants


def _log_mel(front_end: LogMelFrontEnd) -> tuple[str, dict[str, Any]]:
    behind = front_end.n_fft - front_end.window_samples
    constants = _shared(front_end) | {
        "half": np.array([0, front_end.n_fft // 2] * 2, np.int64),
        "behind": np.array([0, 0, 0, behind], np.int64),
        "floor": np.float32(front_end.floor),
        "mean": np.float32(front_end.mean),
        "std": np.float32(front_end.std),
    }
    padded = ZEROS_BEHIND if isinstance(front_end, KaldiFrontEnd) else MIRRORED
    raised = "Add(summed, floor)" if front_end.floor_is == "added" else "Max(summed, floor)"
    powers = MAGNITUDES.format(hop=front_end.hop_samples).rpartition("magnitudes = ")[0]
    return FILLED + padded + powers + POWERS.format(raised=raised), constants


def _shared(front_end: FourierFrontEnd) -> dict[str, Any]:
    bins, samples = np.arange(front_end.n_bins), np.arange(front_end.n_fft)
    angles = 2 * np.pi * (np.outer(bins, samples) % front_end.n_fft) / front_end.n_fft  # (K, n_fft)
    waves = np.concatenate((np.cos(angles), -np.sin(angles))) * front_end.window.double().numpy()
    # What is done to a frame before its window is linear: the convolution does it, too.
    waves = waves @ front_end._prepared(torch.eye(front_end.n_fft, dtype=torch.float64)).numpy().T
    return {
        "least": np.array([front_end.min_samples], np.int64),
        "zero": np.array([0], np.int64),
        "one": np.array([1], np.int64),
        "zeros": np.zeros(3, np.int64),
        "basis": waves.astype(np.float32)[:, None],  # (2 K, 1, n_fft)
        "bank": front_end.filterbank[:, : front_end.n_bins].numpy(),  # (F, K)
    }

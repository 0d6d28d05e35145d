"""Checkpoints in the layouts of public ones: names and shapes as theirs, values made up.

Written down here from the papers' code, not taken from the networks that load them.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch import Tensor

Shapes = Iterator[tuple[str, tuple[int, ...]]]
MOBILENET_V3 = [
    (16, 3, 16, 16, False, 1), (16, 3, 64, 24, False, 2), (24, 3, 72, 24, False, 1), (24, 5, 72, 40, True, 2),
    (40, 5, 120, 40, True, 1), (40, 5, 120, 40, True, 1), (40, 3, 240, 80, False, 2), (80, 3, 200, 80, False, 1),
    (80, 3, 184, 80, False, 1), (80, 3, 184, 80, False, 1), (80, 3, 480, 112, True, 1), (112, 3, 672, 112, True, 1),
    (112, 5, 672, 160, True, 2), (160, 5, 960, 160, True, 1), (160, 5, 960, 160, True, 1),
]  # fmt: skip


def panns(width: int = 64, classes: int = 527, seed: int = 0, device: str = "cpu") -> dict[str, dict[str, Tensor]]:
    """Return what Cnn14_mAP=0.431.pth holds, with another number of channels."""
    return {"model": _filled(_cnn14(width, classes), seed, device)}


def efficientat(width: float, classes: int = 527, seed: int = 0, device: str = "cpu") -> dict[str, Tensor]:
    """Return what mn04_as_mAP_432.pt (width 0.4) and its like hold."""
    return _filled(_mobilenet(width, classes), seed, device)


def _filled(shapes: Shapes, seed: int, device: str) -> dict[str, Tensor]:
    generator = torch.Generator().manual_seed(seed)
    found = {}
    for name, shape in shapes:
        if device == "meta":
            found[name] = torch.empty(shape, device="meta", dtype=None if shape else torch.int64)
        elif not shape:
            found[name] = torch.tensor(100)
        elif len(shape) > 1:  # as a fresh network has them: what comes in reaches the end
            found[name] = torch.randn(shape, generator=generator) * (2 / math.prod(shape[1:])) ** 0.5
        elif name.endswith(("running_var", "weight")):
            found[name] = 0.5 + torch.rand(shape, generator=generator)
        else:
            found[name] = 0.1 * torch.randn(shape, generator=generator)
    return found


def _norm(name: str, n: int) -> Shapes:
    for part in ("weight", "bias", "running_mean", "running_var"):
        yield f"{name}.{part}", (n,)
    yield f"{name}.num_batches_tracked", ()


def _linear(name: str, n_in: int, n_out: int) -> Shapes:
    yield f"{name}.weight", (n_out, n_in)
    yield f"{name}.bias", (n_out,)


def _cnn14(width: int, classes: int) -> Shapes:
    yield "spectrogram_extractor.stft.conv_real.weight", (513, 1, 1024)
    yield "spectrogram_extractor.stft.conv_imag.weight", (513, 1, 1024)
    yield "logmel_extractor.melW", (513, 64)
    yield from _norm("bn0", 64)
    n_in = 1
    for k in range(6):
        n_out, block = width * 2**k, f"conv_block{k + 1}"
        yield f"{block}.conv1.weight", (n_out, n_in, 3, 3)
        yield f"{block}.conv2.weight", (n_out, n_out, 3, 3)
        yield from _norm(f"{block}.bn1", n_out)
        yield from _norm(f"{block}.bn2", n_out)
        n_in = n_out
    yield from _linear("fc1", n_in, n_in)
    yield from _linear("fc_audioset", n_in, classes)


def _eighths(wanted: float) -> int:
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest if nearest >= 0.9 * wanted else nearest + 8


def _convolution(name: str, n_in: int, n_out: int, kernel: int = 1) -> Shapes:
    yield f"{name}.0.weight", (n_out, n_in, kernel, kernel)
    yield from _norm(f"{name}.1", n_out)


def _mobilenet(width: float, classes: int) -> Shapes:
    n_out = _eighths(16 * width)
    yield from _convolution("features.0", 1, n_out, 3)
    for number, (of_in, kernel, of_between, of_out, excites, _) in enumerate(MOBILENET_V3, 1):
        n_in, between, n_out = (_eighths(n * width) for n in (of_in, of_between, of_out))
        block, part = f"features.{number}.block", 0
        if between != n_in:
            yield from _convolution(f"{block}.0", n_in, between)
            part = 1
        yield from _convolution(f"{block}.{part}", 1, between, kernel)
        if excites:
            part += 1
            yield from _linear(f"{block}.{part}.conc_se_layers.0.fc1", between, _eighths(between // 4))
            yield from _linear(f"{block}.{part}.conc_se_layers.0.fc2", _eighths(between // 4), between)
        yield from _convolution(f"{block}.{part + 1}", between, n_out)
    yield from _convolution("features.16", n_out, 6 * n_out)
    yield from _linear("classifier.2", 6 * n_out, _eighths(1280 * width))
    yield from _linear("classifier.5", _eighths(1280 * width), classes)

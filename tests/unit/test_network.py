"""The network is the one of DESIGN.md, "Numbers of the original", and says what it cannot hear."""

from __future__ import annotations

import math

import numpy as np
import pytest
import torch
from torch import nn

from audiotag.errors import AudiotagError
from audiotag.models.network import ask
from audiotag.models.vgg_gap import VggGap, count_numbers

BANDS = 128


def spectrograms(n_frames: int, n_bands: int = BANDS, clips: int = 2) -> torch.Tensor:
    generator = torch.Generator().manual_seed(n_frames)
    return torch.randn(clips, 1, n_bands, n_frames, generator=generator)


def evaluated(width: int = 2, classes: int = 5) -> VggGap:
    torch.manual_seed(width)
    return VggGap(classes, width, 0.3, 0.5).eval()


@pytest.mark.parametrize(("width", "numbers"), [(64, 14_865_124), (48, 8_369_492)])
def test_network_has_the_numbers_of_the_paper(width, numbers):
    """DESIGN: for 41 classes, parameters and batch-norm statistics."""
    assert count_numbers(VggGap(41, width)) == numbers


def expected_layers(n: int, classes: int) -> list[tuple]:
    """Write out DESIGN's list of layers for width n."""
    layers: list[tuple] = []

    def conv(
        n_in: int, n_out: int, size: int = 3, stride: int = 1, padding: int | None = None, relu: bool = True
    ) -> None:
        layers.append(("conv", n_in, n_out, size, stride, size // 2 if padding is None else padding))
        layers.append(("norm", n_out))
        if relu:
            layers.append(("relu",))

    def pool(bands: int, frames: int) -> None:
        layers.append(("pool", (bands, frames)))

    def drop(p: float) -> None:
        layers.append(("drop", p))

    conv(1, n, 5, 2), conv(n, n), pool(2, 2), drop(0.3)
    conv(n, 2 * n), conv(2 * n, 2 * n), pool(2, 2), drop(0.3)
    conv(2 * n, 4 * n), drop(0.3), conv(4 * n, 4 * n), drop(0.3), conv(4 * n, 6 * n), drop(0.3)
    conv(6 * n, 6 * n), pool(2, 2), drop(0.3)
    conv(6 * n, 8 * n), conv(8 * n, 8 * n), pool(1, 2), drop(0.3)
    conv(8 * n, 8 * n), conv(8 * n, 8 * n), pool(1, 2), drop(0.3)
    conv(8 * n, 8 * n, padding=0), drop(0.5)
    conv(8 * n, 8 * n, 1), drop(0.5)
    conv(8 * n, classes, 1, relu=False)
    return layers


def described(layer: nn.Module) -> tuple:
    match layer:
        case nn.Conv2d():
            assert layer.bias is None
            assert layer.kernel_size[0] == layer.kernel_size[1]
            return (
                "conv",
                layer.in_channels,
                layer.out_channels,
                layer.kernel_size[0],
                layer.stride[0],
                layer.padding[0],
            )
        case nn.BatchNorm2d():
            assert (layer.eps, layer.momentum, layer.affine) == (1e-4, 0.1, True)
            return ("norm", layer.num_features)
        case nn.ReLU():
            return ("relu",)
        case nn.Dropout():
            return ("drop", layer.p)
        case nn.MaxPool2d():
            size = layer.kernel_size if isinstance(layer.kernel_size, tuple) else (layer.kernel_size,) * 2
            assert layer.stride == layer.kernel_size
            return ("pool", size)
    raise AssertionError(f"an unexpected layer: {layer}")


@pytest.mark.parametrize("width", [3, 48, 64])
def test_network_has_its_layers_in_order(width):
    layers = [layer for layer in VggGap(7, width, 0.3, 0.5).modules() if not list(layer.children())]
    assert [described(layer) for layer in layers] == expected_layers(width, 7)


def test_network_is_he_initialised():
    """Normal, with variance 2 / fan-in (He et al. 2015)."""
    torch.manual_seed(0)
    for layer in VggGap(41, 48).modules():
        if isinstance(layer, nn.Conv2d):
            fan_in = layer.in_channels * layer.kernel_size[0] * layer.kernel_size[1]
            n, std = layer.weight.numel(), math.sqrt(2 / fan_in)
            assert layer.weight.std().item() == pytest.approx(std, rel=5 / math.sqrt(2 * n))
            assert abs(layer.weight.mean().item()) < 5 * std / math.sqrt(n)
            assert (layer.weight.abs() > 3 * std).any() or n < 5000, "not cut off, so not uniform"


@pytest.mark.parametrize("width", [1, 4, 8, 48])
def test_network_knows_the_fewest_frames(width):
    network = evaluated(width)
    assert network.min_frames == 191
    assert network(spectrograms(191)).shape == (2, 5)
    with pytest.raises(AudiotagError, match=r"190 frames is too small.* 191 frames or more"):
        network(spectrograms(190))


def test_network_takes_no_fewer_frames_and_bands_than_it_says():
    """One less, past the check, and a layer has nothing left to work on."""
    network = evaluated()
    frames, bands = network.min_frames, network.min_bands
    assert network(spectrograms(frames, bands)).shape == (2, 5)
    for fewer in (spectrograms(frames - 1, bands), spectrograms(frames, bands - 1)):
        with pytest.raises(RuntimeError, match=r"Kernel size|too small"):
            network.head(network.features(fewer))
    with pytest.raises(AudiotagError, match=f"it needs {bands} bands and {frames} frames or more"):
        network(spectrograms(frames, bands - 1))


def test_network_accepts_any_longer_spectrogram():
    network = evaluated()
    rng = np.random.default_rng(0)
    with torch.inference_mode():
        for n_frames in [192, 193, 384, 3000, *rng.integers(194, 3000, 12)]:
            logits = network(spectrograms(int(n_frames), clips=1))
            assert logits.shape == (1, 5)
            assert logits.isfinite().all()


def test_network_logits_are_the_mean_of_the_class_maps():
    """The mean comes first, and the softmax is left to whoever wants posteriors."""
    network = evaluated()
    x = spectrograms(700)
    with torch.inference_mode():
        maps = network.head(network.features(x))
        assert maps.shape[2:] > (1, 1)
        torch.testing.assert_close(network(x), maps.mean(dim=(2, 3)))
        assert (maps < 0).any(), "the class maps have no ReLU"
        assert not torch.allclose(network(x).sum(dim=1), torch.ones(2))


def test_network_can_be_trained_on_a_single_shortest_excerpt():
    """The last batch of an epoch may be one clip: batch norm still has several values per channel."""
    network = evaluated(2).train()
    network(spectrograms(191, clips=1)).sum().backward()
    assert all(p.grad is not None and p.grad.isfinite().all() for p in network.parameters())


def test_network_keeps_the_clips_of_a_batch_apart():
    network = evaluated()
    x = spectrograms(300, clips=3)
    with torch.inference_mode():
        together = network(x)
        for at in range(3):
            torch.testing.assert_close(network(x[at : at + 1])[0], together[at], rtol=1e-4, atol=1e-5)


def test_network_of_half_precision_answers_in_single_precision():
    network = torch.nn.Sequential(torch.nn.Flatten(), torch.nn.Linear(6, 3)).eval()
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16):
        x = torch.randn(2, 1, 2, 3)
        assert network(x).dtype == torch.bfloat16
        assert ask(network, x).dtype == torch.float32


def test_network_agrees_over_memory_layouts_and_precisions():
    network = evaluated(4)
    x = spectrograms(300)
    with torch.inference_mode():
        plain = network(x)
        last = network.to(memory_format=torch.channels_last)(x.to(memory_format=torch.channels_last))
        torch.testing.assert_close(last, plain, rtol=1e-4, atol=1e-5)
        with torch.autocast("cpu", torch.bfloat16):
            narrow = network(x)
    assert narrow.dtype == torch.float32, "the mean over the maps is not left to half precision"
    torch.testing.assert_close(narrow, plain, rtol=0.1, atol=0.1)

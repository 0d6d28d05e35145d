"""Parts of an exported graph, each against what it stands for."""

from __future__ import annotations

import dataclasses

import numpy as np
import pytest
import torch
from torch import Tensor, nn

from audiotag.config import Features
from audiotag.errors import AudiotagError
from audiotag.features.spectrogram import FrontEnd, LogFrontEnd, MelFrontEnd
from audiotag.inference.fusion import Fusion, average
from audiotag.inference.spectrograms import WindowSpec, cut_windows, place_windows
from audiotag.models.network import ask

onnx = pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from audiotag.export.front_ends import front_end_part  # noqa: E402 - they need onnx
from audiotag.export.graph import _fused, _Posteriors, _windows  # noqa: E402
from audiotag.export.nodes import Part, exported, model_of  # noqa: E402
from audiotag.inference.onnx_file import open_session  # noqa: E402


def run(part: Part, given: dict[str, np.ndarray], outputs: dict[str, int]) -> list[np.ndarray]:
    """Compute outputs, named with their numbers of axes, of a part's inputs, whose axes may all have any size."""
    shapes = {name: [f"{name}{axis}" for axis in range(value.ndim)] for name, value in given.items()}
    named = {name: [f"{name}{axis}" for axis in range(axes)] for name, axes in outputs.items()}
    return open_session(model_of(part, shapes, named).SerializeToString(), 1).run(list(outputs), given)


@pytest.mark.parametrize(
    "front_end",
    [
        MelFrontEnd(),
        LogFrontEnd(),
        MelFrontEnd(sample_rate_hz=16_000, hop_samples=100, n_fft=600, bands=40, fmin_hz=50, fmax_hz=7000, top_db=40),
        LogFrontEnd(sample_rate_hz=22_050, hop_samples=441, n_fft=2048, bands_per_octave=12, fmax_hz=8000),
    ],
    ids=["v1", "v2", "mel", "log"],
)
def test_front_end_in_the_graph_makes_the_same_spectrogram(front_end: FrontEnd) -> None:
    """Of half precision few values are rounded otherwise; a tone and a pause have those that are cut off below."""
    part = front_end_part(front_end, "p_")
    rng = np.random.default_rng(0)
    for n in (1, 512, 513, 514, 1024, 20_000, 40_123):
        waves = rng.standard_normal((2, n)).astype(np.float32) * 0.1
        waves[1] = 0.9 * np.sin(np.arange(n) / 7) * (np.arange(n) % 9000 < 4000)
        (made,) = run(part, {"wave": waves}, {"p_spectrogram": 3})
        expected = front_end(torch.from_numpy(waves)).half().float().numpy()
        assert made.shape == expected.shape == (2, front_end.bands, front_end.n_frames(n))
        step = np.spacing(np.abs(expected).astype(np.float16).clip(min=1)).astype(np.float32)
        assert (np.abs(made - expected) <= 2 * step).all()
        assert np.mean(np.abs(made - expected) > 1e-5) < 0.02
    (silent,) = run(part, {"wave": np.zeros((1, 3000), np.float32)}, {"p_spectrogram": 3})
    np.testing.assert_array_equal(silent, front_end(torch.zeros(1, 3000)).half().float())


@pytest.mark.parametrize("n_frames", [1, 5, 29, 30, 31, 60, 100])
@pytest.mark.parametrize(("excerpts", "cut"), [(0, False), (0, True), (1, False), (3, False), (4, True)])
def test_windows_in_the_graph_are_those_of_the_program(n_frames: int, excerpts: int, cut: bool) -> None:
    spec = WindowSpec(dataclasses.replace(Features(), clip_frames=30, excerpt_frames=8), excerpts, cut)
    x = np.random.default_rng(n_frames).standard_normal((2, 5, n_frames)).astype(np.float16)
    part = Part.of(*_windows(spec, 5), "p_")
    windows, weights = run(part, {"p_spectrogram": x.astype(np.float32)}, {"p_windows": 4, "p_weights": 1})
    placed = place_windows(n_frames, spec)
    expected = np.stack([[*cut_windows([clip.T], n_frames, placed)] for clip in x])  # (B, W, T, F)
    np.testing.assert_array_equal(windows, expected.transpose(0, 1, 3, 2).reshape(-1, 1, 5, placed.length))
    np.testing.assert_allclose(weights, placed.weights, rtol=1e-6)


@pytest.mark.parametrize("mean", ["arithmetic", "geometric"])
@pytest.mark.parametrize("learned", [False, True])
def test_means_in_the_graph_are_those_of_the_program(mean: str, learned: bool) -> None:
    """Three networks, of which the first and the last are folds of one member."""
    each = np.random.default_rng(0).dirichlet(np.ones(4) / 3, (3, 2)).astype(np.float32)  # (K, B, C)
    each[0, 0] = [0, 0, 0, 1]
    fusion = Fusion(np.array([0.7, 0.6]), np.array([0.1, 0, -0.2, 0.3])) if learned else None
    (made,) = run(_fused([[0, 2], [1]], mean, fusion), {"each": each}, {"posteriors": 2})
    members = np.stack([average(each[[0, 2]], mean), each[1]]).astype(np.float64)
    np.testing.assert_allclose(made, average(members, mean) if fusion is None else fusion.fuse(members), atol=1e-6)


class OneSize(nn.Module):
    """What takes 8 frames only, as vision transformers do."""

    fixed_frames = 8

    def __init__(self) -> None:
        super().__init__()
        self.linear = nn.Linear(5 * 8, 3)

    def forward(self, x: Tensor) -> Tensor:
        return self.linear(x.flatten(1))


def test_networks_of_a_single_size_hear_windows_in_the_graph() -> None:
    networks, x = [OneSize(), OneSize()], torch.randn(4, 1, 5, 30)
    part = exported(_Posteriors(networks), x[:2], {0: "windows"}, "p_", "x", "each")
    (made,) = run(part, {"x": x.numpy()}, {"each": 3})
    with torch.inference_mode():
        expected = torch.stack([ask(network, x).softmax(dim=1) for network in networks])
    np.testing.assert_allclose(made, expected, atol=1e-6)


class Unheard(nn.Module):
    """What ONNX has no operator for."""

    def forward(self, x: Tensor) -> Tensor:
        return torch.linalg.eigvals(x).abs()


class Deciding(nn.Module):
    """What depends on the values of its input."""

    def forward(self, x: Tensor) -> Tensor:
        return x + 1 if x.mean() > 0 else x


@pytest.mark.parametrize(("module", "why"), [(Unheard(), "there is no operator for aten.linalg_ei"), (Deciding(), "")])
def test_modules_that_cannot_be_written_are_named(module: nn.Module, why: str) -> None:
    name = f"{type(module).__module__}.{type(module).__qualname__}"
    with pytest.raises(AudiotagError, match=rf"{name} cannot be written as ONNX: {why}\w"):
        exported(module, torch.rand(2, 3, 3), {0: "clips"}, "p_", "x", "y")

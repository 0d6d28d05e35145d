"""Networks that were trained elsewhere as front ends: what they say to windows is what their runtimes say of them."""

from __future__ import annotations

import shutil
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from audiotag.config import Features
from audiotag.config.leaf import pinned
from audiotag.errors import AudiotagError, ConfigError
from audiotag.features.embedding import EmbeddingFrontEnd
from audiotag.features.spectrogram import MelFrontEnd, as_seen, front_end_of, front_end_settings
from audiotag.models.embedding_head import EmbeddingHead
from audiotag.models.network import build_network
from tests.tiny_networks import drawn, write_onnx, write_tflite

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

TARGET = "audiotag.features.embedding.EmbeddingFrontEnd"
RATE, WINDOW, HOP = 8_000, 800, 300
MEL = {"_target_": "audiotag.features.spectrogram.MelFrontEnd", "sample_rate_hz": RATE, "hop_samples": 80, "bands": 12}


@pytest.fixture(scope="module")
def file(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A network that takes (1, 800) samples."""
    return write_onnx(tmp_path_factory.mktemp("networks") / "net.onnx", [1, WINDOW], WINDOW)


def settings(file: Path, **more: Any) -> dict[str, Any]:
    given = {"sample_rate_hz": RATE, "hop_s": HOP / RATE, "output": "embedding", **more}
    return {"file": str(file), **{name: value for name, value in given.items() if value is not None}}


def opened(file: Path, **more: Any) -> EmbeddingFrontEnd:
    return EmbeddingFrontEnd(**settings(file, **more))


def features(file: Path, **more: Any) -> Features:
    return Features(front_end={"_target_": TARGET, **settings(file, **more)})


def wave(n_samples: int, seed: int = 0) -> np.ndarray:
    return np.random.default_rng(seed).uniform(-1, 1, n_samples).astype(np.float32)


def first_layer(x: np.ndarray) -> np.ndarray:
    """Return the tensor `embedding` (F,) of what a network takes, by NumPy."""
    return np.tanh(x.reshape(1, -1) @ drawn(0, x.size, 8))[0]


def expected(sound: np.ndarray) -> np.ndarray:
    """Return the vectors (F, T) of a wave that is no shorter than a window: the last one ends with it."""
    starts = [*range(0, len(sound) - WINDOW, HOP), len(sound) - WINDOW]
    return np.stack([first_layer(sound[start : start + WINDOW]) for start in starts], axis=1)


# Windows


@pytest.mark.parametrize("n_samples", [800, 801, 1_100, 1_101, 3_000, 3_200, 3_201])
def test_embedding_has_the_vectors_of_windows_of_which_the_last_ends_with_the_wave(file, n_samples):
    front_end, waves = opened(file), np.stack([wave(n_samples), wave(n_samples, seed=1)])
    found = front_end(torch.from_numpy(waves))
    assert tuple(found.shape) == (2, 8, front_end.n_frames(n_samples))
    np.testing.assert_allclose(found, np.stack([expected(one) for one in waves]), atol=1e-5)


@pytest.mark.parametrize("n_samples", [1, 7, 799])
def test_embedding_repeats_what_is_shorter_than_a_window(file, n_samples):
    sound = wave(n_samples)
    found = opened(file)(torch.from_numpy(sound)[None])[0]
    assert tuple(found.shape) == (8, 1)
    np.testing.assert_allclose(found[:, 0], first_layer(np.resize(sound, WINDOW)), atol=1e-5)


@pytest.mark.parametrize("hop", [HOP, WINDOW, 1_000])
@pytest.mark.parametrize("n_samples", [1, 799, 800, 801, 1_800, 5_000])
@pytest.mark.parametrize("block", [1, 299, 300, 10_000])
def test_embedding_is_the_same_in_pieces(file, hop, n_samples, block):
    front_end, sound = opened(file, hop_s=hop / RATE), torch.from_numpy(wave(n_samples))
    pieces = torch.cat(list(front_end.stream(sound.split(block))), dim=1)
    assert torch.equal(pieces, front_end(sound[None])[0])
    assert pieces.shape[1] == front_end.n_frames(n_samples)


def test_embedding_of_no_samples_is_refused(file):
    with pytest.raises(AudiotagError, match="without samples"):
        list(opened(file).stream([]))


# Layouts and files


@pytest.mark.parametrize("takes", [[WINDOW], [1, 1, WINDOW], ["batch", WINDOW, 1], ["batch", "samples"], ["samples"]])
def test_embedding_takes_waves_in_any_usual_shape(tmp_path, takes):
    window = {} if WINDOW in takes else {"window_s": 0.1}
    front_end = opened(write_onnx(tmp_path / "net.onnx", takes, WINDOW), **window)
    assert front_end.window_samples == WINDOW
    np.testing.assert_allclose(front_end(torch.from_numpy(wave(900))[None])[0], expected(wave(900)), atol=1e-5)


@pytest.mark.parametrize(
    ("takes", "upright"),
    [
        ([1, 1, 12, 9], True),
        (["batch", 9, 12], False),
        ([1, 12, 9, 1], True),
        ([9, 12], False),
        (["batch", "channel", "bands", "frames"], True),
        (["batch", 1, "frames", 12], False),
    ],
)
def test_embedding_takes_the_spectrograms_of_another_front_end(tmp_path, takes, upright):
    file = write_onnx(tmp_path / "net.onnx", takes, 12 * 9)
    window = {} if 9 in takes else {"window_s": 640 / RATE}
    front_end = opened(file, front_end=MEL, sample_rate_hz=None, **window)
    assert (front_end.sample_rate_hz, front_end.window_samples) == (RATE, 640)  # of which mel makes 9 frames
    sound = wave(640)
    mel = MelFrontEnd(sample_rate_hz=RATE, hop_samples=80, bands=12)(torch.from_numpy(sound)[None])[0].numpy()
    found = front_end(torch.from_numpy(sound)[None])[0, :, 0]
    np.testing.assert_allclose(found, first_layer(mel if upright else mel.T), atol=1e-4)


def test_embedding_takes_what_a_file_says_itself(tmp_path):
    file = write_onnx(tmp_path / "net.onnx", [1, WINDOW], WINDOW, sample_rate="16000")
    front_end = opened(file, sample_rate_hz=None, hop_s=None, output=None)
    assert (front_end.sample_rate_hz, front_end.hop_samples, front_end.bands) == (16_000, WINDOW // 2, 3)


def test_embedding_takes_a_named_output_of_several(tmp_path):
    file = write_onnx(tmp_path / "net.onnx", [1, WINDOW], WINDOW, several=True)
    assert (opened(file).bands, opened(file, output="classes").bands) == (8, 3)


def test_embedding_takes_tflite_and_a_tensor_inside(tmp_path):
    pytest.importorskip("ai_edge_litert")
    file, sound = write_tflite(tmp_path / "net.tflite", WINDOW), wave(WINDOW)
    inside = sound @ drawn(0, WINDOW, 8)
    np.testing.assert_allclose(opened(file)(torch.from_numpy(sound)[None])[0, :, 0], inside, atol=1e-5)
    classes = opened(file, output=None)(torch.from_numpy(sound)[None])[0, :, 0]
    np.testing.assert_allclose(classes, inside @ drawn(1, 8, 3), atol=1e-5)
    with pytest.raises(ValueError, match=r"no output=embeding \(did you mean embedding\?\)"):
        opened(file, output="embeding")


REFUSED: list[tuple[list[Any], dict[str, Any], str]] = [
    ([1, WINDOW], {"sample_rate_hz": None}, "does not say at which rate it hears: set sample_rate_hz="),
    ([1, WINDOW], {"window_s": 1.0}, r"window_s=1.0, but .*net.onnx takes \(1, 800\): leave it out"),
    ([1, "n"], {}, r"takes \(1, None\), windows of any length: set window_s="),
    ([1, "n"], {"window_s": 0.2}, "cannot be asked about a window"),
    ([1, 2, 400], {}, r"takes \(1, 2, 400\), which is no wave: .* front_end="),
    ([1, 20, 40], {"front_end": MEL}, "which are no spectrograms of 12 bands"),
    ([1, 12, 20], {"front_end": MEL, "sample_rate_hz": 16_000}, "sample_rate_hz=16000, but .* 8000 Hz: leave it out"),
    ([1, WINDOW], {"output": "embeding"}, r"has no output=embeding \(did you mean embedding\?\)"),
    ([1, WINDOW], {"output": "shape"}, "has no output=shape"),
    ([1, WINDOW], {"hop_s": 1e-9}, "less than a sample"),
]


@pytest.mark.parametrize(("takes", "more", "message"), REFUSED, ids=range(len(REFUSED)))
def test_embedding_says_what_does_not_fit(tmp_path, takes, more, message):
    size = int(np.prod([n for n in takes if isinstance(n, int)])) if "n" not in takes else WINDOW
    with pytest.raises(ConfigError, match=message):
        front_end_of(features(write_onnx(tmp_path / "net.onnx", takes, size), **more))


def test_embedding_says_which_outputs_there_are(tmp_path):
    file = write_onnx(tmp_path / "net.onnx", [1, WINDOW], WINDOW, several=True)
    with pytest.raises(ValueError, match=r"its outputs are embedding \(1, 8\), classes \(1, 3\)"):
        opened(file, output=None)


@pytest.mark.parametrize("name", ["net.onnx", "net.tflite"])
def test_embedding_refuses_a_file_that_holds_no_network(tmp_path, name):
    if name.endswith("tflite"):
        pytest.importorskip("ai_edge_litert")
    (tmp_path / name).write_bytes(b"no network" * 10)
    with pytest.raises(ValueError, match="is damaged"):
        opened(tmp_path / name)


def test_embedding_refuses_values_beyond_half_precision(tmp_path):
    file = tmp_path / "net.onnx"
    write_onnx(file, [1, WINDOW], WINDOW)
    model = onnx.load(file)
    model.graph.node[2].op_type = "Exp"
    onnx.save(model, file)
    front_end = opened(file)
    with pytest.raises(AudiotagError, match="embedding is not finite, or beyond 65504"):
        front_end(1e3 * torch.from_numpy(wave(WINDOW))[None])


@pytest.mark.parametrize(
    ("package", "ending"), [("onnxruntime", "onnx"), ("onnx", "onnx"), ("ai_edge_litert", "tflite")]
)
def test_embedding_names_a_package_that_is_missing(file, tmp_path, monkeypatch, package, ending):
    shutil.copy(file, tmp_path / f"net.{ending}")
    for name in [name for name in sys.modules if name.partition(".")[0] == package]:
        monkeypatch.delitem(sys.modules, name)
    monkeypatch.setitem(sys.modules, package, None)
    with pytest.raises(AudiotagError, match=r"not installed: pip install -e '.\[embedding\]'"):
        opened(tmp_path / f"net.{ending}")


# Which file it is


def test_embedding_is_known_by_what_the_file_holds(file, tmp_path):
    moved = Path(shutil.copy(file, tmp_path / "moved.onnx"))
    other = write_onnx(tmp_path / "other.onnx", [1, WINDOW], WINDOW, seed=5)
    key = front_end_settings(features(file))
    assert front_end_settings(features(moved)) == key
    assert front_end_settings(features(other)) != key
    assert front_end_settings(features(file, hop_s=0.05)) != key
    assert front_end_settings(Features(front_end=pinned(features(moved).front_end | {"sha256": None}, "a"))) == key


def test_embedding_refuses_another_file_than_the_runs(file, tmp_path, monkeypatch):
    moved = Path(shutil.copy(file, tmp_path / "net.onnx"))
    monkeypatch.chdir(tmp_path)
    leaf = pinned({**features(Path("net.onnx")).front_end, "sha256": None}, "features.front_end")
    assert (leaf["file"], len(leaf["sha256"])) == (str(moved), 64)
    assert pinned(leaf, "features.front_end") == leaf
    front_end_of(Features(front_end=leaf))
    write_onnx(moved, [1, WINDOW], WINDOW, seed=5)
    assert pinned(leaf, "features.front_end") == leaf, "the file of a run is not taken for granted anew"
    with pytest.raises(ValueError, match="is another file than before: its SHA-256 was"):
        EmbeddingFrontEnd(**{name: value for name, value in leaf.items() if name != "_target_"})
    moved.unlink()
    with pytest.raises(ValueError, match=r"there is no such file\. Put it back, or a link to it"):
        EmbeddingFrontEnd(**{name: value for name, value in leaf.items() if name != "_target_"})
    with pytest.raises(ConfigError, match=r"a\.file=net\.onnx: there is no such file"):
        pinned({"file": "net.onnx", "sha256": None}, "a")


def test_leaf_without_a_checksum_is_left_as_it_is():
    assert pinned({"_target_": "a.B", "file": "nowhere"}, "a") == {"_target_": "a.B", "file": "nowhere"}


def test_recording_is_shown_by_frequencies(file):
    own = Features()
    assert as_seen(own) is own
    assert as_seen(features(file)).front_end == own.front_end


# The head


def head(**more: Any) -> EmbeddingHead:
    torch.manual_seed(0)
    return EmbeddingHead(classes=3, bands=8, **more).eval()


@pytest.mark.parametrize("more", [{}, {"hidden": 5, "dropout": 0.5}])
def test_head_hears_the_mean_of_windows_whatever_their_scale(more):
    x = torch.randn(2, 1, 8, 4)
    network = head(**more)
    assert tuple(network(x).shape) == (2, 3)
    torch.testing.assert_close(network(1_000 * x), network(x))
    torch.testing.assert_close(network(x[..., [2, 0, 3, 1]].repeat(1, 1, 1, 3)), network(x))
    assert network(torch.zeros(2, 1, 8, 1)).isfinite().all()


def test_head_is_not_thrown_by_a_value_that_never_varied():
    network, x = head().train(), torch.randn(500, 1, 8, 1)
    x[:, :, 0] = 0
    for _ in range(50):
        network(x)
    network.eval()
    assert network.scale(torch.ones(1, 8, 1, 1))[0, 0].abs().item() < 50


def test_network_is_given_the_number_of_bands_if_it_takes_that():
    from audiotag.config import Model

    own = {"_target_": "audiotag.models.embedding_head.EmbeddingHead"}
    network = build_network(Model(network=own), 3, 8)
    assert network(torch.randn(2, 1, 8, 4)).shape == (2, 3)
    with pytest.raises(ConfigError, match=r"model\.network\.bands is set by the program"):
        build_network(Model(network={**own, "bands": 8}), 3, 8)
    build_network(Model(), 3, 128)  # takes none

"""Checkpoints: every tensor is accounted for, whatever is wrong is listed at once, and no code is run."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from torch import Tensor, nn

from audiotag.errors import ConfigError
from audiotag.models.cnn14 import Cnn14
from audiotag.models.mobilenet import MobileNet
from audiotag.models.pretrained import load_start, read_tensors
from audiotag.models.vgg_gap import VggGap
from tests.checkpoints import efficientat, panns

WIDTH = 2


def saved(content: object, file: Path) -> str:
    torch.save(content, file)
    return str(file)


def cnn14(file: str | None, classes: int = 5, **settings: int) -> Cnn14:
    torch.manual_seed(1)
    return Cnn14(classes, file, width=settings.get("width", WIDTH))


def problems(network: nn.Module) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_start(network)
    return caught.value.problems


@pytest.mark.parametrize("n_parameters", [80_753_615])
def test_cnn14_has_the_tensors_of_the_public_file(n_parameters):
    """Their number as published by PANNs; names and shapes as its code gives them."""
    with torch.device("meta"):
        network = Cnn14(527)
    assert sum(weight.numel() for weight in network.parameters()) == n_parameters
    shapes = {name: value.shape for name, value in panns(64, device="meta")["model"].items()}
    front_end = {name for name in shapes if name.startswith(("spectrogram_extractor.", "logmel_extractor."))}
    assert {name: value.shape for name, value in network.state_dict().items()} == {
        name: shape for name, shape in shapes.items() if name not in front_end
    }
    bytes_ = sum(value.numel() * value.element_size() for value in panns(64, device="meta")["model"].values())
    assert 0 < 327_428_481 - bytes_ < 20_000, "the size of the public file, of which the rest is names"


@pytest.mark.parametrize(("width", "millions"), [(0.4, 0.983), (0.5, 1.43), (1.0, 4.88), (2.0, 17.91), (4.0, 68.43)])
def test_mobilenet_has_as_many_parameters_as_the_public_ones(width, millions):
    with torch.device("meta"):
        network = MobileNet(527, width)
    assert sum(weight.numel() for weight in network.parameters()) / 1e6 == pytest.approx(millions, abs=0.006)


@pytest.mark.parametrize("width", [0.4, 1.0])
def test_mobilenet_has_the_tensors_of_the_public_file(width):
    with torch.device("meta"):
        network = MobileNet(527, width)
    public = efficientat(width, device="meta")
    assert {n: v.shape for n, v in network.state_dict().items()} == {n: v.shape for n, v in public.items()}


@pytest.mark.parametrize("way", ["whole", "state_dict", "module.", "safetensors"])
def test_network_starts_from_the_checkpoint_but_for_its_head(tmp_path, way, capsys):
    content, file = panns(WIDTH), tmp_path / "checkpoint.pth"
    if way == "state_dict":
        content = {"epoch": 3, "state_dict": content["model"]}
    if way == "module.":
        content = {f"module.{name}": value for name, value in content["model"].items()}
    if way == "safetensors":
        save_file = pytest.importorskip("safetensors.torch").save_file
        file = tmp_path / "checkpoint.safetensors"
        save_file(content["model"], file)
    else:
        torch.save(content, file)
    network, as_it_was = cnn14(str(file)), cnn14(None)
    assert load_start(network)
    public = panns(WIDTH)["model"]
    for name, value in network.state_dict().items():
        expected = as_it_was.state_dict()[name] if name.startswith("fc_audioset.") else public[name]
        assert torch.equal(value, expected), name
    said = " ".join(capsys.readouterr().out.split())
    assert "all but those of its head (fc_audioset.bias, fc_audioset.weight)" in said


def test_mobilenet_starts_from_the_checkpoint_but_for_its_head(tmp_path):
    public = efficientat(0.1)
    network = MobileNet(5, 0.1, saved(public, tmp_path / "mn.pt"))
    assert load_start(network)
    kept = {name for name, value in network.state_dict().items() if name in public and torch.equal(value, public[name])}
    assert public.keys() - kept == {"classifier.5.weight", "classifier.5.bias"}


def test_vgg_gap_starts_from_a_run_of_ones_own_but_for_its_class_maps(tmp_path):
    content = {"state_dict": {f"network.{name}": value + 1 for name, value in VggGap(3, 2).state_dict().items()}}
    file = saved(content, tmp_path / "best.ckpt")
    assert load_start(VggGap(5, 2)) is None
    network = VggGap(5, 2, checkpoint=file)
    assert load_start(network)
    theirs = content["state_dict"]
    own = {name for name, value in network.state_dict().items() if not torch.equal(value, theirs[f"network.{name}"])}
    maps, norm = network.layers()[-1]
    assert own == {*maps.state_dict(prefix="head.8."), *norm.state_dict(prefix="head.9.")}
    assert len(problems(VggGap(5, 3, checkpoint=file))) > 30


def test_start_is_told_by_a_digest_that_the_head_does_not_change(tmp_path):
    file = saved(panns(WIDTH), tmp_path / "a.pth")
    assert load_start(cnn14(None)) is load_start(nn.Linear(2, 2)) is None
    found = load_start(cnn14(file))
    assert found == load_start(cnn14(file, classes=3)) == load_start(cnn14(file).to(memory_format=torch.channels_last))
    assert load_start(cnn14(saved(panns(WIDTH, seed=1), tmp_path / "b.pth"))) != found


def test_checkpoint_that_does_not_fit_is_refused_with_every_tensor(tmp_path):
    content = panns(WIDTH)["model"]
    del content["fc1.bias"], content["conv_block3.bn1.running_var"], content["bn0.num_batches_tracked"]
    content |= {"conv_block7.conv1.weight": torch.zeros(2, 3), "bn0.weight": torch.ones(128)}
    content["conv_block1.conv1.weight"] = torch.full_like(content["conv_block1.conv1.weight"], torch.nan)
    network = cnn14(saved({"model": content}, tmp_path / "a.pth"))
    before = {name: value.clone() for name, value in network.state_dict().items()}
    assert problems(network) == [
        "bn0.weight is (128,) in the file, and (64,) in the network",
        "conv_block1.conv1.weight has values that are not finite",
        "conv_block3.bn1.running_var (8,) is missing in the file",
        "conv_block7.conv1.weight (2, 3) is in the file, but not in the network",
        "fc1.bias (64,) is missing in the file",
    ]
    assert all(torch.equal(value, before[name]) for name, value in network.state_dict().items()), "nothing is loaded"


def test_checkpoint_of_another_network_is_refused(tmp_path):
    file = saved(efficientat(0.1), tmp_path / "mn.pt")
    found = problems(cnn14(file))
    assert len(found) > 300
    assert "features.0.0.weight (8, 1, 3, 3) is in the file, but not in the network" in found
    assert len(problems(cnn14(saved(panns(WIDTH), tmp_path / "a.pth"), width=WIDTH + 1))) > 30


class Code:
    """What a pickle can do: run a function when it is read."""

    def __init__(self, mark: Path) -> None:
        self.mark = mark

    def __reduce__(self) -> tuple[object, tuple[str, ...]]:
        return Path.touch, (self.mark,)


def test_checkpoint_never_runs_code(tmp_path):
    mark = tmp_path / "code was run"
    file = saved({"model": panns(WIDTH)["model"], "extra": Code(mark)}, tmp_path / "a.pth")
    (problem,) = problems(cnn14(file))
    assert "cannot be read as tensors alone" in problem
    assert not mark.exists()
    pickle.loads(pickle.dumps(Code(mark)))
    assert mark.exists(), "it would have been run"


@pytest.mark.parametrize("content", [b"", b"PK\x03\x04", b"text", "list", "numbers", "empty"])
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_checkpoint_that_is_none_is_refused(tmp_path, content, suffix):
    file = tmp_path / f"a{suffix}"
    if isinstance(content, bytes):
        file.write_bytes(content)
    else:
        torch.save({"list": [torch.zeros(2)], "numbers": {"a": 1, "b": torch.zeros(2)}, "empty": {}}[content], file)
    with pytest.raises(ConfigError, match=r"checkpoint=.*a\.\w+ cannot be read as tensors alone"):
        read_tensors(str(file))


def test_checkpoint_that_is_not_there_is_refused(tmp_path):
    with pytest.raises(ConfigError, match=r"model\.network\.checkpoint=.*none\.pth: there is no such file"):
        load_start(cnn14(str(tmp_path / "none.pth")))


@pytest.mark.parametrize("make", [cnn14, lambda file: MobileNet(5, 0.1, file)], ids=["cnn14", "mobilenet"])
def test_layers_hold_every_weight_and_end_with_the_head(make):
    network = make(None)
    layers = network.layers()
    held: list[Tensor] = [weight for layer in layers for weight in layer.parameters()]
    assert {id(weight) for weight in held} == {id(weight) for weight in network.parameters()}
    assert len(held) == len(list(network.parameters()))
    assert isinstance(layers[-1], nn.Linear)
    assert layers[-1].out_features == 5


# What they compute, of the weights of a checkpoint


def test_cnn14_computes_what_the_paper_describes():
    weights = panns(WIDTH)["model"]
    network = cnn14(None, classes=527)
    network.load_state_dict({name: weights[name] for name in network.state_dict()})
    x = torch.randn(2, 1, 64, 70)
    with torch.inference_mode():
        found = network.eval()(x)
        maps = x[:, 0].transpose(1, 2)  # (B, T, F)
        maps = _normalised(maps.transpose(1, 2), weights, "bn0").transpose(1, 2)[:, None]
        for k in range(1, 7):
            for n in (1, 2):
                maps = F.conv2d(maps, weights[f"conv_block{k}.conv{n}.weight"], padding=1)
                maps = F.relu(_normalised(maps, weights, f"conv_block{k}.bn{n}"))
            maps = maps if k == 6 else F.avg_pool2d(maps, 2)
        over_bands = maps.mean(dim=-1)
        vector = over_bands.max(dim=-1).values + over_bands.mean(dim=-1)
        vector = F.relu(F.linear(vector, weights["fc1.weight"], weights["fc1.bias"]))
        expected = F.linear(vector, weights["fc_audioset.weight"], weights["fc_audioset.bias"])
    torch.testing.assert_close(found, expected, rtol=1e-4, atol=1e-4)


def _normalised(x: Tensor, weights: dict[str, Tensor], name: str) -> Tensor:
    shape = [1, -1] + [1] * (x.ndim - 2)
    mean, variance, scale, shift = (
        weights[f"{name}.{part}"].reshape(shape) for part in ("running_mean", "running_var", "weight", "bias")
    )
    return (x - mean) / (variance + 1e-5).sqrt() * scale + shift


def test_mobilenet_computes_what_that_of_torchvision_does_with_sigmoids():
    """EfficientAT began with torchvision's MobileNetV3: its excitations end with a sigmoid, and are linear layers."""
    models = pytest.importorskip("torchvision.models")
    weights = efficientat(1.0)
    network = MobileNet(527, 1.0).eval()
    network.load_state_dict(weights)
    other = models.mobilenet_v3_large(num_classes=527).eval()
    other.features[0][0] = nn.Conv2d(1, 16, 3, 2, 1, bias=False)
    for module in other.modules():
        if hasattr(module, "scale_activation"):
            module.scale_activation = nn.Sigmoid()
    named = {name.replace("conc_se_layers.0.", ""): value for name, value in weights.items()}
    named = {name.replace("classifier.2.", "classifier.0.").replace("classifier.5.", "classifier.3."): value
             for name, value in named.items()}  # fmt: skip
    expected_shapes = {name: value.shape for name, value in other.state_dict().items()}
    other.load_state_dict({name: value.reshape(expected_shapes[name]) for name, value in named.items()})
    x = torch.randn(2, 1, 128, 50, dtype=torch.float64)
    with torch.inference_mode():
        torch.testing.assert_close(network.double()(x), other.double()(x))

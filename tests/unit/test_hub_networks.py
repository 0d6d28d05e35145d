"""Networks of timm and of transformers: built from settings alone, started from files, refused in a sentence."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn

from audiotag.errors import AudiotagError, ConfigError
from audiotag.models.pretrained import load_start

TINY = {"hidden_size": 8, "num_hidden_layers": 2, "num_attention_heads": 2, "intermediate_size": 16, "max_length": 64}
AST = {"model_type": "audio-spectrogram-transformer", **TINY, "num_mel_bins": 32}


@pytest.fixture(autouse=True)
def _alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nobody is asked for anything."""
    constants = pytest.importorskip("huggingface_hub.constants")
    monkeypatch.setattr(constants, "HF_HUB_OFFLINE", True)


def problems(network: nn.Module) -> list[str]:
    with pytest.raises(ConfigError) as caught:
        load_start(network)
    return caught.value.problems


# timm


def timm_network(name: str = "test_efficientnet", classes: int = 3, **settings: Any) -> nn.Module:
    pytest.importorskip("timm")
    from audiotag.models.timm_network import TimmNetwork

    torch.manual_seed(0)
    return TimmNetwork(classes, name, **settings)


def timm_file(folder: Path, name: str = "test_efficientnet", **more: torch.Tensor) -> str:
    """Weights of a network for pictures of three colours and 1000 classes, as timm publishes them."""
    import timm

    torch.manual_seed(5)
    torch.save({**timm.create_model(name).state_dict(), **more}, folder / "timm.pth")
    return str(folder / "timm.pth")


def test_timm_starts_from_a_file_of_pictures(tmp_path):
    network = timm_network(checkpoint=timm_file(tmp_path))
    head = {name for name, value in network.network.get_classifier().named_parameters()}
    before = {name: value.clone() for name, value in network.network.state_dict().items()}
    assert load_start(network)
    public = torch.load(tmp_path / "timm.pth")
    assert head == {"weight", "bias"}
    for name, value in network.network.state_dict().items():
        if name.startswith("classifier."):
            assert torch.equal(value, before[name])
        elif name == "conv_stem.weight":
            torch.testing.assert_close(value, public[name].sum(dim=1, keepdim=True))
        else:
            assert torch.equal(value, public[name]), name


def test_timm_file_of_another_network_is_refused_with_every_tensor(tmp_path):
    file = timm_file(tmp_path, "test_resnet", extra=torch.zeros(2))
    found = problems(timm_network(checkpoint=file))
    assert "extra (2,) is in the file, but not in the network" in found
    assert "conv_stem.weight (24, 1, 3, 3) is missing in the file" in found
    assert len(found) > 50


def test_timm_weights_that_cannot_be_downloaded_are_asked_for_when_it_is_tried():
    network = timm_network("resnet18", pretrained=True)
    (problem,) = problems(network)
    assert "timm has no weights of resnet18: " in problem
    assert "model.network.checkpoint=FILE takes a file" in problem


def test_timm_takes_one_source_of_weights():
    with pytest.raises(ValueError, match="set one"):
        timm_network(pretrained=True, checkpoint="a.pth")


@pytest.mark.parametrize("name", ["test_efficientnet", "test_resnet", "test_vit", "test_convnext", "test_byobnet"])
def test_timm_layers_end_with_the_head_and_hold_nearly_every_weight(name):
    network = timm_network(name)
    *body, head = network.layers()  # type: ignore[operator]
    assert [value.shape[0] for value in head.parameters()] == [3, 3]
    held = [weight for layer in [*body, head] for weight in layer.parameters()]
    assert len({id(weight) for weight in held}) == len(held), "none twice"
    loose = {id(weight) for _, weight in network.network.named_parameters(recurse=False)}  # a class token, positions
    assert {id(weight) for weight in network.parameters()} - {id(weight) for weight in held} <= loose
    assert len(body) > 3


# transformers


def hf_network(name: object = None, classes: int = 3, **config: Any) -> nn.Module:
    pytest.importorskip("transformers")
    from audiotag.models.hf_network import HfNetwork

    torch.manual_seed(0)
    return HfNetwork(classes, {**AST, **config}, None if name is None else str(name))


def ast_folder(folder: Path, **config: Any) -> Path:
    """A folder as save_pretrained writes it."""
    from transformers import AutoConfig, AutoModelForAudioClassification

    torch.manual_seed(7)
    built = AutoConfig.for_model(**{**AST, **config}, num_labels=5)
    AutoModelForAudioClassification.from_config(built).save_pretrained(folder)
    return folder


def test_hf_is_built_from_its_configuration_alone(tmp_path):
    network = hf_network(tmp_path / "gone")
    assert (network.fixed_frames, network.min_frames) == (64, 64)
    with torch.inference_mode():
        assert network(torch.randn(2, 1, 32, 64)).shape == (2, 3)
    with pytest.raises(AudiotagError, match="takes 32 bands, and spectrograms have 128: set features=ast"):
        network(torch.randn(2, 1, 128, 64))


def test_hf_starts_from_a_folder_but_for_its_head(tmp_path):
    from safetensors.torch import load_file

    network = hf_network(ast_folder(tmp_path))
    head = {name: value.clone() for name, value in network.network.classifier.state_dict().items()}
    assert load_start(network) == load_start(hf_network(tmp_path, classes=4))
    public, body = load_file(tmp_path / "model.safetensors"), network.network.state_dict()
    last = "audio_spectrogram_transformer.layernorm.weight"
    first = "audio_spectrogram_transformer.embeddings.position_embeddings"
    assert torch.equal(body[first], public[first])
    assert torch.equal(body[last], public[last])
    assert all(torch.equal(value, head[name]) for name, value in network.network.classifier.state_dict().items())


def test_hf_configuration_that_is_another_is_refused_with_every_number(tmp_path):
    network = hf_network(ast_folder(tmp_path, hidden_size=16, max_length=80))
    assert problems(network) == [
        "its config.json has hidden_size=16: set model.network.config.hidden_size=16 (it is 8)",
        "its config.json has max_length=80: set model.network.config.max_length=80 (it is 64)",
    ]


def test_hf_folder_with_other_tensors_is_refused_with_every_tensor(tmp_path):
    from safetensors.torch import load_file, save_file

    file = ast_folder(tmp_path) / "model.safetensors"
    tensors = load_file(file)
    (layernorm,) = (name for name in tensors if name.endswith("transformer.layernorm.bias"))
    del tensors[layernorm]
    save_file({**tensors, "more.weight": torch.zeros(2)}, file, {"format": "pt"})
    found = problems(hf_network(tmp_path))
    assert any("layernorm.bias is missing in its file" in problem for problem in found)
    assert any("more.weight is in its file, but not in the network" in problem for problem in found)


@pytest.mark.parametrize("kind", ["wav2vec2", "whisper", "ast", None])
def test_hf_network_of_waves_is_refused(kind):
    with pytest.raises(ValueError, match=f"model_type={kind} does not take spectrograms"):
        hf_network(model_type=kind)


def test_hf_folder_of_a_network_of_waves_is_refused(tmp_path):
    (tmp_path / "config.json").write_text(json.dumps({"model_type": "wav2vec2"}))
    (problem,) = problems(hf_network(tmp_path))
    assert "is of model_type wav2vec2, which does not take spectrograms" in problem


def test_hf_configuration_that_is_misspelt_is_refused():
    with pytest.raises(ValueError, match="config has hiden_size, which"):
        hf_network(hiden_size=8)


@pytest.mark.parametrize("content", ["", "{", '{"model_type": "mine", "auto_map": {"AutoConfig": "code.Config"}}'])
def test_hf_folder_that_is_none_is_refused_and_its_code_not_run(tmp_path, content):
    (tmp_path / "config.json").write_text(content)
    (tmp_path / "code.py").write_text("raise SystemExit('code was run')")
    (problem,) = problems(hf_network(tmp_path))
    assert problem.startswith(f"model.network.name={tmp_path}: ")


def test_hf_name_that_nobody_knows_is_refused():
    (problem,) = problems(hf_network("nobody/nothing"))
    assert problem.startswith("model.network.name=nobody/nothing: ")


def test_hf_layers_hold_every_weight_and_end_with_the_head():
    network = hf_network()
    layers = network.layers()  # type: ignore[operator]
    held = [weight for layer in layers for weight in layer.parameters()]
    assert sorted(map(id, held)) == sorted(map(id, network.parameters()))
    assert layers[-1].dense.out_features == 3

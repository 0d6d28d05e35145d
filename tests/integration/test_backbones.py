"""Networks that start from public checkpoints, made up and narrow: trained, resumed, asked, and exported."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import audiotag
from audiotag.config import ExportConfig
from audiotag.errors import ConfigError, RunError
from tests.checkpoints import efficientat, panns
from tests.conftest import SMALL
from tests.integration.test_export import SAME, by_class, same
from tests.integration.test_predict import sound
from tests.unit.test_hub_networks import AST, ast_folder, timm_file

pytestmark = pytest.mark.usefixtures("in_work_folder")
HF = ["audiotag.models.hf_network.HfNetwork"]  # the only one that is not trusted whatever its arguments
LENGTHS_S = (0.05, 0.7, 2.5)
ONE_EPOCH = [f"training.{phase}={{epochs: 1, decay_from_epoch: 1}}" for phase in ("pretrain", "finetune")]


def cnn14(folder: Path) -> list[str]:
    torch.save(panns(2), folder / "cnn14.pth")
    return ["model=cnn14", "model.network.width=2", f"model.network.checkpoint={folder / 'cnn14.pth'}", *frames(96)]


def mn04(folder: Path) -> list[str]:
    torch.save(efficientat(0.1), folder / "mn.pt")
    return ["model=mn04", "model.network.width=0.1", f"model.network.checkpoint={folder / 'mn.pt'}", *frames(96)]


def timm(folder: Path) -> list[str]:
    pytest.importorskip("timm")
    file = timm_file(folder)
    return ["model=timm", "model.network.name=test_efficientnet", f"model.network.checkpoint={file}", *frames(96)]


def hf(folder: Path) -> list[str]:
    pytest.importorskip("transformers")
    ast_folder(folder / "ast", num_mel_bins=128)
    numbers = {**AST, "num_mel_bins": 128}
    settings = [f"model.network.config.{name}={value}" for name, value in numbers.items()]
    return ["model=hf", f"model.network.name={folder / 'ast'}", *settings, *frames(64)]


def frames(n: int) -> list[str]:
    return [f"features.excerpt_frames={n}", f"features.clip_frames={n}"]


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, seconds in enumerate(LENGTHS_S):
        sound(folder / f"{number}.wav", seconds, 44_100, seed=number)
    return folder


@pytest.mark.parametrize("make", [cnn14, mn04, timm, hf])
def test_backbone_trains_resumes_votes_labels_and_is_exported_without_what_it_started_from(make, tmp_path, clips):
    pytest.importorskip("onnx")
    from audiotag.export.write import export

    folder = tmp_path / "given"
    folder.mkdir()
    settings = [*SMALL, *ONE_EPOCH, *make(folder), f"run={tmp_path / make.__name__}"]
    audiotag.train([*settings, "finetune_rounds=0"])
    run = tmp_path / make.__name__
    first = run / "round00" / "fold0" / "best.ckpt"
    fitted_ns = first.stat().st_mtime_ns
    shutil.rmtree(folder)  # nothing asks for it any more
    audiotag.train(settings)
    assert first.stat().st_mtime_ns == fitted_ns, "round 0 was fitted again"
    assert set(pd.read_csv(run / "ledger.csv")["round"]) == {0, 1}
    assert len(json.loads((run / "pretrained.json").read_text())["sha256"]) == 64
    tagger = audiotag.load(run, fold=0, precision="32-true")
    answers = by_class(tagger.predict(clips, 8))
    assert len(answers) == len(LENGTHS_S)
    assert np.ptp(answers, axis=0).max() > SAME, "they tell clips apart"
    same(audiotag.load(export(ExportConfig(run=[str(run)], fold=0))), tagger, clips)
    kept = audiotag.load(export(ExportConfig(run=[str(run)], fold=0, to="folder")), precision="32-true", trust=HF)
    np.testing.assert_array_equal(by_class(kept.predict(clips, 8)), answers)


def test_backbone_starts_where_its_checkpoint_ends(tmp_path):
    """After an epoch at next to no rate, its convolutions are still those of the file."""
    settings = [*SMALL, *cnn14(tmp_path), f"run={tmp_path / 'run'}", "finetune_rounds=0", "round=0", "fold=1"]
    audiotag.train([*settings, *ONE_EPOCH, "training.pretrain.learning_rate=1e-12"])
    state = torch.load(tmp_path / "run" / "round00" / "fold1" / "best.ckpt", weights_only=True)["state_dict"]
    for name, value in panns(2)["model"].items():
        if "conv_block" in name and name.endswith("conv2.weight"):
            np.testing.assert_allclose(state[f"network.{name}"], value, atol=1e-6)
    assert "network.fc_audioset.weight" in state


def test_run_refuses_to_go_on_from_another_checkpoint(tmp_path):
    """The networks of a run's folds must start from the same weights."""
    settings = [*SMALL, *ONE_EPOCH, *cnn14(tmp_path), f"run={tmp_path / 'run'}", "finetune_rounds=0", "round=0"]
    audiotag.train([*settings, "fold=0"])
    torch.save(panns(2, seed=1), tmp_path / "cnn14.pth")
    with pytest.raises(RunError, match=r"the weights that networks start from are not those that this run began with"):
        audiotag.train([*settings, "fold=1"])
    assert not (tmp_path / "run" / "round00" / "fold1" / "best.ckpt").exists()
    (tmp_path / "cnn14.pth").unlink()
    with pytest.raises(ConfigError, match=r"cnn14\.pth: there is no such file"):
        audiotag.train([*settings, "fold=1"])


@pytest.mark.parametrize("make", [cnn14, mn04])
def test_checkpoint_that_is_missing_is_refused_before_any_work(make, tmp_path):
    settings = [*SMALL, *make(tmp_path), f"run={tmp_path / 'run'}", "model.network.checkpoint=gone.pth"]
    with pytest.raises(ConfigError, match=r"model\.network\.checkpoint=gone\.pth: there is no such file"):
        audiotag.train(settings)
    assert not (tmp_path / "run").exists()

"""docs/extend.md, executed: classes outside the package are trained, resumed, asked, and refused."""

from __future__ import annotations

import dataclasses
import importlib.util
import json
import re
import shutil
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiotag.cli.composition import compose_config
from audiotag.config import TrainConfig
from audiotag.config.leaf import TRUST, import_from
from audiotag.errors import AudiotagError, ConfigError
from audiotag.experiment.prepare import check_joints
from tests.clips import TOP

BLOCK = re.compile(r'^```\w+ title="([^"]+)"\n(.*?)^```$', re.MULTILINE | re.DOTALL)
SMALL = ("experiment=smoke", "folds=2", "training.batch_size=8", "hardware.threads=1")
# In mixed precision a last linear layer answers in half precision: what follows the network has to bear it.
PRECISION = "hardware.precision=bf16-mixed"
OPTIONS = ("model=pooled", "features=mel64", "verification=margin", "logger=jsonlines", "model.network.channels=2")


@pytest.fixture(scope="module")
def mine(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of the page's files."""
    folder = tmp_path_factory.mktemp("own") / "my"
    for name, text in BLOCK.findall((TOP / "docs" / "extend.md").read_text(encoding="utf-8")):
        (folder / name).parent.mkdir(parents=True, exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(autouse=True)
def unchanged_path(monkeypatch: pytest.MonkeyPatch) -> None:
    """Nothing of a folder that a test names stays importable in this process."""
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", str(TOP))
    monkeypatch.setenv(TRUST, "")
    for name in [name for name in sys.modules if name.startswith("my_")]:
        monkeypatch.delitem(sys.modules, name)


def composed(folder: Path, *settings: str) -> TrainConfig:
    return compose_config(TrainConfig, ["--config-dir", str(folder), *settings])


@pytest.fixture(scope="module")
def run(mine: Path, work_folder: Path, program) -> Path:
    """A run with a network, a front end and a rule of one's own: round 0, and then, by the same command, round 1."""
    settings = ("train.py", "--config-dir", str(mine), *SMALL, *OPTIONS, PRECISION, "run=own")
    program(*settings, "finetune_rounds=0")
    before = (work_folder / "runs" / "own" / "round00" / "fold0" / "best.ckpt").stat().st_mtime_ns
    output = program(*settings, "finetune_rounds=1")
    folder = work_folder / "runs" / "own"
    assert (folder / "round00" / "fold0" / "best.ckpt").stat().st_mtime_ns == before, "round 0 was fitted again"
    assert "round 1, fold 1" in output
    return folder


def test_extend_trains_with_a_network_a_front_end_and_a_rule(run, work_folder):
    assert set(pd.read_csv(run / "ledger.csv")["round"]) == {0, 1}
    assert set(pd.read_csv(run / "ledger.csv")["reason"]) <= {"accepted", "margin too small", "label differs"}
    lines = [json.loads(line) for line in (run / "metrics.jsonl").read_text().splitlines()]
    assert {line["of"] for line in lines} >= {"round00/fold0", "round00/fold1", "round01/fold0", "round01/fold1"}
    (store,) = (work_folder / "cache" / "stores").glob("mel64-*/store.json")
    assert '"bands": 64' in store.read_text()


def test_extend_labels_reports_and_decides_again_of_a_run_that_has_moved(run, mine, program, tmp_path):
    moved = tmp_path / "moved"
    shutil.copytree(run, moved)
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(30_000) / 5), 22_050)
    asked = [f"run={moved}", "--config-dir", str(mine)]
    program("predict.py", *asked, f"source={tmp_path / 'a.wav'}", f"out={tmp_path / 'labels.csv'}")
    assert len(pd.read_csv(tmp_path / "labels.csv")) == 1
    program("-m audiotag.report", *asked)
    page = (moved / "report.html").read_text()
    assert "the label is predicted by a margin of 0.5" in page
    assert f"python train.py --config-dir {mine}" in page
    assert f"python predict.py run={moved} --config-dir {mine} split=test" in page
    output = program("verify.py", *asked, "verification.rule.margin=0")
    assert "the label is predicted by a margin of 0" in output
    assert (moved / "verify" / "margin,margin=0" / "ledger.csv").is_file()


def test_extend_refuses_to_go_on_with_another_class_or_arguments(run, mine, program):
    settings = ("train.py", "--config-dir", str(mine), *SMALL, *OPTIONS, "run=own")
    output = program(*settings, "model.network.channels=3", "verification.rule.margin=0.1", expected=2)
    assert "model.network.channels was 2, now 3" in output
    assert "verification.rule.margin was 0.5, now 0.1" in output


def test_extend_names_a_class_whose_folder_is_not_given(run, program, tmp_path):
    """Where it was in training, the run says; but a run may be a stranger's."""
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(30_000) / 5), 22_050)
    output = program("predict.py", f"run={run}", f"source={tmp_path / 'a.wav'}", expected=2)
    assert "model.network._target_=my_net.Pooled cannot be imported: there is no module my_net in" in output
    assert "--config-dir DIR adds a folder" in output
    for command in (("verify.py", f"run={run}"), ("-m audiotag.report", f"run={run}")):
        assert "verification.rule._target_=my_rule.MarginRule cannot be imported" in program(*command, expected=2)


def test_extend_trains_on_a_source_of_ones_own(mine, program, tmp_path, work_folder):
    rng = np.random.default_rng(0)
    for label, hz in (("low", 300), ("high", 3000)):
        for i in range(8):
            file = tmp_path / "set" / label / f"{'ok_' if i < 4 else ''}{label}{i}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            wave = np.sin(np.arange(16_000) * hz / 16_000 * 2 * np.pi) + 0.1 * rng.standard_normal(16_000)
            soundfile.write(file, 0.3 * wave, 16_000)
    settings = ("data=mine", f"data.root={tmp_path / 'set'}", "run=sourced", "finetune_rounds=0", "hardware.threads=1")
    program("train.py", "--config-dir", str(mine), "experiment=smoke", "folds=2", "training.batch_size=4", *settings)
    manifest = pd.read_csv(work_folder / "runs" / "sourced" / "manifest.csv")
    assert list(manifest["verified"].value_counts()) == [8, 8]
    assert set(manifest["label"]) == {"low", "high"}
    assert (manifest["verified"] == manifest["path"].str.contains("ok_")).all()


@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_extend_builds_a_network_of_timm(mine):
    check_joints(composed(mine, "model=timm", "model.network.name=resnet18"))
    with pytest.raises(ConfigError, match=r"timm has no network resnet8 \(did you mean resnet18\?\)"):
        check_joints(composed(mine, "model=timm", "model.network.name=resnet8"))


@pytest.mark.skipif(importlib.util.find_spec("timm") is not None, reason="timm is installed")
def test_extend_names_the_extra_of_timm(mine):
    with pytest.raises(AudiotagError, match=r"timm is not installed: pip install -e '\.\[timm\]'"):
        check_joints(composed(mine, "model=timm"))


NET = """
import torch
from torch import nn

class Net(nn.Module):
    min_frames = 8

    def __init__(self, classes: int, channels: int = 4, way: str = ""):
        super().__init__()
        self.way, self.conv, self.head = way, nn.Conv2d(1, channels, 3), nn.Linear(channels, classes)
        if way == "fixed":
            self.fixed_frames = 192
        if way == "boundless":
            del Net.min_frames

    def forward(self, x):
        x = self.conv(x).mean(dim=(2, 3))
        if self.way == "batch":
            x = x - x.mean(dim=0)
        if self.way == "nan":
            x = x / 0
        return x if self.way == "shape" else self.head(x) if self.way != "sizes" else self.head(x[:, 1:])

class NoNet:
    def __init__(self, classes): ...

class NoRule:
    pass

class Loss(nn.CrossEntropyLoss):
    def __init__(self, reduction="mean"):
        super().__init__(reduction="mean")

class Crop:
    def __call__(self, x):
        return x[..., 1:]
"""


@pytest.fixture(scope="module")
def broken(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of classes that break their contracts."""
    folder = tmp_path_factory.mktemp("broken")
    (folder / "my_broken.py").write_text(NET)
    (folder / "my_torn.py").write_text("class Net(:\n")
    return folder


@pytest.mark.parametrize(
    ("section", "leaf", "message"),
    [
        ("model", {"_target_": "my_nett.Net"}, r"cannot be imported: there is no module my_nett in .*broken"),
        ("model", {"_target_": "my_broken.Nett"}, r"my_broken\.py has no class Nett \(did you mean Net\?\)"),
        ("model", {"_target_": "my_torn.Net"}, r"my_torn\.py, line 1"),
        (
            "model",
            {"_target_": "my_broken.Net", "chanels": 9},
            r"model\.network\.chanels .*\(did you mean channels\?\)",
        ),
        ("model", {"_target_": "my_broken.Net", "channels": 1.5}, "channels=1.5 is not a whole number"),
        ("model", {"_target_": "my_broken.Net", "classes": 3}, "classes is set by the program: leave it out"),
        ("model", {"_target_": "my_broken.NoNet"}, r"my_broken\.NoNet is not a torch\.nn\.Module"),
        ("model", {"_target_": "my_broken.Net", "way": "boundless"}, "has no min_frames: set it to the fewest frames"),
        (
            "model",
            {"_target_": "my_broken.Net", "way": "shape"},
            r"makes \(2, 4\) of .*must be \(clips, classes\) = \(2, 3\)",
        ),
        (
            "model",
            {"_target_": "my_broken.Net", "way": "sizes"},
            r"fails on spectrograms \(2, 1, 128, 384\): .*my_broken",
        ),
        ("model", {"_target_": "my_broken.Net", "way": "nan"}, "makes values that are not finite"),
        ("model", {"_target_": "my_broken.Net", "way": "batch"}, "other logits beside another clip than alone"),
        (
            "model",
            {"_target_": "my_broken.Net", "way": "fixed"},
            "takes 192 frames only: set features.excerpt_frames=192",
        ),
        ("verification", {"_target_": "my_broken.NoRule"}, "verification.rule: NoRule has no method decide"),
        ("features", {"_target_": "my_broken.NoRule"}, "features.front_end: my_broken.NoRule has no sample_rate_hz"),
        (
            "training",
            {"_target_": "my_broken.Loss"},
            r"with reduction=none, Loss must make a finite tensor of shape \(4,\)",
        ),
        (
            "augment",
            {"_target_": "my_broken.Crop"},
            r"Crop must make finite .* not torch\.float32 of shape \(2, 1, 128, 383\)",
        ),
    ],
)
def test_extend_refuses_a_class_that_breaks_its_contract(broken, section, leaf, message):
    fields = {"model": "network", "verification": "rule", "features": "front_end", "training": "loss"}
    config = TrainConfig()
    changed = dataclasses.replace(getattr(config, section), **{fields.get(section, "transform"): leaf})
    import_from(str(broken))
    with pytest.raises(ConfigError, match=message):
        check_joints(dataclasses.replace(config, **{section: changed}))


def test_extend_tries_a_network_of_one_length_on_windows(broken):
    import_from(str(broken))
    config = TrainConfig()
    config = dataclasses.replace(
        config,
        model=dataclasses.replace(config.model, network={"_target_": "my_broken.Net", "way": "fixed"}),
        features=dataclasses.replace(config.features, excerpt_frames=192),
    )
    check_joints(config)


@pytest.mark.slow
def test_extend_sweeps_over_arguments_on_two_devices(mine, work_folder, program):
    settings = ("train.py", "-m", "--config-dir", str(mine), *SMALL, *OPTIONS[:4], "finetune_rounds=0", "devices=2")
    program(*settings, "runs_dir=runs_own", "model.network.channels=2,3")
    assert len(list((work_folder / "runs_own").glob("*/summary.json"))) == 2


@pytest.mark.slow
@pytest.mark.skipif(importlib.util.find_spec("timm") is None, reason="timm is not installed")
def test_extend_trains_a_network_of_timm(mine, program):
    settings = ("model=resnet18", "model.network.name=test_resnet", "model.network.pretrained=false", "run=timm")
    program("train.py", "--config-dir", str(mine), *SMALL, *settings, "finetune_rounds=0")

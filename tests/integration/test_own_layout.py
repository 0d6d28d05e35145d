"""The layout that docs/own_data.md adds by one file and one YAML: trained on, continued, asked, refused by name."""

from __future__ import annotations

import re
from pathlib import Path

import pandas as pd
import pytest

from audiotag.run.folder import RunFolder
from tests.clips import TOP, write_sound

SMOKE = ("experiment=smoke", "folds=2", "finetune_rounds=1")
DATA = ("data=speakers",)


@pytest.fixture(scope="module")
def options(tmp_path_factory) -> Path:
    """The folder of --config-dir, its files as the page shows them."""
    folder = tmp_path_factory.mktemp("options")
    page = (TOP / "docs" / "own_data.md").read_text(encoding="utf-8")
    for name, text in re.findall(r"`DIR/([^`]+)`:\n\n```\w+\n(.*?)```", page, re.DOTALL):
        (folder / name).parent.mkdir(exist_ok=True)
        (folder / name).write_text(text)
    return folder


@pytest.fixture(scope="module")
def recordings(tmp_path_factory) -> Path:
    """Four speakers, each with two checked and two unchecked recordings of two classes."""
    root = tmp_path_factory.mktemp("speakers")
    for seed in range(32):
        speaker, label, at = f"S{seed // 8}", ("yes", "no")[seed % 8 // 4], seed % 4
        write_sound(root / speaker / label / ("checked" if at < 2 else "") / f"{at}.wav", seed, 0.3)
    return root


def test_own_layout_trains_goes_on_and_is_asked(program, work_folder, options, recordings):
    arguments = ("--config-dir", str(options), *DATA, f"data.root={recordings}", "run=speakers", *SMOKE)
    program("train.py", *arguments)
    folder = RunFolder(work_folder / "runs" / "speakers")
    train = folder.train
    assert train["verified"].sum() == 16
    assert len(train) == 32
    assert (train.groupby("group")["fold"].nunique() == 1).all(), "no speaker is in two folds"
    assert folder.config.data.source == {"_target_": "my_source.SpeakerFolders", "suffix": ".wav"}
    (folder.path / "round01" / "fold1" / "status.json").unlink()
    assert "round 1, fold 1" in program("train.py", *arguments)
    program("predict.py", "--config-dir", str(options), "run=speakers", "split=valid", "top=2")
    assert len(pd.read_csv(next(folder.path.glob("predict/**/predictions.csv")))) == 16


def test_own_layout_is_refused_by_name(program, options, recordings):
    arguments = ("--config-dir", str(options), *DATA, f"data.root={recordings}", "run=refused", *SMOKE)
    output = program("train.py", *arguments, "data.source.sufix=.flac", expected=2)
    assert "data.source.sufix is not an argument of my_source.SpeakerFolders (did you mean suffix?)" in output
    output = program("train.py", *arguments, "data.source._target_=my_source.Speakers", expected=2)
    assert "has no class Speakers" in output
    output = program("train.py", *arguments, "data.source._target_=pathlib.Path", "~data.source.suffix", expected=2)
    assert "pathlib.Path is not a subclass of audiotag.data.source.Source" in output

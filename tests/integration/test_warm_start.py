"""warm_start=RUN: a run that takes round 0 over is the run that trains it anew, else it is refused."""

from __future__ import annotations

import dataclasses
import json
import shutil

import pytest

from audiotag.config import Verification
from audiotag.data.manifest import Manifest
from audiotag.data.manifest_file import read_manifest
from audiotag.errors import ConfigError, RunError
from audiotag.experiment import warm_start as start_module
from audiotag.experiment.warm_start import WarmStart
from audiotag.run.folder import Cell, RunFolder
from tests.conftest import SMALL
from tests.integration.test_loop import assert_same_result


def test_warm_start_is_round_0_trained_anew(small_run, program):
    output = program("train.py", *SMALL, "warm_start=small", "run=taken")
    taken = small_run.parent / "taken"
    assert_same_result(small_run, taken)
    assert f"Round 0 is taken over from {small_run}" in output
    for name in ("best.ckpt", "posteriors.parquet"):  # not trained again: the very file
        assert (taken / "round00" / "fold1" / name).samefile(small_run / "round00" / "fold1" / name)
    origin = [json.loads((taken / f"round0{r}" / "fold0" / "status.json").read_text()) for r in (0, 1)]
    assert [status.get("taken_over_from") for status in origin] == ["small", None]
    assert "start: null" in (taken / "config.yaml").read_text(), "the run is the one that trains it by itself"


@pytest.fixture
def new_run(tmp_path, small_run):
    """A run not begun yet, and what it would be configured as: as the small run, but for the rule."""
    config = dataclasses.replace(RunFolder(small_run).config, warm_start=str(small_run), run=str(tmp_path / "new"))
    return RunFolder(tmp_path / "new"), config


def test_warm_start_may_differ_after_round_0(new_run, small_run):
    folder, config = new_run
    other_rule = {"_target_": "audiotag.verification.rules.CleanlabRule", "threshold": 0.3, "filter_by": "both"}
    rule = Verification(name="x", excerpts=config.verification.excerpts, rule=other_rule)
    finetune = dataclasses.replace(config.training.finetune, learning_rate=1e-5)
    other = dataclasses.replace(
        config, verification=rule, training=dataclasses.replace(config.training, finetune=finetune), finetune_rounds=5
    )
    start = WarmStart(other, folder)
    start.take_over()
    assert [folder.status(Cell(0, fold))["fold"] for fold in (0, 1)] == [0, 1]
    names = {file.name for file in (small_run / "round00" / "fold0").iterdir()}
    assert {file.name for file in (folder.path / "round00" / "fold0").iterdir()} == names


def test_warm_start_copies_on_a_disk_without_links(new_run, small_run, monkeypatch):
    def refuse(*_):
        raise PermissionError("no links here")

    monkeypatch.setattr(start_module.os, "link", refuse)
    folder, config = new_run
    WarmStart(config, folder).take_over()
    copy, original = (run / "round00" / "fold0" / "best.ckpt" for run in (folder.path, small_run))
    assert not copy.samefile(original)
    assert copy.read_bytes() == original.read_bytes()


def test_warm_start_lists_all_that_differs(new_run):
    folder, config = new_run
    rule = dataclasses.replace(config.verification, excerpts=9, rule={**config.verification.rule, "cap": 1})
    wider = dataclasses.replace(config.model, network={**config.model.network, "width": 5})
    with pytest.raises(ConfigError) as caught:
        WarmStart(dataclasses.replace(config, verification=rule, model=wider, seed=3), folder)
    assert sorted(caught.value.problems) == [
        "model.network.width was 4, now 5",
        "seed was 0, now 3",
        "verification.excerpts was 5, now 9",
    ]
    assert not folder.path.exists(), "nothing was begun"


def test_warm_start_refuses_other_data(new_run, small_run):
    folder, config = new_run
    frame = read_manifest(small_run / "manifest.csv")
    frame.loc[0, "label"] = "other"
    with pytest.raises(RunError, match=r"another data set \(2 rows"):
        WarmStart(config, folder).check_data(Manifest(frame, RunFolder(small_run).classes, small_run))


def test_warm_start_refuses_an_unfinished_round_0_and_the_run_itself(new_run, small_run, tmp_path):
    folder, config = new_run
    shutil.copytree(small_run, tmp_path / "part")
    (tmp_path / "part" / "round00" / "fold1" / "status.json").unlink()
    part = dataclasses.replace(config, warm_start=str(tmp_path / "part"))
    with pytest.raises(RunError, match="missing: fold 1"):
        WarmStart(part, folder)
    with pytest.raises(RunError, match="is this run itself"):
        WarmStart(part, RunFolder(tmp_path / "part"))
    with pytest.raises(RunError, match="is not a run folder"):
        WarmStart(dataclasses.replace(config, warm_start=str(tmp_path / "gone")), folder)

"""A run folder of a stranger's, whose settings name what would do harm: nothing of it is imported or called."""

from __future__ import annotations

import dataclasses
import itertools
import os
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import yaml

import audiotag
from audiotag.config import ReviewConfig
from audiotag.config.leaf import TRUST
from audiotag.review.desk import Desk
from audiotag.run.folder import RunFolder
from tests.conftest import SMALL, copy_to_change

MARK = "mark"
PLACES = ["features.front_end", "model.network", "verification.rule", "data.source", "training.loss"]
PLACES += ["augment.transform", "logger.trackers.noise"]


@pytest.fixture
def evil(tmp_path, monkeypatch) -> Path:
    """A folder with a module that leaves a mark when it is imported, on the import path too."""
    folder = tmp_path / "evil"
    folder.mkdir()
    (folder / "evil.py").write_text(
        f"open({str(tmp_path / MARK)!r}, 'w')\nfrom audiotag.models.vgg_gap import VggGap\nclass Net(VggGap): ...\n"
    )
    monkeypatch.setattr(sys, "path", [*sys.path, str(folder)])
    monkeypatch.setenv(TRUST, "")
    monkeypatch.setenv("PYTHONPATH", os.pathsep.join([str(folder), os.environ.get("PYTHONPATH", "")]))
    monkeypatch.delitem(sys.modules, "evil", raising=False)
    return folder


def strange(run: Path, copy: Path, changes: dict[str, Any]) -> Path:
    """Copy a run, and change settings of it."""
    copy_to_change(run, copy)
    settings = yaml.safe_load((copy / "config.yaml").read_text())
    for path, value in changes.items():
        *sections, name = path.split(".")
        inner = settings
        for section in sections:
            inner[section] = inner[section] or {}
            inner = inner[section]
        inner[name] = value
    (copy / "config.yaml").write_text(yaml.safe_dump(settings))
    return copy


def harm(kind: str, tmp_path: Path) -> dict[str, Any]:
    """Return a leaf that leaves a mark if anything of it is run."""
    if kind == "system":
        return {"_target_": "os.system", "command": f"touch {tmp_path / MARK}"}
    if kind == "write":
        return {"_target_": "audiotag.files.write_text", "path": str(tmp_path / MARK), "text": "x"}
    return {"_target_": "evil.Net", "width": 4}


@pytest.mark.parametrize(("place", "kind"), zip(PLACES, itertools.cycle(["import", "write", "system"])))
def test_run_of_a_stranger_has_no_class_built(small_run, evil, tmp_path, monkeypatch, work_folder, place, kind):
    monkeypatch.chdir(work_folder)
    bad = strange(small_run, tmp_path / "bad", {place: harm(kind, tmp_path), "config_dir": str(evil)})
    asks = {"verification.rule": decide, "data.source": read_data, "model.network": load, "features.front_end": load}
    with pytest.raises(audiotag.AudiotagError, match=f"{place}._target_=.* is not one of audiotag's own"):
        asks.get(place, train)(bad)
    assert not (tmp_path / MARK).exists()
    assert "evil" not in sys.modules


def test_run_of_a_stranger_is_read_as_far_as_that_needs_no_class(small_run, evil, tmp_path):
    changes = {place: harm("import", tmp_path) for place in PLACES if place not in ("verification.rule", "data.source")}
    bad = strange(small_run, tmp_path / "bad", {**changes, "config_dir": str(evil)})
    assert len(audiotag.compare_runs([bad])) == 1
    assert len(audiotag.open_run(bad).ledger())
    assert Desk(RunFolder(bad), ReviewConfig(run=str(bad))).next(-1, None, 0, False)
    assert not (tmp_path / MARK).exists()
    assert "evil" not in sys.modules


def load(run: Path) -> None:
    audiotag.load(run)


def decide(run: Path) -> None:
    audiotag.open_run(run).verify()


def read_data(run: Path) -> None:
    audiotag.read_manifest(audiotag.open_run(run).config)


def train(run: Path) -> None:
    audiotag.train(dataclasses.replace(audiotag.open_run(run).config, run="again"))


def test_run_of_a_stranger_runs_nothing_in_the_programs(small_run, evil, tmp_path, program):
    changes = {place: harm("import", tmp_path) for place in PLACES}
    bad = strange(small_run, tmp_path / "bad", {**changes, "config_dir": str(evil)})
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(30_000) / 5), 22_050)
    refused = "is not one of audiotag's own, and building it runs its code. If you know it, say so: --config-dir DIR"
    for name, *arguments in (
        ("predict.py", f"source={tmp_path / 'a.wav'}", f"out={tmp_path / 'p.csv'}"),
        ("predict.py", "split=test"),
        ("predict.py", f"source={tmp_path / 'a.wav'}", "live=true"),
        ("predict.py", f"source={tmp_path / 'a.wav'}", "segments=true"),
        ("verify.py",),
        ("verify.py", "vote_again=true", "devices=2"),
        ("-m audiotag.report",),
        ("-m audiotag.export", "to=folder"),
        ("-m audiotag.show", str(tmp_path / "a.wav"), f"--out={tmp_path / 'pictures'}"),
    ):
        output = program(name, f"run={bad}", *arguments, expected=2)
        assert refused in " ".join(output.split()), output
    for setting in (f"distil={bad}", f"warm_start={bad}"):
        program("train.py", *SMALL, "run=taught", setting, expected=2)
    program("-m audiotag.compare", f"run=[{bad}]")
    assert not (tmp_path / MARK).exists()


def test_run_of_a_stranger_has_no_options_looked_for_in_a_package(small_run, evil, tmp_path):
    """Hydra imports the packages of a search path, of which a quote could make one."""
    named = f"{evil}','pkg://evil"
    bad = strange(small_run, tmp_path / "bad", {"config_dir": named})
    assert audiotag.open_run(bad).report().is_file()
    assert not (tmp_path / MARK).exists()


@pytest.mark.parametrize("how", ["trust", "environment", "folder"])
def test_run_with_a_class_that_is_trusted_is_asked(small_run, evil, tmp_path, program, monkeypatch, how):
    changes = {"model.network._target_": "evil.Net", "config_dir": str(evil)}
    run = strange(small_run, tmp_path / "run", changes)
    soundfile.write(tmp_path / "a.wav", np.sin(np.arange(30_000) / 5), 22_050)
    asked = ["predict.py", f"run={run}", f"source={tmp_path / 'a.wav'}", f"out={tmp_path / 'p.csv'}"]
    program(*asked, expected=2)
    assert not (tmp_path / MARK).exists()
    if how == "environment":
        monkeypatch.setenv(TRUST, "evil.Net")
    program(*asked, *{"trust": ["trust=evil.Net"], "folder": ["--config-dir", str(evil)]}.get(how, []))
    assert (tmp_path / MARK).exists()
    assert (tmp_path / "p.csv").is_file()
    if how == "trust":
        assert audiotag.load(run, trust=["evil.Net"]).classes == audiotag.load(small_run).classes

"""The programs as a person calls them: what is misspelt is refused by name, before anything is written."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest
from omegaconf import OmegaConf

from audiotag.config import TrainConfig
from audiotag.config.leaf import TRUST
from audiotag.config.schema import as_own, validate
from tests.clips import TOP
from tests.programs import run_program


def copied(*command: str, cwd: Path) -> str:
    """Call what a copy of the package in a folder does; it must be refused without a traceback."""
    shutil.copytree(TOP / "audiotag", cwd / "audiotag", ignore=shutil.ignore_patterns("__pycache__"))
    done = subprocess.run([sys.executable, *command], cwd=cwd, capture_output=True, text=True, timeout=60)
    assert done.returncode == 2, done.stdout
    assert "Traceback" not in done.stderr
    return done.stderr


def test_program_without_its_configuration_says_that_the_package_is_not_whole(tmp_path):
    output = copied("-m", "audiotag.plan", "data=kaggle", "data.root=x", cwd=tmp_path)
    assert f"{tmp_path / 'conf'} is not there, so the package is not whole: install it again" in output


def call(program: str | Path, *arguments: str, cwd: Path, expected: int = 2) -> str:
    """Call a program in an empty folder; it must end as expected, without a traceback and without leaving anything."""
    before = sorted(cwd.rglob("*"))
    code, output = run_program(str(program), [*arguments], cwd, within_s=120)
    assert code == expected, output
    assert "Traceback" not in output
    assert sorted(cwd.rglob("*")) == before, "something was written"
    return output


def test_program_train_refuses_everything_misspelt_at_once(tmp_path):
    output = call(
        "train.py", "sed=1", "+run_name=x", "++model.widht=4", "~verification.treshold", "experiment=smok",
        "modle=tiny", "training.loss=generalised",
        "training.pretrain.epoch=3", "finetune_rounds=ten", "seed", cwd=tmp_path,
    )  # fmt: skip
    for message in (
        "sed is not a setting; did you mean seed?",
        "model.widht is not a setting; did you mean model.network.width?",
        "verification.treshold is not a setting; did you mean verification.rule.threshold?",
        "experiment is one of cpu_small, dcase2018, dcase2018_paper, small_data, smoke (did you mean smoke?)",
        "modle is not a setting; did you mean model?",
        "training.loss=generalised: an option is chosen by its group: loss=generalised",
        "training.pretrain.epoch is not a setting; did you mean training.pretrain.epochs?",
        "finetune_rounds='ten' is not a whole number",
        "seed: settings are given as SETTING=VALUE",
        "run_name is not a setting",
    ):
        assert message in output


@pytest.mark.parametrize(
    ("program", "arguments", "messages"),
    [
        (
            "verify.py",
            ["run=x", "verification.treshold=0.9", "verification=as_code", "+trut=t.csv"],
            [
                "did you mean verification.rule.threshold?",
                "did you mean as_coded?",
                "trut is not a setting; did you mean truth?",
            ],
        ),
        (
            "predict.py",
            ["run=x", "sorce=a.wav", "~usag", "hardware.thread=1"],
            ["did you mean source?", "did you mean usage?", "did you mean hardware.threads?"],
        ),
    ],
)
def test_programs_verify_and_predict_refuse_it_too(tmp_path, program, arguments, messages):
    output = call(program, *arguments, cwd=tmp_path)
    assert all(message in output for message in messages), output


def test_program_refuses_a_misspelt_key_in_a_file(tmp_path):
    """A copy of the checkout whose conf/ has a slip in it."""
    shutil.copytree(TOP / "conf", tmp_path / "conf")
    shutil.copy(TOP / "train.py", tmp_path)
    with open(tmp_path / "conf" / "experiment" / "smoke.yaml", "a") as file:
        file.write("trainng: {batch_size: 3}\n")
    output = copied("train.py", "experiment=smoke", cwd=tmp_path)
    assert "trainng.batch_size is not a setting; did you mean training.batch_size?" in output


def test_program_takes_a_folder_of_ones_own_options(tmp_path):
    """Hydra's --config-dir: options that do not ship are found there, and checked like those that do."""
    (tmp_path / "mine" / "experiment").mkdir(parents=True)
    (tmp_path / "mine" / "experiment" / "big.yaml").write_text(
        "# @package _global_\nfeatures: {excerpt_frames: 0}\nmodel: {widht: 3}\n"
    )
    output = call("train.py", "--config-dir", str(tmp_path / "mine"), "experiment=big", cwd=tmp_path)
    assert "model.widht is not a setting; did you mean model.network.width?" in output
    assert "features.excerpt_frames=0 must be 1 or more" in output


def test_program_refuses_what_does_not_go_together_before_anything_is_written(tmp_path):
    output = call("train.py", "data=kaggle", "round=9", "features.clip_frames=100", cwd=tmp_path)
    for message in (
        "data=kaggle needs data.root=DIR",
        "round=9 must lie in 0 to finetune_rounds=2",
        "clip_frames=100 is shorter",
    ):
        assert message in output


@pytest.mark.parametrize("arguments", [["seed=1,2", "-m"], ["--multirun", "seed=1,2"]])
def test_program_takes_the_flag_of_sweeps_anywhere(tmp_path, arguments):
    """Hydra has begun the sweep when its first job refuses; without the flag it would ask what `1,2` is to mean."""
    runs = tmp_path / "runs"
    code, output = run_program("train.py", [*arguments, "finetune_rounds=-1", f"runs_dir={runs}"], tmp_path)
    assert code == 2, output
    assert "finetune_rounds=-1 must be 0 or more" in output
    assert "Traceback" not in output
    assert not list(runs.glob("[!.]*")), "no run was begun"


@pytest.mark.parametrize("program", ["train.py", "verify.py", "predict.py"])
def test_program_help_ends_well_and_writes_nothing(tmp_path, program):
    output = call(program, "--help", cwd=tmp_path, expected=0)
    assert f"usage: python {program}" in output


def test_program_makes_nothing_where_data_was_forgotten(program, work_folder):
    output = program("train.py", "data.root=not_there", expected=2)
    assert "Did you mean data=kaggle data.root=not_there?" in " ".join(output.split())
    assert not (work_folder / "not_there").exists()


def test_config_dir_is_on_the_import_path_of_processes_started_from_here(tmp_path, monkeypatch):
    (tmp_path / "in_config_dir.py").touch()
    monkeypatch.setattr(sys, "path", list(sys.path))
    monkeypatch.setenv("PYTHONPATH", os.environ.get("PYTHONPATH", ""))
    monkeypatch.setenv(TRUST, os.environ.get(TRUST, ""))
    as_own(validate(OmegaConf.create({"config_dir": str(tmp_path)}), TrainConfig))
    subprocess.run([sys.executable, "-c", "import in_config_dir"], check=True)

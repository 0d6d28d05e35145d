"""`audiotag COMMAND` in a folder of its own: from labelled recordings to a tagger, a ledger, and what is handed on."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys

import pandas as pd
import pytest
import soundfile

from tests.clips import TOP, TUNE_RATE_HZ, tune
from tests.programs import run_program

COMMAND = "-c from audiotag.cli.commands import main; main()"
SMALL = ["experiment=smoke", "data=folders", "data.root=sounds", "folds=2", "finetune_rounds=1", "run=mine"]
# A program in whose environment some packages are not.
WITHOUT = """
import sys

class Missing:
    def find_spec(self, name, path=None, target=None):
        if name.partition(".")[0] in NAMES:
            raise ModuleNotFoundError("No module named " + name, name=name)

sys.meta_path.insert(0, Missing())
from audiotag.cli.commands import main
main()
"""
# Notes in every process, by whatever it was started, what it opens or lists of the folders and files named TAKEN.
OBSERVER = """
import os, sys

def note(event, arguments):
    if event in ("open", "os.listdir", "os.scandir") and isinstance(arguments[0], (str, bytes)):
        path = os.path.abspath(os.fsdecode(arguments[0]))
        if path.startswith(PLACE) and path[len(PLACE):].split("/")[0] in TAKEN:
            with open(NOTES, "a") as file:
                file.write(f"{sys.argv}: {event} {path}\\n")

sys.addaudithook(note)
"""
SCRIPT = f"#!{sys.executable}\nimport sys\nfrom audiotag.cli.commands import main\nsys.exit(main())\n"
TAKEN = ["audiotag", "conf", "hydra_plugins", "submitit", "train.py", "torch.py", "yaml.py"]
NOT_TO_PREDICT = {
    "pytorch_lightning",
    "lightning_fabric",
    "torchmetrics",
    "matplotlib",
    "wandb",
    "mlflow",
    "tensorboard",
}


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """Recordings in a folder per class, beside folders that have the names of our own."""
    folder = tmp_path_factory.mktemp("of its own")
    for label in ("Bark", "Meow"):
        for i in range(12):
            file = folder / "sounds" / ("verified" if i % 2 else "") / label / f"{i:02d}.wav"
            file.parent.mkdir(parents=True, exist_ok=True)
            soundfile.write(file, tune(100 * len(label) + ord(label[0]) + i), TUNE_RATE_HZ)
    for name in ("conf", "audiotag"):
        (folder / name).mkdir()
    return folder


def test_commands_make_a_tagger_of_a_labelled_folder_and_hand_it_on(folder):
    def audiotag(*arguments: str) -> str:
        code, output = run_program(COMMAND, [*arguments], folder)
        assert code == 0, output
        return output

    audiotag("train", *SMALL)
    ledger = pd.read_csv(folder / "runs" / "mine" / "ledger.csv")
    assert len(ledger) == 2 * 12  # the unverified ones, in two rounds
    assert "Considered" in audiotag("verify", "run=mine", "verification=accept_all")
    audiotag("predict", "run=mine", "source=sounds", "out=labels.csv")
    assert len(pd.read_csv(folder / "labels.csv")) == 24
    audiotag("export", "run=mine", "to=folder", "out=handed_on")
    assert {file.name for file in (folder / "handed_on").iterdir()} == {"config.json", "model.safetensors", "README.md"}
    assert json.loads((folder / "handed_on" / "config.json").read_text())["classes"] == ["Bark", "Meow"]
    assert "Bark" in (folder / "handed_on" / "README.md").read_text()
    assert "mine" in audiotag("compare")


def test_prediction_needs_neither_lightning_nor_matplotlib_nor_a_tracker(folder):
    if not (folder / "runs" / "mine").is_dir():
        assert run_program(COMMAND, ["train", *SMALL], folder)[0] == 0
    code = f"NAMES = {NOT_TO_PREDICT}\n{WITHOUT}"
    done = subprocess.run(
        [sys.executable, "-c", code, "predict", "run=mine", "source=sounds", "out=alone.csv"],
        cwd=folder, env={**os.environ, "PYTHONPATH": str(TOP)}, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert len(pd.read_csv(folder / "alone.csv")) == 24


@pytest.fixture
def installed(tmp_path):
    """The package as it is installed, called in a folder with files of somebody's that have the names of ours."""
    packages, place, notes = tmp_path / "packages", tmp_path / "place", tmp_path / "notes"
    shutil.copytree(TOP / "audiotag", packages / "audiotag", ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copytree(TOP / "conf", packages / "audiotag" / "conf")
    (packages / "sitecustomize.py").write_text(f"PLACE, TAKEN, NOTES = {f'{place}/', TAKEN, str(notes)}\n{OBSERVER}")
    script = tmp_path / "bin" / "audiotag"
    script.parent.mkdir()
    script.write_text(SCRIPT)
    for name in TAKEN:
        file = place / (name if name.endswith(".py") else f"{name}/__init__.py")
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text("raise SystemExit('not ours')\n")
    shutil.copytree(TOP / "conf", place / "conf", dirs_exist_ok=True)
    (place / "conf" / "train.yaml").write_text("seed: [not ours\n")

    def call(*arguments: str) -> str:
        done = subprocess.run(
            [sys.executable, script, *arguments],
            cwd=place, env={**os.environ, "PYTHONPATH": str(packages)}, capture_output=True, text=True, check=False,
        )  # fmt: skip
        assert done.returncode == 0, done.stdout + done.stderr
        assert not notes.exists(), notes.read_text()
        return " ".join((done.stdout + done.stderr).split())

    return call


def test_installed_command_speaks_of_itself_and_reads_nothing_of_a_folder_with_its_names(installed, tmp_path):
    place, small = tmp_path / "place", ["experiment=smoke", "finetune_rounds=0", "folds=2"]
    help_text = installed("predict", "--help")
    assert "usage: audiotag predict [GROUP=OPTION" in help_text
    assert "data=fsdkaggle2018 sets it for audiotag train" in help_text
    assert "usage: audiotag plan data=kaggle" in installed("plan", "--help")
    assert "usage: audiotag show [-h]" in installed("show", "--help")
    screen = installed("train", *small, "run=a", "devices=2", "hardware.workers=1", "report=true")
    assert screen.startswith(f"audiotag train: run {place}/runs/a")
    page = (place / "runs" / "a" / "report.html").read_text(encoding="utf-8")
    assert "audiotag predict run=a" in page
    assert "audiotag train experiment=smoke" in page
    assert "train.py" not in page
    for launcher, name in (("joblib", "b"), ("submitit_local", "c")):
        screen = installed("train", "-m", f"hydra/launcher={launcher}", *small, f"run={name}")
        jobs = [file.read_text() for file in place.glob("runs/.multirun/submitit/*/*_log.out")]
        assert f"audiotag train: run {place}/runs/{name}" in " ".join([screen, *jobs])
    assert installed("verify", "run=a").startswith(f"audiotag verify: run {place}/runs/a")
    assert installed("predict", "run=a", "split=test").startswith(f"audiotag predict: run {place}/runs/a")
    assert "Best" in installed("compare")

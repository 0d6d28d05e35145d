"""`audiotag COMMAND` in a folder of its own: from labelled recordings to a tagger, a ledger, and what is handed on."""

from __future__ import annotations

import json
import os
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

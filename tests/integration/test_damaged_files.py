"""Files of a run that are emptied, cut off, of another kind, flipped by a bit or gone: named, or made again.

Whatever is damaged, a command ends in an error that names the file, or in the result of the whole run; never in another
exception, and never in another result.
"""

from __future__ import annotations

import dataclasses
import os
import re
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pandas as pd
import pytest

from audiotag import compare
from audiotag.config import Hardware, PredictConfig, VerificationChange, VerifyConfig
from audiotag.errors import AudiotagError
from audiotag.experiment.loop import run_experiment
from audiotag.experiment.verify import verify
from audiotag.inference.predict import predict
from audiotag.report.data import read_report_data
from audiotag.report.write import write_report
from audiotag.run.folder import RunFolder
from tests.clips import read_only
from tests.conftest import copy_to_change

CELL = Path("round01") / "fold0"
FILES = ["config.yaml", "manifest.csv", "classes.json", "summary.json", "ledger.csv"]
FILES += [str(CELL / name) for name in ("best.ckpt", "last.ckpt", "posteriors.parquet", "verified_posteriors.parquet")]
FILES += [str(CELL / name) for name in ("status.json", "training.csv", "metrics.csv")]


def flip(file: Path) -> None:
    """Flip one bit in the middle."""
    content = bytearray(file.read_bytes())
    content[len(content) // 2] ^= 1
    file.write_bytes(content)


DAMAGES: dict[str, Callable[[Path], Any]] = {
    "emptied": lambda file: file.write_bytes(b""),
    "cut off": lambda file: file.write_bytes(file.read_bytes()[: file.stat().st_size // 2]),
    "a list": lambda file: file.write_text("[1, 2]\n"),
    "no text": lambda file: file.write_bytes(os.urandom(1000)),
    "flipped": flip,
    "gone": Path.unlink,
}


def train_again(run: Path) -> Any:
    hardware = Hardware(threads=1, workers=0)
    run_experiment(dataclasses.replace(RunFolder(run).config, run=str(run), hardware=hardware))
    return (run / "ledger.csv").read_bytes()


def decide(run: Path) -> Any:
    return verify(VerifyConfig(run=str(run), verification=VerificationChange(rule={"threshold": 0.5}))).to_csv()


def label_test_set(run: Path) -> Any:
    hardware = Hardware(accelerator="cpu", threads=1, workers=0)
    return predict(PredictConfig(run=str(run), split="test", round="1", hardware=hardware, bootstrap=0)).read_bytes()


def compare_runs(run: Path) -> Any:
    return compare.compare([RunFolder(run)]).drop(columns="wall_s").to_csv()


def report(run: Path) -> Any:
    facts = read_report_data(RunFolder(run))
    return facts.ledger.to_csv(), facts.rounds, facts.metrics.to_csv()


COMMANDS = {
    "train": train_again,
    "verify": decide,
    "predict": label_test_set,
    "compare": compare_runs,
    "report": report,
}
# The others are among the slow tests.
QUICK = [
    ("verify", "posteriors.parquet", "flipped"),
    ("verify", "config.yaml", "emptied"),
    ("verify", "status.json", "cut off"),
    ("train", "manifest.csv", "cut off"),
    ("train", "summary.json", "no text"),
    ("predict", "best.ckpt", "flipped"),
    ("predict", "manifest.csv", "cut off"),
    ("predict", "classes.json", "gone"),
    ("compare", "summary.json", "a list"),
    ("report", "metrics.csv", "no text"),
    ("report", "verified_posteriors.parquet", "a list"),
]
CASES = [
    pytest.param(command, file, damage, marks=[] if (command, Path(file).name, damage) in QUICK else pytest.mark.slow)
    for command in COMMANDS
    for file in FILES
    for damage in DAMAGES
    if command == "train"
    or not (file.endswith(("status.json", "summary.json")) and damage == "gone")  # not complete yet
]


@pytest.fixture(scope="module")
def results(small_run: Path, work_folder: Path) -> dict[str, Any]:
    """What each command gives of the whole run."""
    made: dict[str, Any] = {}
    here = os.getcwd()
    os.chdir(work_folder)
    try:
        for name, command in COMMANDS.items():
            copy = work_folder / "whole" / name / "whole"
            shutil.copytree(small_run, copy)
            made[name] = command(copy)
    finally:
        os.chdir(here)
    return made


@pytest.mark.parametrize(("command", "file", "damage"), CASES)
def test_damaged_file_is_named_or_made_again(
    small_run, work_folder, results, tmp_path, monkeypatch, capfd, command, file, damage
):
    monkeypatch.chdir(work_folder)
    run = tmp_path / "whole"
    shutil.copytree(small_run, run)
    DAMAGES[damage](run / file)
    try:
        result = COMMANDS[command](run)
    except AudiotagError as error:
        said = str(error) + capfd.readouterr().out
        assert Path(file).name in said or str((run / file).parent) in said, said
    else:
        if isinstance(results[command], tuple):
            assert str(result) == str(results[command])
        else:
            assert result == results[command]


ALIASES = "\n".join(f"a{i + 1}: &a{i + 1} [{', '.join([f'*a{i}'] * 9)}]" for i in range(12))


@pytest.mark.parametrize(
    "text",
    [
        f"a0: &a0 [x]\n{ALIASES}\n",
        f"run: {'[' * 20_000}{']' * 20_000}\n",
        "run: ${oc.env:HOME}\n",
        "run: !!python/name:os.x\n",
    ],
    ids=["aliases", "nested", "environment", "code"],
)
def test_config_of_a_stranger_does_no_harm(tmp_path, text):
    (tmp_path / "config.yaml").write_text(text)
    with pytest.raises(AudiotagError, match=r"config\.yaml is damaged"):
        _ = RunFolder(tmp_path).config


def test_predict_with_a_strangers_run_makes_no_data_set(small_run, tmp_path):
    run = copy_to_change(small_run, tmp_path / "run")
    text = (run / "config.yaml").read_text().partition("\n")[2]
    (run / "config.yaml").write_text(re.sub(r"  root: .*", f"  root: {tmp_path}/elsewhere", text))
    with pytest.raises(AudiotagError, match="root="):
        label_test_set(run)
    assert not (tmp_path / "elsewhere").exists()


def test_compare_is_not_ended_by_one_bad_run(small_run, tmp_path, capfd):
    for name in ("good", "bad"):
        shutil.copytree(small_run, tmp_path / name)
    (tmp_path / "bad" / "summary.json").write_text("{")
    table = compare.compare([RunFolder(tmp_path / name) for name in ("good", "bad")])
    assert table["run"].tolist() == ["good"]
    assert "left out" in capfd.readouterr().out
    assert isinstance(table, pd.DataFrame)


def test_run_that_cannot_be_written_to_is_verified_and_asked_with_out(small_run, work_folder, tmp_path, monkeypatch):
    monkeypatch.chdir(work_folder)
    hardware = Hardware(accelerator="cpu", threads=1, workers=0)
    decide = VerifyConfig(
        run=str(small_run), verification=VerificationChange(rule={"threshold": 0.5}), hardware=hardware
    )
    expected = verify(dataclasses.replace(decide, out=str(tmp_path / "before")))
    with read_only(small_run):
        assert verify(dataclasses.replace(decide, out=str(tmp_path / "now"))).equals(expected)
        asked = PredictConfig(run=str(small_run), split="test", round="1", hardware=hardware, bootstrap=0)
        predict(dataclasses.replace(asked, out=str(tmp_path / "now" / "predictions.csv")))
        compare.compare([RunFolder(small_run)])
        refused: dict[str, Callable[[], Any]] = {
            "out=DIR": lambda: verify(decide),
            "with out=": lambda: predict(asked),
            "vote_again=true": lambda: verify(dataclasses.replace(decide, vote_again=True, out=str(tmp_path / "now"))),
            "set run=": lambda: train_again(small_run),
            "report": lambda: write_report(RunFolder(small_run)),
        }
        for says, command in refused.items():
            with pytest.raises(AudiotagError, match=f"{small_run}.*nothing can be written") as caught:
                command()
            assert says in str(caught.value)
    names = {path.name for path in (tmp_path / "now").iterdir()}
    assert {"decisions.csv", "predictions.csv", "scores.json"} <= names
    (ledger,) = (tmp_path / "now").glob("*/ledger.csv")
    assert ledger.read_bytes() == next((tmp_path / "before").glob("*/ledger.csv")).read_bytes()


def test_verify_leaves_a_folder_of_decisions_that_it_did_not_make(small_run, tmp_path):
    (tmp_path / "decisions.csv").write_text("mine\n")
    decide = VerifyConfig(run=str(small_run), out=str(tmp_path))
    with pytest.raises(AudiotagError, match="was not written by this command"):
        verify(decide)
    assert [path.name for path in tmp_path.iterdir()] == ["decisions.csv"]


@pytest.mark.parametrize("name", ["posteriors.parquet", "verified_posteriors.parquet"])
@pytest.mark.parametrize("value", [1.5, -0.5, float("nan"), float("inf")])
def test_posteriors_that_are_no_probabilities_are_found_without_checksums(small_run, tmp_path, name, value):
    run = copy_to_change(small_run, tmp_path / "run")
    table = pd.read_parquet(run / CELL / name)
    table.iloc[0, 1] = value
    table.to_parquet(run / CELL / name)
    with pytest.raises(AudiotagError, match=f"{name} is damaged"):
        decide(run)

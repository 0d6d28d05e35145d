"""Sweeps through the real programs: every launcher, Optuna, what is shown at the end, and what is left behind."""

from __future__ import annotations

import json
import os
import re
import shutil
import signal
import subprocess
import sys
import time
import uuid
from pathlib import Path

import pandas as pd
import pytest

from tests.clips import TOP
from tests.job import MARK, left_behind, marked

# One epoch on 128 clips: seconds, most of them for starting Python and PyTorch.
SMALL = ["experiment=smoke", "folds=2", "training.pretrain={epochs: 1, decay_from_epoch: 1}"]
SMALL += ["training.finetune={epochs: 1, decay_from_epoch: 1}"]


@pytest.fixture
def sweep(work_folder: Path):
    """Call a program and make sure that it ends as expected, without a traceback, and leaves no process behind."""
    mark = uuid.uuid4().hex

    def call(name: str, *arguments: str, expected: int = 0) -> str:
        environment = {**os.environ, "PYTHONPATH": str(TOP), MARK: mark}
        command = [sys.executable, *name.split(), *arguments]
        done = subprocess.run(command, cwd=work_folder, capture_output=True, text=True, env=environment, timeout=300)
        output = done.stdout + done.stderr
        assert done.returncode == expected, output
        assert "Traceback" not in output
        assert not left_behind(mark, within_s=10)
        return output

    return call


TRAIN, VERIFY = str(TOP / "train.py"), str(TOP / "verify.py")


def run_folders(runs: Path) -> list[Path]:
    return sorted(path for path in runs.iterdir() if not path.name.startswith("."))


def seeds(runs: Path) -> list[int]:
    """Return the seeds of the complete runs."""
    folders = [folder for folder in run_folders(runs) if json.loads((folder / "summary.json").read_text())["rounds"]]
    return sorted(int(re.search(r"^seed: (\d+)$", (f / "config.yaml").read_text(), re.M)[1]) for f in folders)


def test_sweep_does_all_folds_of_a_round_before_the_next(program):
    """Whatever the order on the command line; the jobs themselves are refused, which is quick."""
    cells = ["fold=0,1", "seed=0", "round=range(0,2)"]
    output = program("train.py", "-m", *cells, "finetune_rounds=-1", "runs_dir=runs_order", expected=2)
    jobs = re.findall(r"#\d : (.*)", output)
    assert [re.findall(r"(?:round|fold)=(\d)", job) for job in jobs] == [list(c) for c in ("00", "01", "10", "11")]


@pytest.mark.slow
def test_sweep_over_folds_and_rounds_makes_one_run(sweep, work_folder):
    sweep(TRAIN, "-m", *SMALL, "finetune_rounds=1", "fold=0,1", "round=range(0,2)", "run=cells", "runs_dir=runs_cells")
    summary = json.loads((work_folder / "runs_cells" / "cells" / "summary.json").read_text())
    assert [r["round"] for r in summary["rounds"]] == [0, 1]
    assert [folder.name for folder in run_folders(work_folder / "runs_cells")] == ["cells"]


@pytest.mark.slow
@pytest.mark.parametrize(("launcher", "settings"), [("joblib", ["hydra.launcher.n_jobs=2"]), ("submitit_local", [])])
def test_sweep_may_do_two_jobs_side_by_side(sweep, work_folder, launcher, settings):
    runs = work_folder / f"runs_{launcher}"
    output = sweep(
        TRAIN,
        "-m",
        f"hydra/launcher={launcher}",
        *settings,
        *SMALL,
        "finetune_rounds=0",
        "devices=auto",
        "seed=0,1",
        f"runs_dir={runs}",
    )
    assert seeds(runs) == [0, 1]
    devices = [re.search(r"^devices: (.*)$", (run / "config.yaml").read_text(), re.M)[1] for run in run_folders(runs)]
    assert devices == ["1", "1"], "each job has its share of the cores"
    assert len(run_folders(runs)) == 2, "one folder per job"
    table = output[output.rindex(" Run ") :]
    assert len(re.findall(r"^ *\d +1 of 1 ", table, re.M)) == 2, "one table over the jobs' runs"
    for folder in run_folders(runs):
        assert re.search(rf"^ *\d {re.escape(folder.name)}$", output, re.M)


@pytest.mark.parametrize("launcher", ["joblib", "submitit_local"])
def test_sweep_shows_errors_of_its_jobs(sweep, work_folder, launcher):
    runs = work_folder / f"runs_wrong_{launcher}"
    arguments = ["-m", f"hydra/launcher={launcher}", "finetune_rounds=-1,-2", f"runs_dir={runs}"]
    output = sweep(TRAIN, *arguments, expected=2)
    for message in (
        "finetune_rounds=-1 must be 0 or more",
        "finetune_rounds=-2 must be 0 or more",
        "2 of 2 jobs failed",
    ):
        assert message in output
    assert not run_folders(runs)


def failing(run: Path) -> None:
    """Make a run fail when it is about to train: with a checkpoint to go on from that is none."""
    (run / "round00" / "fold0").mkdir(parents=True)
    (run / "round00" / "fold0" / "last.ckpt").write_bytes(b"no checkpoint")


@pytest.mark.slow
def test_sweep_goes_on_after_one_failed_job(sweep, work_folder):
    """Its job fails, the other is run and shown, and the exit code tells."""
    failing(work_folder / "runs_failed" / "of-0")
    settings = ["finetune_rounds=0", "seed=0,1", "run='of-${seed}'", "runs_dir=runs_failed"]
    output = sweep(TRAIN, "-m", *SMALL, *settings, expected=2)
    assert "job 0 (" in output
    assert "last.ckpt: the weights cannot be read" in output
    assert "1 of 2 jobs failed" in output
    assert len(re.findall(r" +[01] of 1 ", output[output.rindex(" Run ") :])) == 2, "the unfinished run is shown too"


OPTUNA = [
    "hparams_search=optuna",
    *SMALL[:2],
    "finetune_rounds=0",
    "model.network.dropout=0.0",
    "training.pretrain.epochs=1",
]
OPTUNA += ["training.pretrain.decay_from_epoch=1"]


@pytest.mark.slow
def test_search_finds_the_best_trial(sweep, work_folder):
    """Without -m: hparams_search= says it."""
    runs = work_folder / "runs_optuna"
    output = sweep(TRAIN, *OPTUNA, "hydra.sweeper.n_trials=2", f"runs_dir={runs}")
    losses = [json.loads((f / "summary.json").read_text())["rounds"][0]["valid_loss"] for f in run_folders(runs)]
    assert len(losses) == 2, "one folder per trial"
    assert float(re.search(r"Best value: (\S+)", output)[1]) == min(losses)


@pytest.mark.slow
def test_search_goes_on_where_it_was(sweep, tmp_path):
    """The first trial is found complete the second time."""
    sweep(TRAIN, *OPTUNA, "hydra.sweeper.n_trials=1", f"runs_dir={tmp_path}")
    (first,) = run_folders(tmp_path)
    weights = first / "round00" / "fold0" / "best.ckpt"
    before = weights.stat().st_mtime_ns
    sweep(TRAIN, *OPTUNA, "hydra.sweeper.n_trials=2", f"runs_dir={tmp_path}")
    assert len(run_folders(tmp_path)) == 2
    assert weights.stat().st_mtime_ns == before


def test_search_is_ended_by_a_wrong_setting(program):
    output = program("train.py", *OPTUNA, "data=kaggle", "runs_dir=runs_wrong_search", expected=1)
    assert "data=kaggle needs data.root=DIR" in output
    assert output.count("Launching 1 jobs") == 1


@pytest.mark.slow
def test_search_trial_whose_run_fails_is_a_failed_one(sweep, work_folder):
    """The sampler of this seed asks for the rate whose run fails first."""
    runs = work_folder / "runs_optuna_failed"
    failing(runs / "of-0.01")
    search = ["training.pretrain.learning_rate=choice(0.003,0.01)", "hydra.sweeper.sampler.seed=3"]
    search += ["run='of-${training.pretrain.learning_rate}'", f"runs_dir={runs}"]
    output = sweep(TRAIN, *OPTUNA, *search, "hydra.sweeper.n_trials=2", expected=2)
    assert "last.ckpt: the weights cannot be read" in output
    assert "1 of 2 jobs failed" in output
    assert len(run_folders(runs)) == 2, "the search goes on"
    assert "'training.pretrain.learning_rate': 0.003" in output[output.index("Best parameters") :]


@pytest.mark.slow
@pytest.mark.parametrize(
    "choices",
    [
        ["-m", "seed=0,1,2,3"],
        ["-m", "seed=0,1,2,3", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2"],
        ["-m", "seed=0,1,2,3", "hydra/launcher=submitit_local"],
        ["hparams_search=optuna", "hydra.sweeper.n_trials=4"],
        ["hparams_search=optuna", "hydra.sweeper.n_trials=4", "hydra.sweeper.n_jobs=2", "hydra/launcher=joblib"],
    ],
)
def test_sweep_may_have_jobs_of_two_ranks(sweep, tmp_path, choices):
    sweep(TRAIN, *choices, *OPTUNA[1:], "devices=2", f"runs_dir={tmp_path}")
    assert len(run_folders(tmp_path)) == 4
    assert all((folder / "summary.json").is_file() for folder in run_folders(tmp_path))


@pytest.mark.slow
def test_submitit_job_that_is_preempted_is_queued_again_and_resumes(work_folder, tmp_path):
    """As on a cluster: submitit's own signal, in the middle of a cell."""
    mark = uuid.uuid4().hex
    command = [
        sys.executable,
        TRAIN,
        "-m",
        "hydra/launcher=submitit_local",
        "experiment=smoke",
        "folds=2",
        "finetune_rounds=0",
    ]
    command += ["training.pretrain.epochs=60", "run=preempted", f"runs_dir={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": str(TOP), MARK: mark}
    metrics = tmp_path / "preempted" / "round00" / "fold0" / "metrics.csv"
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen(command, cwd=work_folder, stdout=log, stderr=log, env=environment) as program,
    ):
        deadline = time.monotonic() + 120
        while not metrics.is_file() or len(pd.read_csv(metrics)) < 3:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        (task,) = (process for process in marked(mark) if "submitit.core._submit" in process.words)
        os.kill(task.number, signal.SIGUSR2)
        assert program.wait(timeout=240) == 0, (tmp_path / "log").read_text()
    assert not left_behind(mark, within_s=10)
    (printed,) = (tmp_path / ".multirun" / "submitit").glob("*/*_log.out")
    assert "Requeued job" in printed.read_text()
    assert list(pd.read_csv(metrics)["epoch"]) == list(range(60))


@pytest.mark.slow
@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
def test_sweep_that_is_killed_leaves_no_process(work_folder, tmp_path, number):
    mark = uuid.uuid4().hex
    command = [sys.executable, TRAIN, "-m", "hydra/launcher=joblib", "hydra.launcher.n_jobs=2", "experiment=smoke"]
    command += ["folds=2", "finetune_rounds=0", "training.pretrain.epochs=1000", "seed=0,1", f"runs_dir={tmp_path}"]
    environment = {**os.environ, "PYTHONPATH": str(TOP), MARK: mark}
    with (
        open(tmp_path / "log", "w") as log,
        subprocess.Popen(command, cwd=work_folder, stdout=log, stderr=log, env=environment) as program,
    ):
        deadline = time.monotonic() + 120
        while len(list(tmp_path.glob("*/round00/fold0/metrics.csv"))) < 2:
            assert time.monotonic() < deadline, (tmp_path / "log").read_text()
            time.sleep(0.2)
        program.send_signal(number)
        assert program.wait(timeout=60) != 0
    assert not left_behind(mark, within_s=40)


# Gathering


@pytest.fixture(scope="session")
def compared(tmp_path_factory, smoke_run) -> Path:
    """A folder of runs: a finished one with test scores, one broken off in round 1, one of nothing but settings."""
    runs = tmp_path_factory.mktemp("compared")
    shutil.copytree(smoke_run, runs / "whole")
    best = json.loads((smoke_run / "summary.json").read_text())["best_round"]
    for where, round_, map3 in (("test", best, 0.375), ("test-round0", 0, 0.25), ("test-round2", 2, 0.75)):
        scores = {"usage": None, "clips": 16, "accuracy": map3 / 2, "map@3": map3, "round": round_}
        (runs / "whole" / "predict" / where).mkdir(parents=True, exist_ok=True)
        (runs / "whole" / "predict" / where / "scores.json").write_text(json.dumps(scores))
    for name, kept in (("broken_off", "round0[01]/fold0/*"), ("begun", "none")):
        for file in [smoke_run / "config.yaml", smoke_run / "manifest.csv", *smoke_run.glob(kept)]:
            target = runs / name / file.relative_to(smoke_run)
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy(file, target)
        config = runs / name / "config.yaml"
        text = config.read_text().partition("\n")[2]  # without its checksum, as an older one
        config.write_text(f"\n{text}".replace("\nseed: 0\n", "\nseed: 7\n").replace("width: 4", "width: 6"))
    return runs


def test_compare_gathers_runs_into_one_table(program, compared):
    output = program("-m audiotag.compare", f"runs_dir={compared}", f"out={compared / 'table.csv'}")
    table = pd.read_csv(compared / "table.csv").set_index("run")
    assert list(table.index) == ["begun", "broken_off", "whole"]
    assert list(table.columns[:2]) == ["seed", "model.network.width"], "the settings that differ, and no others"
    assert list(table["state"]) == ["unfinished", "unfinished", "complete"]
    summary = json.loads((compared / "whole" / "summary.json").read_text())
    (best,) = (r for r in summary["rounds"] if r["round"] == summary["best_round"])
    whole = table.loc["whole"]
    for name in ("valid_accuracy", "valid_accuracy_std", "valid_loss", "accepted", "considered", "precision", "recall"):
        assert whole[name] == pytest.approx(best[name], abs=1e-6), name
    scored = {0: 0.25, 2: 0.75}.get(best["round"], 0.375)
    assert (whole["complete"], whole["rounds"], whole["test_map@3"]) == (3, 3, scored)
    assert (whole["last_round"], whole["round0_test_map@3"], whole["last_test_map@3"]) == (2, 0.25, 0.75)
    assert whole["labels_accepted"] == summary["rounds"][1]["accepted"], "round 2 is trained on what round 1 accepted"
    assert whole["last_accuracy"] == pytest.approx(summary["rounds"][2]["valid_accuracy"], abs=1e-6)
    cells = (compared / "whole" / f"round{summary['best_round']:02d}").glob("fold*/status.json")
    map3 = [json.loads(cell.read_text())["valid_map3"] for cell in cells]
    assert whole["valid_map@3"] == pytest.approx(sum(map3) / 4, abs=1e-6)
    assert pd.isna(table.loc["broken_off", "valid_loss"])
    assert output.count("(unfinished)") == 2
    assert "seed=7 model.network.width=6" in output
    assert f"{best['valid_accuracy']:.4f} ± {best['valid_accuracy_std']:.4f}" in output


def test_compare_says_what_cannot_be_gathered(program, compared, tmp_path):
    assert "holds no run folder" in program("-m audiotag.compare", f"runs_dir={tmp_path}", expected=2)
    output = program("-m audiotag.compare", f"runs_dir={compared}", "run=[whole,whale]", expected=2)
    assert "is not a run folder" in output
    assert "whole" in output
    assert "did you mean runs_dir?" in program("-m audiotag.compare", "run_dir=x", expected=2)
    assert "usage: python -m audiotag.compare" in program("-m audiotag.compare", "--help")


def test_compare_shows_the_others_beside_a_run_that_cannot_be_read(program, compared, tmp_path):
    shutil.copytree(compared / "begun", tmp_path / "good")
    shutil.copytree(compared / "begun", tmp_path / "odd")
    with open(tmp_path / "odd" / "config.yaml", "a") as file:
        file.write("colour: blue\n")
    output = program("-m audiotag.compare", f"runs_dir={tmp_path}")
    assert "left out: odd" in output
    assert "colour is not a setting" in output
    assert "good (unfinished)" in output
    assert "colour is not a setting" in program("-m audiotag.compare", f"runs_dir={tmp_path}", "run=odd", expected=2)

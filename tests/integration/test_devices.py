"""Several processes at one run: side by side, in one process group, under torchrun, as jobs of a launcher."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import uuid
from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from tests.conftest import SMALL, TOP
from tests.integration.test_loop import assert_same_result, cells
from tests.job import MARK, left_behind
from tests.programs import OF_TORCHRUN, run_ranks, started

# A step an epoch, so that metrics.csv has the loss of every step; 27 clips, which two ranks cannot share evenly; double
# precision, as Adam's first steps are signs of gradients, and PyTorch's batch norm in single precision flips some.
STEPS = (
    "experiment=smoke", "folds=3", "finetune_rounds=0", "fold=0", "hardware.precision=64-true",
    "cache_dir=cache-of-steps", "verification.excerpts=1",
    "model.network.head_dropout=0", "model.network.width=2", "training.batch_size=50", "training.pretrain.epochs=10",
    "training.pretrain.decay_from_epoch=5", "training.pretrain.mixup_alpha=0.2",
    "data.synthetic.verified_per_class=3", "data.synthetic.unverified_per_class=2",
)  # fmt: skip


def losses(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "round00" / "fold0" / "metrics.csv")[["train_loss", "valid_loss"]]


def test_folds_side_by_side_equal_one_process(small_run, work_folder):
    run_ranks("train.py", [*SMALL, "run=side", "devices=2", "parallel=folds"], work_folder)
    assert_same_result(small_run, small_run.parent / "side")


@pytest.mark.slow
def test_joblib_jobs_at_one_run_equal_one_process(small_run, work_folder):
    """Two at a time: the jobs of round 1 are started while a cell of round 0 is in work, and wait for it."""
    launcher = ("hydra/launcher=joblib", "hydra.launcher.n_jobs=2")
    command = [sys.executable, str(TOP / "train.py"), "-m", *SMALL, "run=jobs", "round=0,1", "fold=0,1", *launcher]
    subprocess.run(command, cwd=work_folder, check=True, timeout=600)
    assert_same_result(small_run, small_run.parent / "jobs")


def test_ranks_lose_in_ten_steps_what_one_device_does(work_folder, program):
    program("train.py", *STEPS, "run=one")
    run_ranks("train.py", [*STEPS, "run=two"], work_folder)
    one, two = (losses(work_folder / "runs" / name) for name in ("one", "two"))
    assert len(one) == 10
    assert one["train_loss"].is_monotonic_decreasing is False, "a loss that only falls would agree with many others"
    np.testing.assert_allclose(one, two, atol=1e-4, rtol=0)


@pytest.mark.slow
def test_ranks_without_sync_batchnorm_normalise_their_own_clips(work_folder, program):
    short = ("training.pretrain.epochs=2", "training.pretrain.decay_from_epoch=1")
    program("train.py", *STEPS, *short, "run=own", "devices=2", "trainer.sync_batchnorm=false")
    one, own = (losses(work_folder / "runs" / name)["train_loss"] for name in ("one", "own"))
    assert abs(one[0] - own[0]) > 1e-3


@pytest.mark.parametrize("devices", ["1", pytest.param("2", marks=pytest.mark.slow)])
def test_vote_again_gives_what_the_run_has_stored(small_run, program, devices):
    shutil.rmtree(small_run / "verify", ignore_errors=True)
    program("verify.py", f"run={small_run.name}", "vote_again=true", f"devices={devices}", "hardware.threads=1")
    again = small_run / "verify" / "votes-5-excerpts"
    assert cells(again)
    for cell in cells(again):
        for name in ("posteriors.parquet", "verified_posteriors.parquet"):
            found, stored = (pd.read_parquet(c / name) for c in (cell, small_run / cell.relative_to(again)))
            assert list(found["clip_id"]) == list(stored["clip_id"])
            np.testing.assert_allclose(found.drop(columns="clip_id"), stored.drop(columns="clip_id"), atol=1e-5)
    (ledger,) = (small_run / "verify").glob("*votes=5/ledger.csv")
    assert ledger.read_bytes() == (small_run / "ledger.csv").read_bytes()


@pytest.mark.slow
def test_vote_again_with_more_excerpts_gives_other_posteriors(small_run, program):
    output = program("verify.py", f"run={small_run.name}", "verification.excerpts=7", expected=2)
    assert "vote_again=true" in output
    program("verify.py", f"run={small_run.name}", "vote_again=true", "verification.excerpts=7", "round=1")
    again = small_run / "verify" / "votes-7-excerpts" / "round01" / "fold0" / "posteriors.parquet"
    stored = pd.read_parquet(small_run / "round01" / "fold0" / "posteriors.parquet")
    difference = (pd.read_parquet(again).set_index("clip_id") - stored.set_index("clip_id")).abs()
    assert 0 < difference.to_numpy().max() < 0.5
    assert not (small_run / "verify" / "votes-7-excerpts" / "round00").exists()


def test_ledger_of_two_ranks_holds_every_unverified_clip_once_per_round(small_run, two_ranks):
    columns = ["round", "fold", "clip_id", "label"]
    one, two = (pd.read_csv(run / "ledger.csv")[columns] for run in (small_run, two_ranks))
    pd.testing.assert_frame_equal(one, two)
    assert (small_run / "manifest.csv").read_bytes() == (two_ranks / "manifest.csv").read_bytes()


TORCHRUN = [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc_per_node=2", str(TOP / "train.py")]


def torchrun(folder: Path, *arguments: str) -> subprocess.CompletedProcess[str]:
    environment = {**os.environ, "PYTHONPATH": f"{TOP}:{os.environ.get('PYTHONPATH', '')}", "OMP_NUM_THREADS": "1"}
    return subprocess.run(
        [*TORCHRUN, *arguments], cwd=folder, env=environment, capture_output=True, text=True, timeout=600
    )


@pytest.mark.slow
def test_ranks_of_a_job_give_what_ranks_of_torchrun_do(two_ranks, program):
    program("train.py", *SMALL, "run=devices", "devices=2")
    assert_same_result(two_ranks, two_ranks.parent / "devices")


@pytest.mark.slow
def test_torchrun_job_starts_nothing_and_gives_the_same(two_ranks, work_folder):
    done = torchrun(work_folder, *SMALL, "run=torchrun")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_result(two_ranks, work_folder / "runs" / "torchrun")
    assert done.stdout.count("Results:") == 1, f"every process has done the whole work:\n{done.stdout}"


@pytest.mark.slow
def test_torchrun_that_is_terminated_ends_its_ranks_and_leaves_a_run_to_go_on_with(work_folder, tmp_path):
    mark = uuid.uuid4().hex
    settings = ["experiment=smoke", "finetune_rounds=0", "folds=2", "fold=0", "run=terminated", f"runs_dir={tmp_path}"]
    settings += ["training.pretrain.epochs=60"]
    environment = {**os.environ, "PYTHONPATH": str(TOP), "OMP_NUM_THREADS": "1", MARK: mark}
    last = tmp_path / "terminated" / "round00" / "fold0" / "last.ckpt"
    with subprocess.Popen([*TORCHRUN, *settings], cwd=work_folder, env=environment) as program:
        deadline = time.monotonic() + 200
        while not last.is_file():
            assert time.monotonic() < deadline
            assert program.poll() is None
            time.sleep(0.1)
        program.terminate()
        assert program.wait(timeout=30) != 0
    assert not left_behind(mark, within_s=2)
    done = torchrun(work_folder, *settings)
    assert done.returncode == 0, done.stdout + done.stderr
    assert list(pd.read_csv(last.with_name("metrics.csv"))["epoch"]) == list(range(60))


def test_torchrun_of_a_sweep_is_refused(work_folder):
    sweep = ["-m", *SMALL, "runs_dir=no", "seed=0,1"]
    with started("train.py", sweep, work_folder, **OF_TORCHRUN) as (process, screen):
        process.join(60)
        assert process.exitcode == 2
        assert "start the multirun without it" in screen()
    assert not list((work_folder / "no").glob("[!.]*"))


@pytest.mark.slow
def test_srun_tasks_are_the_ranks_of_one_job(two_ranks, work_folder):
    """With the variables that srun gives its tasks; there is no SLURM to ask."""
    step = {"SLURM_JOB_ID": str(os.getpid()), "SLURM_STEP_NUM_TASKS": "2", "SLURM_STEP_NUM_NODES": "1"}
    step |= {"SLURM_NTASKS": "2", "SLURM_NODELIST": "127.0.0.1", "PYTHONPATH": str(TOP)}
    command = [sys.executable, str(TOP / "train.py"), *SMALL, "run=srun", "devices=2"]
    tasks = [
        subprocess.Popen(
            command, cwd=work_folder, env={**os.environ, **step, "SLURM_PROCID": str(task), "SLURM_LOCALID": str(task)},
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True,
        )
        for task in range(2)
    ]  # fmt: skip
    outputs = [task.communicate(timeout=300)[0] for task in tasks]
    assert [task.returncode for task in tasks] == [0, 0], outputs
    assert_same_result(two_ranks, work_folder / "runs" / "srun")
    assert "Results:" in outputs[0]
    assert "Results:" not in outputs[1]


@pytest.mark.slow
def test_torchrun_ranks_may_take_a_fold_each(small_run, work_folder):
    done = torchrun(work_folder, *SMALL, "run=apart", "parallel=folds", "devices=2")
    assert done.returncode == 0, done.stdout + done.stderr
    assert_same_result(small_run, work_folder / "runs" / "apart")


@pytest.mark.parametrize(
    ("settings", "said"),
    [
        (("devices=3", "parallel=folds", "folds=2"), "devices=3"),
        (("devices=33", "training.batch_size=32"), "training.batch_size=32"),
        (("devices=0",), "devices=0"),
        (("parallel=fold",), "did you mean folds?"),
        (("hardware.accelerator=gpu",), "GPU"),
    ],
)
def test_devices_that_do_not_fit_are_refused(program, settings, said):
    output = program("train.py", "experiment=smoke", "run=never", *settings, expected=2)
    assert said in output
    assert "Traceback" not in output

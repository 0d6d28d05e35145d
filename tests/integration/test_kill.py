"""Pulling the plug: a run that was killed at random moments ends in the result of an unbroken one, to the bit."""

from __future__ import annotations

import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from tests.conftest import SMALL, TOP
from tests.integration.test_loop import assert_same_result
from tests.job import Job
from tests.programs import started


def kill_until_done(work_folder: Path, run: str, kills: int, longest_s: float, seed: int) -> int:
    """Start the run again and again, killing its whole process group after a random time; return the kills that hit."""
    rng = random.Random(seed)
    command = [sys.executable, str(TOP / "train.py"), "experiment=smoke", f"run={run}"]
    hits = 0
    for _ in range(kills):
        process = subprocess.Popen(
            command, cwd=work_folder, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        try:
            process.wait(rng.uniform(0.5, longest_s))
        except subprocess.TimeoutExpired:
            os.killpg(process.pid, signal.SIGKILL)
            hits += 1
        process.wait()
    subprocess.run(command, cwd=work_folder, check=True, capture_output=True, timeout=600)
    return hits


@pytest.mark.slow
def test_run_killed_twenty_times_ends_like_an_unbroken_one(smoke_run, work_folder):
    hits = kill_until_done(work_folder, "killed20", kills=20, longest_s=9, seed=2)
    assert hits >= 12, "too many starts found the run finished: the kills did not try it"
    assert_same_result(smoke_run, work_folder / "runs" / "killed20")


def test_run_killed_inside_a_cell_goes_on_from_its_last_epoch(small_run, work_folder, program):
    """The checkpoint is marked after the kill: only a run that goes on from it can carry the mark to its metrics."""
    command = [*SMALL, "run=inside"]
    last = work_folder / "runs" / "inside" / "round00" / "fold0" / "last.ckpt"
    deadline = time.monotonic() + 120
    with started("train.py", command, work_folder) as (process, _):
        while not last.is_file() and process.is_alive() and time.monotonic() < deadline:
            time.sleep(0.002)
    assert last.is_file()
    assert not (last.parent / "status.json").exists(), "the cell was complete before the kill"

    checkpoint = torch.load(last, weights_only=True)
    row = checkpoint["callbacks"]["EpochCheckpoint"]["rows"][0]
    unmarked, row["train_loss"] = f"{row['train_loss']:.6f}", 123.0
    torch.save(checkpoint, last)
    program("train.py", *command)

    metrics = last.with_name("metrics.csv")
    assert pd.read_csv(metrics)["train_loss"][0] == 123
    metrics.write_text(metrics.read_text().replace("123.000000", unmarked))
    assert_same_result(small_run, work_folder / "runs" / "inside")


@pytest.mark.slow
def test_predict_killed_at_any_time_leaves_a_whole_table_or_none(small_run, work_folder, tmp_path):
    """25 kills; a table that is there after one is that of a command that was not killed."""
    noise = np.random.default_rng(0).normal(0, 0.1, 44_100 * 120)
    sources = tmp_path / "recordings"
    sources.mkdir()
    for number in range(6):
        soundfile.write(sources / f"{number}.wav", np.roll(noise, 1000 * number), 44_100)
    command = ["run=small", f"source={sources}", "hardware.threads=1"]

    def predicted(out: str, after_s: float | None) -> int:
        with Job([*command, f"out={tmp_path / out}"], work_folder, program="predict.py") as job:
            try:
                code = job.process.wait(after_s)
            except subprocess.TimeoutExpired:
                job.send(signal.SIGKILL, "job")
                code, _, _ = job.end()
        return code

    started = time.monotonic()
    assert predicted("unbroken.csv", None) == 0
    longest_s = time.monotonic() - started
    rng, table, hits = random.Random(5), tmp_path / "killed.csv", 0
    while hits < 25:
        code = predicted("killed.csv", rng.uniform(0.3, longest_s))
        assert code in (0, -signal.SIGKILL)
        hits += code != 0
        if table.exists():
            assert table.read_bytes() == (tmp_path / "unbroken.csv").read_bytes()
        table.unlink(missing_ok=True)
    assert predicted("killed.csv", None) == 0
    assert table.read_bytes() == (tmp_path / "unbroken.csv").read_bytes()


@pytest.mark.slow
def test_run_that_is_interrupted_can_be_resumed(smoke_run, work_folder):
    command = [sys.executable, str(TOP / "train.py"), "experiment=smoke", "run=interrupted"]
    process = subprocess.Popen(command, cwd=work_folder, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
    first = work_folder / "runs" / "interrupted" / "round00" / "fold0" / "last.ckpt"
    while not first.is_file() and process.poll() is None:
        time.sleep(0.01)
    process.send_signal(signal.SIGINT)
    output, _ = process.communicate(timeout=60)
    assert process.returncode != 0, output
    subprocess.run(command, cwd=work_folder, check=True, capture_output=True, timeout=600)
    assert_same_result(smoke_run, work_folder / "runs" / "interrupted")

"""What a process of a job sets: its place among srun's tasks, and PyTorch's numerics; no GPU or cluster is needed."""

from __future__ import annotations

import os

import pytest
import torch

from audiotag.config import Hardware
from audiotag.distributed import worker
from audiotag.distributed.hardware import set_numerics


def port(monkeypatch, **step: str) -> str:
    for name in ("RANK", "MASTER_PORT", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)
    step = {
        "SLURM_STEP_NUM_TASKS": "2",
        "SLURM_PROCID": "0",
        "SLURM_LOCALID": "0",
        "SLURM_NODELIST": "127.0.0.1",
    } | step
    for name, value in step.items():
        monkeypatch.setenv(name, value)
    before = dict(os.environ)
    try:
        worker.take_over_slurm_task()
        return os.environ["MASTER_PORT"]
    finally:
        os.environ.clear()
        os.environ.update(before)


def test_slurm_steps_of_one_job_meet_at_ports_of_their_own(monkeypatch):
    ports = [port(monkeypatch, SLURM_JOB_ID="7", SLURM_STEP_ID=step) for step in "0012"]
    assert ports[0] == ports[1]
    assert len(set(ports)) == 3
    assert all(15_000 <= int(number) < 25_000 for number in ports)


@pytest.mark.parametrize(("precision", "tf32"), [("32-true", False), ("bf16-mixed", True)])
def test_numerics_float32_is_float32(precision, tf32):
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = not tf32, True
    torch.backends.cudnn.deterministic = False
    set_numerics(Hardware(precision=precision, threads=torch.get_num_threads()))
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark

"""A process of torchrun or srun takes its place before it looks for its GPU; no GPU or cluster is needed."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch

from audiotag.config import Hardware, TrainConfig
from audiotag.distributed import gpu_locks as devices
from audiotag.distributed import tasks
from audiotag.distributed.hardware import set_numerics
from audiotag.errors import AudiotagError

RANKS = {"RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "x"}


class LookedForGpuError(Exception):
    """CUDA has been asked, which reads CUDA_VISIBLE_DEVICES once and for all."""


@pytest.fixture
def of_torchrun(monkeypatch):
    """The third of four processes, on a machine whose driver lists four GPUs."""
    for name, value in RANKS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(devices, "DRIVERS", ["/"])
    monkeypatch.setattr(devices, "_uuids", lambda: [f"GPU-{i}" for i in range(4)])
    seen: list[str | None] = []

    def is_available() -> bool:
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        raise LookedForGpuError

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.cuda, "device_count", is_available)
    return seen


def test_worker_hides_other_gpus_before_cuda_is_asked(of_torchrun):
    with pytest.raises(LookedForGpuError):
        tasks.run_as_rank("train", dataclasses.replace(TrainConfig(), devices=4, parallel="folds"))
    assert of_torchrun == ["GPU-2"]


def test_worker_of_ranks_together_sees_all_gpus(of_torchrun):
    with pytest.raises(LookedForGpuError):
        tasks.run_as_rank("train", dataclasses.replace(TrainConfig(), devices=4))
    assert of_torchrun == [None]


@pytest.mark.usefixtures("of_torchrun")
def test_worker_shares_a_gpu_only_if_asked_to(monkeypatch):
    monkeypatch.setattr(devices, "_uuids", lambda: ["GPU-0", "GPU-1"])
    with pytest.raises(AudiotagError, match=r"4 processes on a machine with 2 GPUs: .*share_devices=true"):
        tasks._see_own_gpu_only(Hardware())
    tasks._see_own_gpu_only(Hardware(share_devices=True))
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-0"


def port(monkeypatch, **step: str) -> str:
    for name in ("RANK", "MASTER_PORT"):
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
        tasks._take_place_of_slurm()
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
def test_float32_is_float32(precision, tf32):
    torch.backends.cudnn.allow_tf32, torch.backends.cuda.matmul.allow_tf32 = not tf32, True
    torch.backends.cudnn.deterministic = False
    set_numerics(Hardware(precision=precision, threads=torch.get_num_threads()))
    assert torch.backends.cudnn.allow_tf32 is tf32
    assert not torch.backends.cuda.matmul.allow_tf32
    assert torch.backends.cudnn.deterministic
    assert not torch.backends.cudnn.benchmark

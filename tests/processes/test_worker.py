"""A process of torchrun or srun hides the others' GPUs before it looks for its own; no GPU is needed."""

from __future__ import annotations

import dataclasses
import os

import pytest
import torch

from audiotag.config import Hardware, TrainConfig
from audiotag.distributed import gpu_locks, worker
from audiotag.errors import AudiotagError

RANKS = {"RANK": "2", "LOCAL_RANK": "2", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "TORCHELASTIC_RUN_ID": "x"}


class LookedForGpuError(Exception):
    """CUDA has been asked, which reads CUDA_VISIBLE_DEVICES once and for all."""


def list_gpus(folder, monkeypatch, count: int) -> None:
    """Put a program nvidia-smi that lists so many GPUs first on the path."""
    program = folder / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf 'GPU-%s\\n' " + " ".join(map(str, range(count))) + "\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{folder}:/usr/bin:/bin")


@pytest.fixture
def of_torchrun(tmp_path, monkeypatch):
    """The third of four processes, on a machine whose driver lists four GPUs."""
    for name, value in RANKS.items():
        monkeypatch.setenv(name, value)
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    monkeypatch.setattr(gpu_locks, "DRIVERS", ["/"])
    list_gpus(tmp_path, monkeypatch, 4)
    seen: list[str | None] = []

    def is_available() -> bool:
        seen.append(os.environ.get("CUDA_VISIBLE_DEVICES"))
        raise LookedForGpuError

    monkeypatch.setattr(torch.cuda, "is_available", is_available)
    monkeypatch.setattr(torch.cuda, "device_count", is_available)
    return seen


def test_worker_hides_other_gpus_before_cuda_is_asked(of_torchrun):
    with pytest.raises(LookedForGpuError):
        worker.run_as_rank("json:dumps", dataclasses.replace(TrainConfig(), devices=4), apart=True)
    assert of_torchrun == ["GPU-2"]


def test_worker_of_ranks_together_sees_all_gpus(of_torchrun):
    with pytest.raises(LookedForGpuError):
        worker.run_as_rank("json:dumps", dataclasses.replace(TrainConfig(), devices=4), apart=False)
    assert of_torchrun == [None]


@pytest.mark.usefixtures("of_torchrun")
def test_worker_shares_a_gpu_only_if_asked_to(tmp_path, monkeypatch):
    list_gpus(tmp_path, monkeypatch, 2)
    with pytest.raises(AudiotagError, match=r"4 processes on a machine with 2 GPUs: .*share_devices=true"):
        gpu_locks.see_own_gpu_only(Hardware(), 2, 4)
    gpu_locks.see_own_gpu_only(Hardware(share_devices=True), 2, 4)
    assert os.environ["CUDA_VISIBLE_DEVICES"] == "GPU-0"

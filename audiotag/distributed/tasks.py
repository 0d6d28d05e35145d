"""What a process of a job does on its device: joins the others, works, parts from them."""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from typing import Any

from pytorch_lightning.plugins.environments import SLURMEnvironment

from audiotag.config import Hardware, TrainConfig, VerifyConfig
from audiotag.config.schema import to_dict
from audiotag.console import console
from audiotag.distributed import context
from audiotag.distributed.gpu_locks import for_processes, gpus
from audiotag.distributed.hardware import choose_device
from audiotag.errors import AudiotagError
from audiotag.experiment.loop import run_experiment
from audiotag.experiment.vote_again import vote_again
from audiotag.files import full_disk_reported
from audiotag.randomness import key

TASKS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "train": (TrainConfig, run_experiment),
    "vote_again": (VerifyConfig, vote_again),
}


def run_as_rank(task: str, config: Any) -> Any:
    """Do a task together with the other processes of the job, if there are any; the leading one returns its result."""
    _, function = TASKS[task]
    _take_place_of_slurm()
    _check_devices(config)
    apart = getattr(config, "parallel", "batches") == "folds"
    if apart:
        _see_own_gpu_only(config.hardware)  # before anything initialises CUDA, which reads the variable once
    device = choose_device(config.hardware)  # refuses one that is not there
    context.join(device.type, apart)
    console.quiet = not context.is_job_leader()
    context.assert_same_on_all_ranks("The configuration", json.dumps(to_dict(config), sort_keys=True))
    with full_disk_reported():
        result = function(config)
    context.leave()
    return result


def _take_place_of_slurm() -> None:
    """Say as torchrun would which of srun's tasks this process is."""
    environment = os.environ
    size = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if size == 1 or "RANK" in environment:
        return
    local_size = size // int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    environment |= {"RANK": environment["SLURM_PROCID"], "WORLD_SIZE": str(size)}
    environment |= {"LOCAL_RANK": environment["SLURM_LOCALID"], "LOCAL_WORLD_SIZE": str(local_size)}
    # Lightning knows how to read the list of machines; the port is by its custom too, other for other jobs.
    machines = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", "127.0.0.1"))
    environment["MASTER_ADDR"] = SLURMEnvironment.resolve_root_node_address(machines)
    # Steps of one job may run side by side.
    step = environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID", "0"))
    environment["MASTER_PORT"] = str(15_000 + key("port", environment["SLURM_JOB_ID"], step) % 10_000)


def _see_own_gpu_only(hardware: Hardware) -> None:
    """Hide the GPUs of the other processes on this machine, which torchrun and srun let every one of them see.

    Raises AudiotagError where there are fewer GPUs than processes, and they are not to be shared.
    """
    local, seen = context.from_environment(), gpus(hardware.accelerator)
    if len(seen) < 2:
        return  # none, or what srun has given to this process alone
    if local.local_world_size > len(seen) and not hardware.share_devices:
        raise AudiotagError(
            f"the job was started as {local.local_world_size} processes on a machine with {len(seen)} GPUs: start as "
            "many as there are GPUs, or set hardware.share_devices=true"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = for_processes(local.local_world_size, seen, apart=True)[local.local_rank]


def _check_devices(config: Any) -> None:
    there = context.processes_on_this_machine()
    if config.devices not in (1, there):
        raise AudiotagError(f"devices={config.devices}, but the job was started as {there} processes on this machine")

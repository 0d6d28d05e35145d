"""The processes that fit one network together, a device each: which one this is, and what they exchange."""

from __future__ import annotations

import contextlib
import dataclasses
import datetime
import hashlib
import os
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist

from audiotag.distributed.processes import STORE_FD
from audiotag.errors import AudiotagError

Value = TypeVar("Value")
# Ranks wait for rank zero while it waits for other processes' cells; that may take days.
TIMEOUT = datetime.timedelta(days=30)


@dataclass(frozen=True)
class DistributedContext:
    """One process of a group: its number among all, and among those on its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


ALONE = DistributedContext()
_job = _current = ALONE  # among the job's processes, and among those that fit a network together
_control: dist.ProcessGroup | None = None


def from_environment() -> DistributedContext:
    """Return the context that torchrun's variables give this process; without them, that of a single process."""
    values = [os.environ.get(name) for name in ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")]
    return ALONE if None in values else DistributedContext(*map(int, filter(None, values)))


def current() -> DistributedContext:
    """Return this process's place among those that fit a network together."""
    return _current


def is_rank_zero() -> bool:
    """Return whether this process does what is done once per network, such as writing its files."""
    return _current.rank == 0


def is_job_leader() -> bool:
    """Return whether this process does what is done once per job, such as printing its results."""
    return _job.rank == 0


def processes_on_this_machine() -> int:
    """Return how many processes of the job share this machine."""
    return _job.local_world_size


@contextlib.contextmanager
def joined(job: DistributedContext, device_type: str, apart: bool) -> Iterator[None]:
    """Be part of a job in the block: in one process group with its other processes, unless they work `apart`."""
    global _job, _current, _control
    try:
        _job = job
        if not apart and job.world_size > 1:
            _current = _init_process_group(job, device_type)
            _control = dist.new_group(backend="gloo", timeout=TIMEOUT)
        # Lightning has read it from the environment, where processes that work apart have a number too.
        from pytorch_lightning.utilities.rank_zero import rank_zero_only  # here: who predicts needs no Lightning

        rank_zero_only.rank = _current.rank  # type: ignore[attr-defined]
        yield
        leave()
    finally:
        _job, _current, _control = ALONE, ALONE, None


def _init_process_group(job: DistributedContext, device_type: str) -> DistributedContext:
    if os.environ.get("MASTER_ADDR") == "127.0.0.1":
        os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # whatever the machine's name resolves to
    if device_type == "cuda":
        if torch.cuda.device_count() == 1:  # srun --gpus-per-task=1: a machine of its own, as far as one can see
            job = dataclasses.replace(job, local_rank=0, local_world_size=1)
        torch.cuda.set_device(job.local_rank)
    backend = "nccl" if device_type == "cuda" else "gloo"
    dist.init_process_group(backend, store=_store(job), rank=job.rank, world_size=job.world_size)
    return job


def _store(job: DistributedContext) -> dist.Store | None:
    """Return the store at which ranks that this project started meet; None leaves it to the environment."""
    if "TORCHELASTIC_RUN_ID" in os.environ or "MASTER_PORT" not in os.environ:
        return None
    options: dict[str, Any] = {"is_master": job.rank == 0, "wait_for_workers": False}
    if job.rank == 0 and STORE_FD in os.environ:
        options["master_listen_fd"] = int(os.environ[STORE_FD])
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), job.world_size, **options)


def leave() -> None:
    """Wait for the other ranks, then leave the group; a process that leaves earlier makes the others abort."""
    if _control is not None:
        dist.barrier(group=_control)
        dist.destroy_process_group()


def all_gather(value: Value) -> list[Value]:
    """Return the values of all ranks, in order, on every rank."""
    values: list[Any] = [value] * _current.world_size
    if _control is not None:
        dist.all_gather_object(values, value, group=_control)
    return values


def broadcast(value: Value) -> Value:
    """Return rank zero's value on every rank."""
    values = [value]
    if _control is not None:
        dist.broadcast_object_list(values, src=0, group=_control)
    return values[0]


def assert_same_on_all_ranks(what: str, text: str) -> None:
    """Raise AudiotagError if a text is not the same on every rank."""
    digests = all_gather(hashlib.sha256(text.encode()).hexdigest())
    different = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
    if different:
        raise AudiotagError(
            f"{what} differs between the processes of this job (rank 0 and {', '.join(different)}): start all of them "
            "with the same command, on the same files"
        )

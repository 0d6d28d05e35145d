"""The processes that fit one network together, a device each: which one this is, and what they tell each other.

A rank is one of them; the first does what is to be done once, such as writing files.
"""

from __future__ import annotations

import dataclasses
import datetime
import hashlib
import os
from dataclasses import dataclass
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from pytorch_lightning.plugins.environments import ClusterEnvironment
from pytorch_lightning.utilities.rank_zero import rank_zero_only

from audiotag.distributed.processes import STORE_FD
from audiotag.errors import AudiotagError

Value = TypeVar("Value")
# Ranks wait for the first while it waits for other processes' cells; that may take days.
PATIENCE = datetime.timedelta(days=30)


@dataclass(frozen=True)
class DistributedContext:
    """One process among those that fit a network together: its number among all, and among those on its machine."""

    rank: int = 0
    world_size: int = 1
    local_rank: int = 0
    local_world_size: int = 1


ALONE = DistributedContext()
_current = ALONE
_number = 0
_control: dist.ProcessGroup | None = None


def from_environment() -> DistributedContext:
    """Return the context that torchrun's variables give this process; the only one, where there are none."""
    names = ("RANK", "WORLD_SIZE", "LOCAL_RANK", "LOCAL_WORLD_SIZE")
    return (
        DistributedContext(*(int(os.environ[name]) for name in names))
        if all(map(os.environ.__contains__, names))
        else ALONE
    )


def current() -> DistributedContext:
    """Return this process among those that fit together; alone, where it has not joined any."""
    return _current


def is_rank_zero() -> bool:
    """Say whether this process does what is to be done once for a network, such as writing its files."""
    return _current.rank == 0


def is_job_leader() -> bool:
    """Say whether this process does what is to be done once for the whole job, such as speaking to its user."""
    return _number == 0


def processes_on_this_machine() -> int:
    """Return how many processes of the job share this machine."""
    return from_environment().local_world_size


def join(device_type: str, apart: bool) -> None:
    """Meet the other processes of the job that the environment tells of, unless they are to work `apart`."""
    global _current, _number, _control
    found = from_environment()
    _number = found.rank
    if not apart and found.world_size > 1:
        if os.environ.get("MASTER_ADDR") == "127.0.0.1":
            os.environ.setdefault("GLOO_SOCKET_IFNAME", "lo")  # whatever the machine's name resolves to
        if device_type == "cuda":
            if torch.cuda.device_count() == 1:  # srun --gpus-per-task=1: a machine of its own, as far as one can see
                found = dataclasses.replace(found, local_rank=0, local_world_size=1)
            torch.cuda.set_device(found.local_rank)
        backend = "nccl" if device_type == "cuda" else "gloo"
        dist.init_process_group(backend, store=_store(found), rank=found.rank, world_size=found.world_size)
        _control = dist.new_group(backend="gloo", timeout=PATIENCE)
        _current = found
    # Lightning has read it from the environment, where processes apart have a number too.
    rank_zero_only.rank = _current.rank  # type: ignore[attr-defined]


def _store(found: DistributedContext) -> dist.Store | None:
    """Return the store that the ranks of this project's own launcher meet at; None leaves it to the environment."""
    if "TORCHELASTIC_RUN_ID" in os.environ or "MASTER_PORT" not in os.environ:
        return None
    options: dict[str, Any] = {"is_master": found.rank == 0, "wait_for_workers": False}
    if found.rank == 0 and STORE_FD in os.environ:
        options["master_listen_fd"] = int(os.environ[STORE_FD])
    return dist.TCPStore(os.environ["MASTER_ADDR"], int(os.environ["MASTER_PORT"]), found.world_size, **options)


def leave() -> None:
    """Wait for the others, then part; a process that leaves earlier makes the others abort."""
    global _current, _number, _control
    if dist.is_initialized():
        dist.barrier(group=_control)
        dist.destroy_process_group()
    _current, _number, _control = ALONE, 0, None


def all_gather(value: Value) -> list[Value]:
    """Return the values of all ranks, in order, on every rank."""
    if _control is None:
        return [value]
    values: list[Any] = [None] * _current.world_size
    dist.all_gather_object(values, value, group=_control)
    return values


def broadcast(value: Value) -> Value:
    """Return the first rank's value on every rank."""
    if _control is None:
        return value
    values = [value]
    dist.broadcast_object_list(values, src=0, group=_control)
    return values[0]


def assert_same_on_all_ranks(what: str, text: str) -> None:
    """Make sure that a text is the same on every rank; raises AudiotagError where it is not."""
    digests = all_gather(hashlib.sha256(text.encode()).hexdigest())
    if len(set(digests)) > 1:
        different = [str(rank) for rank, digest in enumerate(digests) if digest != digests[0]]
        raise AudiotagError(
            f"{what} differs between the processes of this job (rank 0 and {', '.join(different)}): start all of them "
            "with the same command, on the same files"
        )


class RanksEnvironment(ClusterEnvironment):
    """Tells Lightning of the place found here, so that it looks for none of its own and starts no process."""

    @property
    def creates_processes_externally(self) -> bool:
        """Always: Lightning starts none."""
        return True

    @property
    def main_address(self) -> str:
        """Unused: the ranks have met before."""
        return "127.0.0.1"

    @property
    def main_port(self) -> int:
        """Unused: the ranks have met before."""
        return 0

    @staticmethod
    def detect() -> bool:
        """Never found by itself; it is passed to the Trainer."""
        return False

    def world_size(self) -> int:
        """Return the number of ranks."""
        return _current.world_size

    def set_world_size(self, size: int) -> None:
        """Keep what was found; Lightning counts devices times machines, which is the same."""

    def global_rank(self) -> int:
        """Return the number of this rank among all."""
        return _current.rank

    def set_global_rank(self, rank: int) -> None:
        """Keep what was found."""

    def local_rank(self) -> int:
        """Return the number of this rank on its machine."""
        return _current.local_rank

    def node_rank(self) -> int:
        """Return the number of the machine."""
        return _current.rank // _current.local_world_size

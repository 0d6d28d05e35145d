"""Which GPUs a job may use: those that no other job of this user on this machine holds."""

from __future__ import annotations

import contextlib
import ctypes
import itertools
import os
import shutil
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Protocol

import filelock

from audiotag.errors import AudiotagError
from audiotag.files import FileLock

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, the same in WSL, AMD
NOT_INITIALIZED = 3  # of CUDA's driver

_bound_to: list[str] = []  # the GPU that CUDA knows in this process, once a job has run in it


class Hardware(Protocol):
    """The settings of what the work runs on that this room reads; `audiotag.config.Hardware` says what they mean."""

    @property
    def accelerator(self) -> str: ...
    @property
    def precision(self) -> str: ...
    @property
    def threads(self) -> int | None: ...
    @property
    def share_devices(self) -> bool: ...


@contextlib.contextmanager
def gpus_of_job(devices: int, hardware: Hardware, apart: bool) -> Iterator[list[str]]:
    """Yield the GPU of each of a job's `devices` processes, none on a CPU; other jobs wait for them until the end.

    `apart`: each process fits networks of its own. Raises AudiotagError where there are too few GPUs.
    """
    available = gpus(hardware.accelerator)
    if devices == 1 and available:
        available = _left_to_this_process(available)
    if available and not hardware.share_devices:
        with claimed(devices, available, locks_folder(), _say_waiting) as names:
            yield names
    else:
        yield for_processes(devices, available, apart)


def bind(names: list[str]) -> None:
    """Note the GPU on which a job is about to start CUDA in this very process, for the jobs after it."""
    _bound_to[:] = names or _bound_to


def _left_to_this_process(available: list[str]) -> list[str]:
    """Return which of the GPUs a job in this process can work on: one, where CUDA has started in it before."""
    if _bound_to or not _cuda_has_started():
        return _bound_to or available
    import torch

    first = f"GPU-{torch.cuda.get_device_properties(0).uuid}" if torch.cuda.is_available() else ""
    return [first] if first in available else available[:1]


def _cuda_has_started() -> bool:
    """Return whether something in this process has initialised CUDA; merely asking whether there is a GPU does."""
    with contextlib.suppress(OSError):
        return bool(ctypes.CDLL("libcuda.so.1").cuDeviceGetCount(ctypes.byref(ctypes.c_int())) != NOT_INITIALIZED)
    return False


def gpus(accelerator: str) -> list[str]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves, none where the work is to run on the CPU.

    By UUID where NVIDIA's driver can be asked: SLURM numbers the GPUs of each job from 0, and a number and a UUID may
    be the same GPU. CUDA is not initialised, so that CUDA_VISIBLE_DEVICES may still be set.
    """
    if accelerator == "cpu" or not any(Path(driver).exists() for driver in DRIVERS):
        return []
    given = os.environ.get("CUDA_VISIBLE_DEVICES")
    named = [] if given is None else [name.strip() for name in given.split(",")]
    here = _asked([shutil.which("nvidia-smi"), "--query-gpu=uuid", "--format=csv,noheader"], "GPU-")
    if here:
        found = (_gpu(name, here) for name in named)
        return here if given is None else list(itertools.takewhile(bool, found))  # type: ignore[arg-type] # no None
    # In a process of its own, for here it would initialise CUDA.
    numbers = _asked([sys.executable, "-c", "import torch; print(*range(torch.cuda.device_count()), sep='\\n')"])
    return named[: len(numbers)] or numbers


def _asked(command: list[str | None], begin: str = "") -> list[str]:
    """Return the lines of a program's output that begin so; none where there is no such program."""
    if command[0] is None:
        return []
    asked = subprocess.run([*filter(None, command)], capture_output=True, text=True)
    return [line.strip() for line in asked.stdout.splitlines() if line.strip() and line.startswith(begin)]


def _gpu(name: str, here: list[str]) -> str | None:
    """Return a GPU of CUDA_VISIBLE_DEVICES, which may hold numbers and beginnings of UUIDs; None if there is none."""
    if name.isdigit():
        return here[int(name)] if int(name) < len(here) else None
    whole = [uuid for uuid in here if name and uuid.startswith(name)]
    return whole[0] if whole else name if name.startswith("MIG-") else None  # the driver lists no parts of GPUs


def for_processes(count: int, available: list[str], apart: bool) -> list[str]:
    """Return which GPU each of a job's `count` processes works on, several on one if there are too few.

    Raises AudiotagError where processes that fit one network together would have to share a GPU.
    """
    if count > len(available) > 0 and not apart:
        raise AudiotagError(
            f"devices={count}, but this machine lets the job see {len(available)} GPUs, and no two processes can fit "
            "one network on the same GPU: set devices=, or parallel=folds"
        )
    return [available[i % len(available)] for i in range(count)] if available else []


def see_own_gpu_only(hardware: Hardware, number: int, count: int) -> None:
    """Hide the GPUs of the other `count` processes on this machine, which torchrun and srun let every one of them see.

    To be called before anything initialises CUDA. Raises AudiotagError where there are fewer GPUs than processes, and
    they are not to be shared.
    """
    seen = gpus(hardware.accelerator)
    if len(seen) < 2:
        return  # none, or what srun has given to this process alone
    if count > len(seen) and not hardware.share_devices:
        raise AudiotagError(
            f"the job was started as {count} processes on a machine with {len(seen)} GPUs: start as many as there are "
            "GPUs, or set hardware.share_devices=true"
        )
    os.environ["CUDA_VISIBLE_DEVICES"] = for_processes(count, seen, apart=True)[number]


@contextlib.contextmanager
def claimed(
    wanted: int, available: list[str], folder: Path, waiting: Callable[[list[str]], None]
) -> Iterator[list[str]]:
    """Hold `wanted` of the available GPUs in the block, by locks that end with this process.

    Waits until as many are free, telling `waiting` once which are not. Raises AudiotagError where there are too few.
    """
    if wanted > len(available):
        raise AudiotagError(
            f"devices={wanted}, but this machine lets the job see {len(available)} GPUs: set devices=, or let folds "
            "share them with parallel=folds hardware.share_devices=true"
        )
    folder.mkdir(parents=True, exist_ok=True)
    for turn in itertools.count():
        with contextlib.ExitStack() as held:
            free = []
            for name in available:
                with contextlib.suppress(filelock.Timeout):
                    held.enter_context(FileLock(folder / f"gpu-{name}.lock").acquire(timeout=0))
                    free.append(name)
                if len(free) == wanted:
                    yield free
                    return
            # All or none: two jobs that hold half of what they want would wait for each other for ever.
        if turn == 0:
            waiting([name for name in available if name not in free])
        time.sleep(0.5)


def _say_waiting(names: list[str]) -> None:
    print(f"waiting for GPUs: {', '.join(names)} are used by other runs (hardware.share_devices=true shares them)")
    sys.stdout.flush()


def locks_folder() -> Path:
    """Return the folder of this user's locks on this machine's GPUs."""
    return Path(tempfile.gettempdir()) / f"audiotag-devices-{os.getuid()}"

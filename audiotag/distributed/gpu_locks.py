"""Which GPUs a job may use: those that no other job of this user on this machine holds."""

from __future__ import annotations

import contextlib
import itertools
import os
import shutil
import subprocess
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from audiotag.errors import AudiotagError
from audiotag.files import FileLock

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, the same in WSL, AMD


def gpus(accelerator: str) -> list[str]:
    """Return the GPUs that CUDA_VISIBLE_DEVICES leaves, none where the work is to run on the CPU.

    By UUID where NVIDIA's driver can be asked: SLURM numbers the GPUs of each job from 0, and a number and a UUID may
    be the same GPU. CUDA is not initialised, so that CUDA_VISIBLE_DEVICES may still be set.
    """
    if accelerator == "cpu" or not any(Path(driver).exists() for driver in DRIVERS):
        return []
    given, here = os.environ.get("CUDA_VISIBLE_DEVICES"), _uuids()
    named = [] if given is None else [name.strip() for name in given.split(",")]
    if here:
        found = (_gpu(name, here) for name in named)
        return here if given is None else [name for name in itertools.takewhile(bool, found) if name]
    import torch  # here: slow to import, and seldom needed

    count = torch.cuda.device_count()
    return named[:count] or [str(i) for i in range(count)]


def _gpu(name: str, here: list[str]) -> str | None:
    """Return a GPU of CUDA_VISIBLE_DEVICES, which may hold numbers and beginnings of UUIDs; None if there is none."""
    if name.isdigit():
        return here[int(name)] if int(name) < len(here) else None
    whole = [uuid for uuid in here if name and uuid.startswith(name)]
    return whole[0] if whole else name if name.startswith("MIG-") else None  # the driver lists no parts of GPUs


def _uuids() -> list[str]:
    """Return the UUIDs of this machine's NVIDIA GPUs, in the driver's order; none where it cannot be asked."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    asked = subprocess.run([program, "--query-gpu=uuid", "--format=csv,noheader"], capture_output=True, text=True)
    return [line.strip() for line in asked.stdout.splitlines() if line.startswith("GPU-")]


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
    told = False
    while True:
        with contextlib.ExitStack() as held:
            free = []
            for name in available:
                lock = FileLock(folder / f"gpu-{name}.lock")
                with contextlib.suppress(filelock.Timeout):
                    lock.acquire(timeout=0)
                    held.callback(lock.release)
                    free.append(name)
                if len(free) == wanted:
                    yield free
                    return
            # All or none: two jobs that hold half of what they want would wait for each other for ever.
        if not told:
            waiting([name for name in available if name not in free])
            told = True
        time.sleep(0.5)


def locks_folder() -> Path:
    """Return the folder of this user's locks on this machine's GPUs."""
    return Path(tempfile.gettempdir()) / f"audiotag-devices-{os.getuid()}"

"""Which GPUs a job may use: those that no other job of this user on this machine holds."""

from __future__ import annotations

import contextlib
import os
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import filelock

from audiotag.errors import AudiotagError

DRIVERS = ("/dev/nvidiactl", "/dev/dxg", "/dev/kfd")  # NVIDIA, the same in WSL, AMD


def gpus(accelerator: str) -> list[str]:
    """Return the names of the GPUs that CUDA_VISIBLE_DEVICES leaves, none where the work is to run on the CPU."""
    if accelerator == "cpu" or not any(Path(driver).exists() for driver in DRIVERS):
        return []
    import torch  # here: slow to import, and not needed without a GPU

    count = torch.cuda.device_count()
    named = [name.strip() for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name.strip()]
    return named[:count] or [str(i) for i in range(count)]


@contextlib.contextmanager
def claimed(
    wanted: int, available: list[str], folder: Path, waiting: Callable[[list[str]], None]
) -> Iterator[list[str]]:
    """Hold `wanted` of the available GPUs in the block, by locks that end with this process.

    Waits until as many are free, telling `waiting` once which are not. Raises AudiotagError where there are too few.
    """
    if wanted > len(available):
        raise AudiotagError(f"devices={wanted}, but this machine lets the job see {len(available)} GPUs: set devices=")
    folder.mkdir(parents=True, exist_ok=True)
    told = False
    while True:
        with contextlib.ExitStack() as held:
            free = []
            for name in available:
                lock = filelock.FileLock(folder / f"gpu-{name}.lock")
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

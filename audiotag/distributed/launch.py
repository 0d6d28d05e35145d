"""Where a job's work is done: on one device in the job's own process, on several in a process for each.

A job that torchrun or SLURM has started several times is one of those processes already, and starts nothing.
"""

from __future__ import annotations

import os
import signal
import traceback
from bdb import BdbQuit
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from hydra.core.hydra_config import HydraConfig
from hydra.types import RunMode

from audiotag.distributed.gpu_locks import Hardware, bind, gpus, gpus_of_job
from audiotag.distributed.processes import end_at_once_by, ended_by_signals, environment
from audiotag.distributed.supervisor import stale_variables, supervise
from audiotag.errors import AudiotagError, WorkError


class JobConfig(Protocol):
    """What is read of a configuration here; it is an object that can be pickled."""

    @property
    def devices(self) -> int | None: ...
    @property
    def hardware(self) -> Hardware: ...


Config = TypeVar("Config", bound=JobConfig)


def launch(
    work: str | Callable[[Config], Any], config: Config, check: Callable[[], object], apart: bool = False
) -> Any:
    """Return what a function, also named as "module:function", makes of a configuration on `config.devices` devices.

    The processes of several devices form one process group, unless each works `apart`; of them, rank zero's result is
    returned, which must fit into JSON. `check` refuses at once what can be refused without PyTorch. Ranks of torchrun
    leave that to the work, in which they have met: otherwise those on other machines would wait for the one that has
    refused. Raises what the work raises; of several devices AudiotagError with the message of an error made by the
    user, WorkError with the traceback of any other.
    """
    name = work if isinstance(work, str) else f"{work.__module__}:{work.__qualname__}"
    if is_rank(os.environ):
        _refuse_sweep()
        end_at_once_by(signal.SIGTERM)  # before PyTorch starts threads
        from audiotag.distributed.worker import run_as_rank

        return run_as_rank(name, config, apart)
    check()
    devices = config.devices or 1
    with ended_by_signals(), gpus_of_job(devices, config.hardware, apart) as names:
        if devices > 1:
            return supervise(name, config, devices, apart, names)
        visible = {"CUDA_VISIBLE_DEVICES": names[0]} if names else {}
        bind(names)  # CUDA reads the variable once: the jobs after this one get the same GPU
        with environment(dict.fromkeys(stale_variables()) | visible):
            from audiotag.distributed.worker import run_alone

            try:
                return run_alone(work, config)
            except (AudiotagError, BdbQuit):
                raise
            except Exception as error:
                if in_sweep():  # the other jobs are run nevertheless
                    raise WorkError(f"the job failed:\n{traceback.format_exc()}", 1) from error
                raise


def devices_for(parts: int, hardware: Hardware) -> int:
    """Return how many devices a job with so many independent parts is to use: one GPU or, on a CPU, a process per core.

    Narrow networks leave a second thread with little to do: two of them on a core each took three quarters of the time
    of one after the other on two cores; and on a busy machine threads wait for each other.
    """
    if is_rank(os.environ) or _beside_others() or gpus(hardware.accelerator):
        return 1
    return max(1, min(parts, len(os.sched_getaffinity(0)) // (hardware.threads or 1)))


def leads() -> bool:
    """Return whether this job does what is done once, such as speaking to its user: of ranks only the first."""
    number = os.environ.get("RANK", os.environ.get("SLURM_PROCID", "0"))
    return not is_rank(os.environ) or number == "0"


def in_sweep() -> bool:
    """Return whether this is a job of a sweep, at whose end a table shows what all of them made."""
    return HydraConfig.initialized() and HydraConfig.get().mode == RunMode.MULTIRUN


def is_rank(variables: Mapping[str, str]) -> bool:
    """Return whether torchrun, or srun with several tasks, has started this job as one process of several."""
    # RANK and WORLD_SIZE alone may be left over from whatever started this job.
    in_torchrun = {"RANK", "WORLD_SIZE", "LOCAL_RANK", "TORCHELASTIC_RUN_ID"} <= variables.keys()
    return in_torchrun or int(variables.get("SLURM_STEP_NUM_TASKS", "1")) > 1


def _beside_others() -> bool:
    """Return whether this is a job of a sweep whose launcher may run several at a time."""
    return in_sweep() and not HydraConfig.get().launcher._target_.endswith(".BasicLauncher")


def _refuse_sweep() -> None:
    """Raise AudiotagError for `torchrun train.py -m`: every rank would replay the sweep by itself."""
    if in_sweep() and "SUBMITIT_EXECUTOR" not in os.environ:
        raise AudiotagError(
            "-m under torchrun or srun would run the whole sweep in every process: start the multirun without it; each "
            "job uses devices=N by itself"
        )

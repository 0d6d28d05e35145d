"""A process that does a job's work on one device, beside others or alone.

The supervisor starts it as `worker PARENT_ID REPORT_FD`, with the work on stdin.
"""

from __future__ import annotations

import bdb
import json
import os
import pickle
import pkgutil
import signal
import sys
import time
import traceback
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

from audiotag.distributed.gpu_locks import see_own_gpu_only
from audiotag.distributed.processes import end_at_once_by, end_with, importing_pytorch
from audiotag.errors import AudiotagError

if TYPE_CHECKING:
    from audiotag.distributed.context import DistributedContext


def main() -> None:
    """Do the work as one rank; the report says its result, or its error, and when it came."""
    parent_id, report_fd = map(int, sys.argv[1:3])
    os.set_inheritable(report_fd, False)
    end_with(parent_id, signal.SIGKILL)
    end_at_once_by(signal.SIGTERM)
    code = 0
    try:
        sys.path[:] = pickle.load(sys.stdin.buffer)
        report = {"result": run_as_rank(*pickle.load(sys.stdin.buffer))}
    except AudiotagError as error:
        report, code = {"problem": str(error)}, error.exit_code
    except bdb.BdbQuit:
        report, code = {"problem": "breakpoint() stops in the job's own process only: set devices=1"}, 2
    except Exception:  # noqa: BLE001 - whatever it is, the job's screen shows it
        report, code = {"traceback": traceback.format_exc()}, 1
    with os.fdopen(report_fd, "w", encoding="utf-8") as pipe:
        # Without the end of the line, a kill has cut it short.
        pipe.write(json.dumps({**report, "at_s": time.monotonic()}) + "\n")
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)  # the interpreter's own way out may wait for ranks that are gone


def run_as_rank(work: str, config: Any, apart: bool) -> Any:
    """Do the work together with the other processes of the job that the environment tells of."""
    with importing_pytorch():  # here: it takes seconds, in which signals are to be heeded already
        from audiotag.distributed import context

        function = pkgutil.resolve_name(work)
    take_over_slurm_task()
    job = context.from_environment()
    if config.devices not in (None, 1, job.local_world_size):
        raise AudiotagError(
            f"devices={config.devices}, but the job was started as {job.local_world_size} processes on this machine"
        )
    if apart:
        see_own_gpu_only(config.hardware, job.local_rank, job.local_world_size)
    return _run(function, config, apart, job)


def run_alone(work: str | Callable[[Any], Any], config: Any) -> Any:
    """Do the work in this process, which has no others beside it."""
    with importing_pytorch():
        from audiotag.distributed import context

        function = pkgutil.resolve_name(work) if isinstance(work, str) else work
    return _run(function, config, False, context.ALONE)


def _run(work: Callable[[Any], Any], config: Any, apart: bool, job: DistributedContext) -> Any:
    """Do the work; what it sets for the whole process is put back."""
    from audiotag.console import console
    from audiotag.distributed import context
    from audiotag.distributed.hardware import choose_device, numerics_put_back
    from audiotag.files import full_disk_reported

    device, quiet = choose_device(config.hardware), console.quiet  # raises for a device that is not there
    try:
        with numerics_put_back(), context.joined(job, device.type, apart):
            console.quiet = quiet or not context.is_job_leader()
            context.assert_same_on_all_ranks("The configuration", repr(config))
            with full_disk_reported():
                return work(config)
    finally:
        console.quiet = quiet


def take_over_slurm_task() -> None:
    """Say in torchrun's variables which of srun's tasks this process is."""
    environment = os.environ
    size = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if size == 1 or "TORCHELASTIC_RUN_ID" in environment:
        return
    from pytorch_lightning.plugins.environments import SLURMEnvironment

    from audiotag.randomness import key

    local_size = size // int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    environment |= {"RANK": environment["SLURM_PROCID"], "WORLD_SIZE": str(size)}
    environment |= {"LOCAL_RANK": environment["SLURM_LOCALID"], "LOCAL_WORLD_SIZE": str(local_size)}
    # Lightning knows how to read the list of machines; the port is by its custom too, other for other jobs.
    machines = environment.get("SLURM_STEP_NODELIST", environment.get("SLURM_NODELIST", "127.0.0.1"))
    environment["MASTER_ADDR"] = SLURMEnvironment.resolve_root_node_address(machines)
    # Steps of one job may run side by side.
    step = environment.get("SLURM_STEP_ID", environment.get("SLURM_STEPID", "0"))
    environment["MASTER_PORT"] = str(15_000 + key("port", environment["SLURM_JOB_ID"], step) % 10_000)


if __name__ == "__main__":
    main()

"""One process of a job, on one device: joins the others, does the work, says how it ended.

Started by `audiotag.experiment.supervise`: `worker PARENT_ID REPORT_FD`, the work on stdin.
"""

from __future__ import annotations

import json
import os
import signal
import sys
import traceback
from collections.abc import Callable
from types import FrameType
from typing import Any

from omegaconf import OmegaConf
from pytorch_lightning.plugins.environments import SLURMEnvironment

from audiotag import ranks
from audiotag.config import TrainConfig, VerifyConfig
from audiotag.console import console
from audiotag.errors import AudiotagError
from audiotag.experiment.hardware import choose_device
from audiotag.experiment.rescore import rescore
from audiotag.experiment.rounds import run_experiment
from audiotag.processes import end_with
from audiotag.schema import to_dict, validate

TASKS: dict[str, tuple[type, Callable[[Any], Any]]] = {
    "train": (TrainConfig, run_experiment),
    "rescore": (VerifyConfig, rescore),
}
MOST_TEXT = 50_000  # of a report; a pipe holds 65,536 bytes that nobody has read yet


def main() -> None:
    """Do the work that stands on stdin as one rank; the report says its result, or its error."""
    parent_id, report_fd = map(int, sys.argv[1:3])
    os.set_inheritable(report_fd, False)
    end_with(parent_id, signal.SIGKILL)
    signal.signal(signal.SIGTERM, _leave)
    work = json.loads(sys.stdin.buffer.read())
    schema, _ = TASKS[work["task"]]
    report, code = _reported(lambda: run_as_rank(work["task"], validate(OmegaConf.create(work["config"]), schema)))
    with os.fdopen(report_fd, "w", encoding="utf-8") as pipe:
        json.dump(report, pipe)
    sys.stdout.flush()
    sys.stderr.flush()
    if code:
        os._exit(code)  # the interpreter's own way out may wait for ranks that are gone


def _leave(number: int, _: FrameType | None) -> None:
    sys.exit(128 + number)


def _reported(work: Callable[[], Any]) -> tuple[dict[str, Any], int]:
    """Return what to report and the exit code."""
    try:
        return {"result": work()}, 0
    except AudiotagError as error:
        return {"problem": str(error)[-MOST_TEXT:]}, error.exit_code
    except Exception:  # noqa: BLE001 - whatever it is, the job's screen shows it
        return {"traceback": "\n" + traceback.format_exc()[-MOST_TEXT:]}, 1


def run_as_rank(task: str, config: Any) -> Any:
    """Do a task together with the other processes of the job, if there are any; the leading one returns its result."""
    _, function = TASKS[task]
    device = choose_device(config.hardware)  # refuses one that is not there
    _take_place_of_slurm()
    _check_devices(config)
    apart = getattr(config, "parallel", "batches") == "folds"
    if apart and device.type == "cuda":
        _see_own_gpu_only()
    ranks.join(device.type, apart)
    console.quiet = not ranks.leads()
    ranks.agree("The configuration", json.dumps(to_dict(config), sort_keys=True))
    result = function(config)
    ranks.leave()
    return result


def _take_place_of_slurm() -> None:
    """Say as torchrun would which of srun's tasks this process is."""
    environment = os.environ
    size = int(environment.get("SLURM_STEP_NUM_TASKS", "1"))
    if size == 1 or "RANK" in environment:
        return
    slurm = SLURMEnvironment(auto_requeue=False)  # it knows how to read the list of machines
    local_size = size // int(environment.get("SLURM_STEP_NUM_NODES", "1"))
    environment |= {"RANK": environment["SLURM_PROCID"], "WORLD_SIZE": str(size)}
    environment |= {"LOCAL_RANK": environment["SLURM_LOCALID"], "LOCAL_WORLD_SIZE": str(local_size)}
    environment |= {"MASTER_ADDR": slurm.main_address, "MASTER_PORT": str(slurm.main_port)}


def _see_own_gpu_only() -> None:
    """Hide the GPUs of the other processes on this machine, which torchrun and srun let every one of them see."""
    local = ranks.place_of_environment()
    named = [name for name in os.environ.get("CUDA_VISIBLE_DEVICES", "").split(",") if name]
    seen = named or [str(i) for i in range(local.local_size)]
    if len(seen) > 1:
        os.environ["CUDA_VISIBLE_DEVICES"] = seen[local.local_rank]


def _check_devices(config: Any) -> None:
    there = ranks.neighbours()
    if config.devices not in (1, there):
        raise AudiotagError(f"devices={config.devices}, but the job was started as {there} processes on this machine")


if __name__ == "__main__":
    main()

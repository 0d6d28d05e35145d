"""What the ranks of a job exchange, between real processes."""

from __future__ import annotations

import json

from tests.clips import TOP
from tests.programs import run_ranks

RANK = """
import json, sys
from audiotag.distributed import context
from audiotag.errors import AudiotagError
with context.joined(context.from_environment(), "cpu", apart=sys.argv[1] == "apart"):
    output = {"rank": context.current().rank, "is_job_leader": context.is_job_leader()}
    output |= {"is_rank_zero": context.is_rank_zero(), "on_this_machine": context.processes_on_this_machine()}
    output["gathered"] = context.all_gather({"of": context.current().rank})
    output["broadcast"] = context.broadcast(context.current().rank + 10)
    context.assert_same_on_all_ranks("The same", "text")
    try:
        context.assert_same_on_all_ranks("The configuration", f"text of {context.current().rank}")
    except AudiotagError as error:
        output["error"] = str(error)
output["alone again"] = context.current() == context.ALONE and context.processes_on_this_machine() == 1
print(json.dumps(output))
"""


def outputs_of_ranks(how: str, size: int = 3, program: str = RANK) -> list[dict]:
    return [json.loads(output.splitlines()[-1]) for output in run_ranks(f"-c {program}", [how], TOP, size)]


def test_ranks_together_share_what_they_know():
    outputs = outputs_of_ranks("together")
    assert [one["rank"] for one in outputs] == [0, 1, 2]
    assert [one["is_job_leader"] for one in outputs] == [one["is_rank_zero"] for one in outputs] == [True, False, False]
    assert all(one["gathered"] == [{"of": 0}, {"of": 1}, {"of": 2}] for one in outputs)
    assert all(one["broadcast"] == 10 for one in outputs)
    assert all("The configuration differs" in one["error"] and "rank 0 and 1, 2" in one["error"] for one in outputs)
    assert all(one["alone again"] for one in outputs)


def test_ranks_apart_share_the_machine_and_nothing_else():
    outputs = outputs_of_ranks("apart", size=2)
    assert all(one["gathered"] == [{"of": 0}] and one["is_rank_zero"] for one in outputs)
    assert all(one["on_this_machine"] == 2 for one in outputs)
    assert [one["is_job_leader"] for one in outputs] == [True, False]
    assert all("error" not in one for one in outputs)


ONE_GPU_A_TASK = """
import json, sys, torch
import torch.distributed as dist
torch.cuda.device_count = lambda: 1
chosen = []
torch.cuda.set_device = chosen.append
real = dist.init_process_group
# Serves GPUs alone, as NCCL does: what is told on the way must go by another group.
dist.init_process_group = lambda backend, **how: real({"nccl": "cuda:gloo"}[backend], **how)
from audiotag.distributed import context
from audiotag.distributed.lightning import RanksEnvironment
with context.joined(context.from_environment(), "cuda", apart=False):
    lightning = RanksEnvironment()
    now = context.current()
    output = {"chosen": chosen, "place": [now.local_rank, now.local_world_size, now.world_size]}
    output["lightning"] = [lightning.local_rank(), lightning.node_rank()]
    output["lightning"] += [lightning.world_size(), lightning.global_rank()]
    output["gathered"] = context.all_gather(context.current().rank)
    try:
        dist.all_reduce(torch.ones(1))
    except RuntimeError as error:
        output["refused"] = str(error)
print(json.dumps(output))
"""


def test_ranks_of_srun_may_see_one_gpu_each():
    """As under `srun --gpus-per-task=1`: each one's GPU is number 0."""
    outputs = outputs_of_ranks("together", size=2, program=ONE_GPU_A_TASK)
    assert [one["chosen"] for one in outputs] == [[0], [0]]
    assert [one["place"] for one in outputs] == [[0, 1, 2]] * 2
    assert [one["lightning"] for one in outputs] == [[0, rank, 2, rank] for rank in range(2)]
    assert all(one["gathered"] == [0, 1] for one in outputs)
    assert all("cpu" in one["refused"] for one in outputs), "the group is not one that serves GPUs alone"

"""What the ranks of a job tell each other, between real processes."""

from __future__ import annotations

import json

from tests.clips import TOP
from tests.programs import run_ranks

RANK = """
import json, sys
from audiotag.distributed import context
from audiotag.errors import AudiotagError
context.join("cpu", apart=sys.argv[1] == "apart")
told = {"place": context.current().rank, "leads": context.is_job_leader()}
told |= {"first": context.is_rank_zero(), "neighbours": context.processes_on_this_machine()}
told["gathered"] = context.all_gather({"of": context.current().rank})
told["of_first"] = context.broadcast(context.current().rank + 10)
context.assert_same_on_all_ranks("The same", "text")
try:
    context.assert_same_on_all_ranks("The configuration", f"text of {context.current().rank}")
except AudiotagError as error:
    told["error"] = str(error)
context.leave()
told["alone again"] = context.current() == context.ALONE
print(json.dumps(told))
"""


def told_by_ranks(how: str, size: int = 3, program: str = RANK) -> list[dict]:
    return [json.loads(output.splitlines()[-1]) for output in run_ranks(f"-c {program}", [how], TOP, size)]


def test_ranks_together_share_what_they_know():
    told = told_by_ranks("together")
    assert [one["place"] for one in told] == [0, 1, 2]
    assert [one["leads"] for one in told] == [one["first"] for one in told] == [True, False, False]
    assert all(one["gathered"] == [{"of": 0}, {"of": 1}, {"of": 2}] for one in told)
    assert all(one["of_first"] == 10 for one in told)
    assert all("The configuration differs" in one["error"] and "rank 0 and 1, 2" in one["error"] for one in told)
    assert all(one["alone again"] for one in told)


def test_ranks_apart_share_the_machine_and_nothing_else():
    told = told_by_ranks("apart", size=2)
    assert all(one["gathered"] == [{"of": 0}] and one["first"] and one["neighbours"] == 2 for one in told)
    assert [one["leads"] for one in told] == [True, False]
    assert all("error" not in one for one in told)


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
context.join("cuda", apart=False)
lightning = context.RanksEnvironment()
now = context.current()
told = {"chosen": chosen, "place": [now.local_rank, now.local_world_size, now.world_size]}
told["lightning"] = [lightning.local_rank(), lightning.node_rank(), lightning.world_size(), lightning.global_rank()]
told["gathered"] = context.all_gather(context.current().rank)
try:
    dist.all_reduce(torch.ones(1))
except RuntimeError as error:
    told["refused"] = str(error)
context.leave()
print(json.dumps(told))
"""


def test_ranks_of_srun_may_see_one_gpu_each():
    """As under `srun --gpus-per-task=1`: each one's GPU is number 0."""
    told = told_by_ranks("together", size=2, program=ONE_GPU_A_TASK)
    assert [one["chosen"] for one in told] == [[0], [0]]
    assert [one["place"] for one in told] == [[0, 1, 2]] * 2
    assert [one["lightning"] for one in told] == [[0, rank, 2, rank] for rank in range(2)]
    assert all(one["gathered"] == [0, 1] for one in told)
    assert all("cpu" in one["refused"] for one in told), "the group is not one that serves GPUs alone"

"""What the ranks of a job tell each other, between real processes."""

from __future__ import annotations

import json

from audiotag import ranks
from tests.clips import TOP
from tests.programs import run_ranks

RANK = """
import json, sys
from audiotag import ranks
from audiotag.errors import AudiotagError
ranks.join("cpu", apart=sys.argv[1] == "apart")
told = {"place": ranks.place().rank, "leads": ranks.leads(), "first": ranks.first(), "neighbours": ranks.neighbours()}
told["gathered"] = ranks.gathered({"of": ranks.place().rank})
told["of_first"] = ranks.of_first(ranks.place().rank + 10)
ranks.agree("The same", "text")
try:
    ranks.agree("The configuration", f"text of {ranks.place().rank}")
except AudiotagError as error:
    told["error"] = str(error)
ranks.leave()
told["alone again"] = ranks.place() == ranks.ALONE
print(json.dumps(told))
"""


def told_by_ranks(how: str, size: int = 3, program: str = RANK) -> list[dict]:
    return [json.loads(output.splitlines()[-1]) for output in run_ranks(f"-c {program}", [how], TOP, size)]


def test_ranks_that_work_together():
    told = told_by_ranks("together")
    assert [one["place"] for one in told] == [0, 1, 2]
    assert [one["leads"] for one in told] == [one["first"] for one in told] == [True, False, False]
    assert all(one["gathered"] == [{"of": 0}, {"of": 1}, {"of": 2}] for one in told)
    assert all(one["of_first"] == 10 for one in told)
    assert all("The configuration differs" in one["error"] and "rank 0 and 1, 2" in one["error"] for one in told)
    assert all(one["alone again"] for one in told)


def test_processes_that_work_apart_share_the_machine_and_nothing_else():
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
from audiotag import ranks
ranks.join("cuda", apart=False)
lightning = ranks.Environment()
told = {"chosen": chosen, "place": [ranks.place().local_rank, ranks.place().local_size, ranks.place().size]}
told["lightning"] = [lightning.local_rank(), lightning.node_rank(), lightning.world_size(), lightning.global_rank()]
told["gathered"] = ranks.gathered(ranks.place().rank)
try:
    dist.all_reduce(torch.ones(1))
except RuntimeError as error:
    told["refused"] = str(error)
ranks.leave()
print(json.dumps(told))
"""


def test_tasks_of_srun_that_see_one_gpu_each():
    """As under `srun --gpus-per-task=1`: each one's GPU is number 0."""
    told = told_by_ranks("together", size=2, program=ONE_GPU_A_TASK)
    assert [one["chosen"] for one in told] == [[0], [0]]
    assert [one["place"] for one in told] == [[0, 1, 2]] * 2
    assert [one["lightning"] for one in told] == [[0, rank, 2, rank] for rank in range(2)]
    assert all(one["gathered"] == [0, 1] for one in told)
    assert all("cpu" in one["refused"] for one in told), "the group is not one that serves GPUs alone"


def test_alone_everything_is_ones_own():
    assert ranks.gathered("x") == ["x"]
    assert ranks.of_first("x") == "x"
    assert ranks.first()
    assert ranks.leads()
    ranks.agree("Anything", "text")

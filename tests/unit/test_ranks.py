"""What the ranks of a job tell each other, between real processes."""

from __future__ import annotations

import json
import os
import socket
import subprocess
import sys
from pathlib import Path

from audiotag import ranks

TOP = Path(__file__).resolve().parent.parent.parent
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


def told_by_ranks(how: str, size: int = 3) -> list[dict]:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    started = []
    for rank in range(size):
        place = {"RANK": rank, "WORLD_SIZE": size, "LOCAL_RANK": rank, "LOCAL_WORLD_SIZE": size, "MASTER_PORT": port}
        environment = {**os.environ, "MASTER_ADDR": "127.0.0.1", **{name: str(value) for name, value in place.items()}}
        command = [sys.executable, "-c", RANK, how]
        started.append(subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment, cwd=TOP))
    outputs = [process.communicate(timeout=180)[0] for process in started]
    assert [process.returncode for process in started] == [0] * size
    return [json.loads(output) for output in outputs]


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


def test_alone_everything_is_ones_own():
    assert ranks.gathered("x") == ["x"]
    assert ranks.of_first("x") == "x"
    assert ranks.first()
    assert ranks.leads()
    ranks.agree("Anything", "text")

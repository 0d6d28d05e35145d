"""GPUs shared out among jobs by locks that end with the process; the names stand for GPUs that need not be there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiotag.errors import AudiotagError
from audiotag.experiment.devices import claimed, gpus

TOP = Path(__file__).resolve().parent.parent.parent
HOLD = """
import sys, time
from pathlib import Path
from audiotag.experiment.devices import claimed
with claimed(int(sys.argv[2]), sys.argv[3].split(","), Path(sys.argv[1]), print) as names:
    print(",".join(names), flush=True)
    time.sleep(float(sys.argv[4]))
"""


def hold(folder: Path, wanted: int, available: str, seconds: float) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", HOLD, str(folder), str(wanted), available, str(seconds)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True, cwd=TOP)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_jobs_side_by_side_never_hold_the_same(tmp_path):
    jobs = [hold(tmp_path, 2, "0,1,2,3", 5) for _ in range(2)]
    held = [line(job).split(",") for job in jobs]
    assert sorted(held[0] + held[1]) == ["0", "1", "2", "3"]
    for job in jobs:
        job.communicate()


def test_a_job_waits_until_another_ends_however_it_ends(tmp_path):
    first = hold(tmp_path, 1, "5", 60)
    assert line(first) == "5"
    second = hold(tmp_path, 1, "5", 0)
    assert line(second) == "['5']", "it does not say what it waits for"
    first.kill()
    first.communicate()
    assert line(second) == "5"
    second.communicate()
    assert second.returncode == 0


def test_two_jobs_that_want_all_do_not_wait_for_each_other_for_ever(tmp_path):
    jobs = [hold(tmp_path, 3, order, 0.2) for order in ("0,1,2", "2,1,0", "1,2,0")]
    deadline_s = time.monotonic() + 60
    assert [job.wait(deadline_s - time.monotonic()) for job in jobs] == [0, 0, 0]


def test_more_than_there_are_is_an_error_at_once(tmp_path):
    with (
        pytest.raises(AudiotagError, match="devices=4, but this machine lets the job see 2 GPUs"),
        claimed(4, ["0", "1"], tmp_path, print),
    ):
        pass


def test_work_on_the_cpu_claims_nothing():
    assert gpus("cpu") == []

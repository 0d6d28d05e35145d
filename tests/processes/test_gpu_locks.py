"""GPUs shared out among jobs by locks that end with the process; the names stand for GPUs that need not be there."""

from __future__ import annotations

import subprocess
import sys
import time
from pathlib import Path

import pytest

from audiotag.config import Hardware
from audiotag.distributed import gpu_locks as devices
from audiotag.distributed.gpu_locks import claimed, for_processes, gpus, gpus_of_job
from audiotag.errors import AudiotagError

TOP = Path(__file__).resolve().parent.parent.parent
HOLD = """
import sys, time
from pathlib import Path
from audiotag.distributed.gpu_locks import claimed
with claimed(int(sys.argv[2]), sys.argv[3].split(","), Path(sys.argv[1]), print) as names:
    print(",".join(names), flush=True)
    time.sleep(0.2)
    sys.stdin.read()  # until it is closed
"""


def hold(folder: Path, wanted: int, available: str, stdin: int = subprocess.PIPE) -> subprocess.Popen[str]:
    """Start a process that claims GPUs until its standard input is closed, by `communicate` if that is a pipe."""
    command = [sys.executable, "-c", HOLD, str(folder), str(wanted), available]
    return subprocess.Popen(command, stdin=stdin, stdout=subprocess.PIPE, text=True, cwd=TOP)


def line(process: subprocess.Popen[str]) -> str:
    assert process.stdout is not None
    return process.stdout.readline().strip()


def test_gpus_are_never_held_by_two_jobs(tmp_path):
    jobs = [hold(tmp_path, 2, "0,1,2,3") for _ in range(2)]
    held = [line(job).split(",") for job in jobs]
    assert sorted(held[0] + held[1]) == ["0", "1", "2", "3"]
    for job in jobs:
        job.communicate()


def test_gpus_are_waited_for_until_another_job_ends_however_it_ends(tmp_path):
    first = hold(tmp_path, 1, "5")
    assert line(first) == "5"
    second = hold(tmp_path, 1, "5")
    assert line(second) == "['5']", "it does not say what it waits for"
    first.kill()
    first.communicate()
    assert line(second) == "5"
    second.communicate()
    assert second.returncode == 0


def test_gpus_wanted_by_all_jobs_make_no_deadlock(tmp_path):
    jobs = [hold(tmp_path, 3, order, subprocess.DEVNULL) for order in ("0,1,2", "2,1,0", "1,2,0")]
    deadline_s = time.monotonic() + 60
    assert [job.wait(deadline_s - time.monotonic()) for job in jobs] == [0, 0, 0]


def test_gpus_beyond_those_there_are_an_error_at_once(tmp_path):
    with (
        pytest.raises(AudiotagError, match="devices=4, but this machine lets the job see 2 GPUs"),
        claimed(4, ["0", "1"], tmp_path, print),
    ):
        pass


def test_gpus_are_not_claimed_for_work_on_the_cpu():
    assert gpus("cpu") == []


UUIDS = ["GPU-aaaa-1", "GPU-aabb-2", "GPU-cccc-3"]


@pytest.fixture
def driver(tmp_path, monkeypatch):
    """A program nvidia-smi that lists `UUIDS`, first on the path."""
    program = tmp_path / "bin" / "nvidia-smi"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\nprintf '%s\\n' " + " ".join(UUIDS) + "\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:/usr/bin:/bin")
    monkeypatch.setattr(devices, "DRIVERS", [str(program)])
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return program


@pytest.mark.usefixtures("driver")
@pytest.mark.parametrize(
    ("visible", "expected"),
    [
        (None, UUIDS),
        ("1", UUIDS[1:2]),
        ("2,0", [UUIDS[2], UUIDS[0]]),
        ("GPU-aabb-2, 0", [UUIDS[1], UUIDS[0]]),
        ("GPU-cc", UUIDS[2:]),
        ("0,7,1", UUIDS[:1]),  # as CUDA reads it: up to the first that is not there
        ("MIG-1234", ["MIG-1234"]),
        ("", []),
        ("-1", []),
        ("NoDevFiles", []),
    ],
)
def test_gpus_are_named_by_uuid_however_they_are_asked_for(monkeypatch, visible, expected):
    if visible is not None:
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", visible)
    assert gpus("auto") == expected


@pytest.mark.usefixtures("driver")
def test_gpus_named_by_number_and_by_uuid_exclude_each_other(tmp_path, monkeypatch):
    waiting: list[list[str]] = []

    def give_up(names: list[str]) -> None:
        waiting.append(names)
        raise TimeoutError

    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "1")
    with claimed(1, gpus("auto"), tmp_path, give_up):
        monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "GPU-aabb")
        with pytest.raises(TimeoutError), claimed(1, gpus("auto"), tmp_path, give_up):
            pass
    assert waiting == [["GPU-aabb-2"]]


def test_gpus_that_two_jobs_see_as_0_do_not_exclude_each_other(tmp_path, driver):
    with claimed(1, gpus("auto")[:1], tmp_path, print):
        driver.write_text("#!/bin/sh\necho GPU-other-4\n")  # what SLURM lets the second job see
        with claimed(1, gpus("auto")[:1], tmp_path, pytest.fail) as names:
            assert names == ["GPU-other-4"]


def test_gpus_that_are_too_few_are_shared_by_folds_and_not_by_one_network():
    assert for_processes(4, ["a"], apart=True) == ["a"] * 4
    assert for_processes(3, ["a", "b"], apart=True) == ["a", "b", "a"]
    assert for_processes(2, ["a", "b", "c"], apart=False) == ["a", "b"]
    assert for_processes(4, [], apart=False) == []
    with pytest.raises(AudiotagError, match="parallel=folds"):
        for_processes(4, ["a"], apart=False)


@pytest.mark.usefixtures("driver")
def test_gpus_of_several_folds_are_seen_by_each(monkeypatch):
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2")
    with gpus_of_job(4, Hardware(share_devices=True), apart=True) as names:
        assert names == [UUIDS[2]] * 4

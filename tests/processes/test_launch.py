"""Where a job's work is done, what it finds there, what ends it, and what it leaves behind; no GPU is needed."""

from __future__ import annotations

import os
import pty
import select
import signal
import sys
import threading
import time
from functools import partial
from types import SimpleNamespace
from typing import Any

import pytest
import torch

from audiotag.console import console
from audiotag.distributed import context, gpu_locks
from audiotag.distributed.gpu_locks import claimed, locks_folder
from audiotag.distributed.hardware import set_numerics
from audiotag.distributed.launch import devices_for, launch
from audiotag.errors import AudiotagError
from tests.clips import TOP
from tests.programs import OF_TORCHRUN, run_program, started

UUIDS = ["GPU-aaaa-1", "GPU-bbbb-2"]


def job(devices: int = 1, **hardware: Any) -> SimpleNamespace:
    """Return the configuration of a job that knows nothing of audio."""
    defaults = {"accelerator": "cpu", "precision": "32-true", "threads": None, "share_devices": False}
    return SimpleNamespace(devices=devices, hardware=SimpleNamespace(**{**defaults, **hardware}))


def work_of(function, config: SimpleNamespace | None = None) -> Any:
    return launch(function, config or job(), lambda: None)


@pytest.fixture
def gpus(tmp_path, monkeypatch):
    """Two GPUs that only their driver's program knows of, and locks on them of the test's own."""
    program = tmp_path / "nvidia-smi"
    program.write_text("#!/bin/sh\nprintf '%s\\n' " + " ".join(UUIDS) + "\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{tmp_path}:/usr/bin:/bin")
    monkeypatch.setattr(gpu_locks, "DRIVERS", [str(program)])
    monkeypatch.setattr(gpu_locks, "_bound_to", [])
    monkeypatch.setattr("tempfile.tempdir", str(tmp_path))
    monkeypatch.delenv("CUDA_VISIBLE_DEVICES", raising=False)
    return job(accelerator="auto")


def is_held(name: str) -> bool:
    def refuse(_: list[str]) -> None:
        raise TimeoutError

    try:
        with claimed(1, [name], locks_folder(), refuse):
            return False
    except TimeoutError:
        return True


def test_launch_works_on_one_device_in_this_process_and_puts_back_what_it_set(monkeypatch):
    stale = {**OF_TORCHRUN, "RANK": "3", "WORLD_SIZE": "4", "LOCAL_WORLD_SIZE": "4", "MASTER_PORT": "1"}
    del stale["TORCHELASTIC_RUN_ID"]
    for name, value in stale.items():
        monkeypatch.setenv(name, value)
    before = torch.get_num_threads(), torch.backends.cudnn.deterministic, dict(os.environ), console.quiet

    def work(config: SimpleNamespace) -> tuple[Any, ...]:
        set_numerics(config.hardware)
        assert not {*stale} & {*os.environ}
        assert context.is_job_leader()
        return os.getpid(), context.processes_on_this_machine(), torch.get_num_threads()

    assert work_of(work, job(threads=before[0] + 1)) == (os.getpid(), 1, before[0] + 1)
    assert before == (torch.get_num_threads(), torch.backends.cudnn.deterministic, dict(os.environ), console.quiet)


def test_launch_names_its_work_as_a_string_that_is_imported_when_everything_was_checked():
    assert work_of("builtins:id", given := job()) == id(given)

    def refuse() -> None:
        raise AudiotagError("not like this")

    with pytest.raises(AudiotagError, match="not like this"):
        launch("no_such_module:function", job(), refuse)


def test_launch_holds_a_gpu_until_the_end_and_shows_the_work_no_other(gpus):
    def work(_: SimpleNamespace) -> tuple[str, list[bool]]:
        return os.environ["CUDA_VISIBLE_DEVICES"], [is_held(name) for name in UUIDS]

    assert work_of(work, gpus) == (UUIDS[0], [True, False])
    assert "CUDA_VISIBLE_DEVICES" not in os.environ
    assert not is_held(UUIDS[0])


def test_launch_takes_the_same_gpu_for_the_next_job_of_its_process_as_cuda_knows_no_other(gpus):
    visible = lambda _: os.environ["CUDA_VISIBLE_DEVICES"]  # noqa: E731
    with claimed(1, UUIDS[:1], locks_folder(), lambda _: None):
        assert work_of(visible, gpus) == UUIDS[1]
    assert work_of(visible, gpus) == UUIDS[1]


def test_launch_takes_the_gpu_on_which_cuda_runs_already(gpus, monkeypatch):
    """The job itself is done on the CPU: there is no GPU."""
    monkeypatch.setattr(gpu_locks, "_cuda_has_started", lambda: True)
    monkeypatch.setattr(torch.cuda, "is_available", lambda: True)
    monkeypatch.setattr(torch.cuda, "get_device_properties", lambda _: SimpleNamespace(uuid="bbbb-2"))
    assert work_of(lambda _: os.environ["CUDA_VISIBLE_DEVICES"], gpus) == UUIDS[1]


def test_launch_shares_a_gpu_only_if_asked_to(gpus):
    gpus.hardware.share_devices = True
    assert work_of(lambda _: is_held(UUIDS[0]), gpus) is False


def test_launch_raises_what_the_work_does_and_forgets_the_job():
    def work(_: SimpleNamespace) -> None:
        raise ZeroDivisionError("as it is")

    handlers = [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]
    with pytest.raises(ZeroDivisionError, match="as it is"):
        work_of(work)
    assert context.current() == context.ALONE
    assert handlers == [signal.getsignal(number) for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP)]


def test_launch_works_in_a_thread_which_cannot_handle_signals():
    found: list[int] = []
    thread = threading.Thread(target=lambda: found.append(work_of(lambda _: 7)))
    thread.start()
    thread.join()
    assert found == [7]


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGHUP])
def test_launch_is_ended_by_a_signal_through_the_works_own_way_out(number):
    ended, before = [], signal.getsignal(number)
    if before == signal.SIG_IGN:  # under nohup
        signal.signal(number, signal.SIG_DFL)

    def work(_: SimpleNamespace) -> None:
        try:
            os.kill(os.getpid(), number)
            time.sleep(60)
        finally:
            ended.append(True)

    try:
        with pytest.raises(KeyboardInterrupt if number == signal.SIGINT else SystemExit) as error:
            work_of(work)
    finally:
        signal.signal(number, before)
    assert ended
    assert number == signal.SIGINT or error.value.code == 128 + number


def test_launch_leaves_signals_to_who_handles_them_already(monkeypatch):
    got = []
    before = signal.signal(signal.SIGTERM, lambda number, _: got.append(number))
    try:
        work_of(lambda _: os.kill(os.getpid(), signal.SIGTERM))
    finally:
        signal.signal(signal.SIGTERM, before)
    assert got == [signal.SIGTERM]


def test_launch_ends_where_a_signal_got_lost_in_the_work():
    def work(_: SimpleNamespace) -> int:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(60)
        except SystemExit:
            pass
        return 7

    with pytest.raises(SystemExit):
        work_of(work)


STUBBORN = """
import time
from tests.processes.test_launch import work_of
from audiotag.distributed import processes
processes.ENDS_WITHIN_S = {within_s}
def work(config):
    while True:
        try:
            print("ready", flush=True)
            time.sleep(60)
        except SystemExit:
            pass
work_of(work)
"""


@pytest.mark.parametrize(("signals", "within_s"), [(2, 60), (1, 0.5)])
def test_launch_ends_at_once_by_a_second_signal_and_in_time_by_the_first(signals, within_s):
    """Of work that ignores them."""
    with started(f"-c {STUBBORN.format(within_s=within_s)}", [], TOP) as (process, screen):
        for number in range(1, signals + 1):
            wait_for(lambda number=number: screen().count("ready") == number)
            os.kill(process.pid, signal.SIGTERM)
        process.join(20)
        assert process.exitcode == 143


def wait_for(condition) -> None:
    deadline_s = time.monotonic() + 60
    while not condition():
        assert time.monotonic() < deadline_s
        time.sleep(0.05)


AT_TERMINAL = """
from audiotag.cli.program import reported
from audiotag.console import progress
from tests.processes.test_launch import work_of
def work(config):
    with progress("%") as bar:
        bar.add_task("Working", total=10)
        breakpoint()
        return "no" + "thing"
print("made", reported(lambda: work_of(work)))
"""


@pytest.fixture
def at_terminal(tmp_path):
    """A process that has come to `breakpoint()`, the terminal that it was started at, and what is seen there."""
    script, (mine, terminal) = tmp_path / "job.py", pty.openpty()
    script.write_text(AT_TERMINAL)
    with started(str(script), [], tmp_path, partial(sit_at, os.ttyname(terminal)), TERM="xterm") as (process, _):
        yield process, mine, read_until(mine, b"(Pdb) ")
    os.close(terminal)
    os.close(mine)


def test_launch_leaves_the_terminal_to_a_debugger(at_terminal):
    """The prompt of `breakpoint()` is answered, and no bar is drawn over it."""
    _, terminal, output = at_terminal
    assert b"Working" in output
    assert b")work()" in output
    time.sleep(0.5)  # in which a bar would be drawn again
    os.write(terminal, b"print('answer', 6 * 7)\n")
    assert b"Working" not in (answered := read_until(terminal, b"(Pdb) "))
    assert b"answer 42" in answered
    os.write(terminal, b"continue\n")
    read_until(terminal, b"made nothing")


def test_launch_is_interrupted_by_who_quits_the_debugger(at_terminal):
    process, terminal, _ = at_terminal
    os.write(terminal, b"q\n")
    output = read_until(terminal, b"goes on from there")
    process.join(60)
    assert process.exitcode == 130
    assert b"interrupted: " in output
    assert b"Traceback" not in output


def sit_at(terminal: str) -> None:
    """Let a process read and write a terminal."""
    opened = os.open(terminal, os.O_RDWR)
    for stream in range(3):
        os.dup2(opened, stream)
    sys.stdin = os.fdopen(0, closefd=False)
    console.is_interactive = True  # it was made where there is no terminal


def read_until(terminal: int, end: bytes) -> bytes:
    output = b""
    while end not in output:
        assert select.select([terminal], [], [], 60)[0], output
        output += os.read(terminal, 1 << 16)
    return output


FOLDER_WORK = """
import os
from audiotag.distributed import context
from audiotag.errors import AudiotagError

def together(config):
    return [context.all_gather(os.getpid()), context.current().world_size, config.note]

def wrong(config):
    raise AudiotagError(f"put it right: {context.current().world_size} of {context.processes_on_this_machine()}")
"""


def test_launch_hands_work_and_configuration_to_ranks(tmp_path, monkeypatch):
    """A function of a folder that is on this process's import path alone."""
    (tmp_path / "folder_work.py").write_text(FOLDER_WORK)
    monkeypatch.syspath_prepend(str(tmp_path))
    config = job(devices=2)
    config.note = {"any": ("thing",)}
    numbers, size, note = work_of("folder_work:together", config)
    assert (len({*numbers, os.getpid()}), size, note) == (3, 2, {"any": ["thing"]})
    with pytest.raises(AudiotagError, match="put it right: 1 of 2"):
        launch("folder_work:wrong", config, lambda: None, apart=True)


def test_launch_without_a_guard_reads_by_worker_processes(tmp_path):
    """A script may call it at its top level: no process that it starts runs the script again."""
    script = tmp_path / "script.py"
    script.write_text(
        "from audiotag.data.parallel import parallel_map\nfrom tests.processes.test_launch import work_of\n"
        "print(work_of(lambda _: list(parallel_map(abs, range(-16, 0), 2, None))))\n"
    )
    _, output = run_program(str(script), [], tmp_path)
    assert output.strip() == str(list(range(16, 0, -1)))


@pytest.mark.parametrize(
    ("parts", "threads", "expected"), [(4, None, 3), (2, None, 2), (4, 1, 3), (4, 2, 1), (4, 8, 1)]
)
def test_job_has_a_process_per_core_but_no_more_than_it_has_parts(monkeypatch, parts, threads, expected):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5})
    assert devices_for(parts, job(threads=threads).hardware) == expected


def test_job_has_one_device_where_there_are_gpus_or_as_a_rank(gpus, monkeypatch):
    monkeypatch.setattr(os, "sched_getaffinity", lambda _: {0, 2, 5})
    assert devices_for(4, gpus.hardware) == 1
    assert devices_for(4, job().hardware) == 3
    for name, value in OF_TORCHRUN.items():
        monkeypatch.setenv(name, value)
    assert devices_for(4, job().hardware) == 1

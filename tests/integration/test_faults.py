"""Whatever ends a job of two processes: it ends soon and wholly, says why, and the same command completes the run."""

from __future__ import annotations

import json
import os
import random
import re
import shutil
import signal
import subprocess
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

import filelock
import pandas as pd
import pytest
import torch

from tests.conftest import SMALL
from tests.integration.test_loop import assert_same_result
from tests.job import END_WITHIN_S, Job

# Many epochs, so that a run has many points to be broken off at.
MODES = {
    "batches": ["devices=2"],
    # Cells are worked on in pairs, and go on while others fail: they get through more epochs per start.
    "folds": ["devices=2", "parallel=folds", "training.pretrain.epochs=20", "training.finetune.epochs=10"],
}
ONE_DEVICE = {"one device": ["training.pretrain.epochs=20", "training.finetune.epochs=10"]}
GO_ON = "go on|goes on"
COMPLAINT = "Traceback|[Ww]arning|Exception ignored|terminate called|process group"
# What some other program's launcher may have left, and is to confuse nobody.
STALE = {"RANK": "3", "WORLD_SIZE": "4", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "4", "MASTER_ADDR": "192.0.2.1"}
STALE |= {"MASTER_PORT": "1", "TORCHELASTIC_USE_AGENT_STORE": "True"}
IN_STORE_FILE = "cache/stores/*/frames.f16"
IN_FIT = "runs/*/round*/fold*/last.ckpt"  # a new one has come since the start


@dataclass(frozen=True)
class Fault:
    """One way to end a job: `inject` in one of its processes, or send signals `after` a file has come."""

    name: str
    says: str
    code: int | None
    inject: str = ""
    to: str = ""
    signals: tuple[signal.Signals, ...] = ()
    after: str = IN_FIT

    def __str__(self) -> str:
        return self.name


def raised(at: str, call: int) -> Fault:
    """Rank 1 raises. Its report is longer than a pipe holds."""
    says = r"(?s)rank \d of 2 failed: .*Traceback.*RuntimeError: injected in rank \d, ä+ and so on\s*$"
    return Fault(f"raises in {at}", says, 1, f"at={at},call={call},rank=1")


def full(at: str, call: int, spare: int, file: str) -> Fault:
    says = rf"error: \S*{re.escape(file)}\S*:? (the spectrogram store )?cannot be written: No space left on device"
    return Fault(f"disk full at {at}", says, 2, f"at={at},call={call},disk=DISK,spare={spare}")


def killed(to: str, says: str, code: int, after: str = IN_FIT, name: str = "") -> Fault:
    return Fault(name or f"{to} killed", says, code, to=to, signals=(signal.SIGKILL,), after=after)


STORE_FULL = full("store", 50, 5000, "stores/v1-")
CHECKPOINT_FULL = full("checkpoint", 2, 50_000, "last.ckpt")
LEDGER_FULL = full("ledger", 1, 0, "ledger.csv")
KILLED_IN_STORE = killed(
    "rank 0", "rank 0 of 2 failed: it was ended by SIGKILL", 137, IN_STORE_FILE, "rank 0 killed in store"
)
RANK_0_KILLED = killed("rank 0", "rank 0 of 2 failed: it was ended by SIGKILL", 137)
RANK_1_KILLED = killed("rank 1", "rank 1 of 2 failed: it was ended by SIGKILL", 137)
RANK_1_TERMINATED = Fault(
    "rank 1 terminated", "rank 1 of 2 failed: it was ended by SIGTERM", 143, to="rank 1", signals=(signal.SIGTERM,)
)
JOB_KILLED = killed("job", "", -9)
INTERRUPTED = Fault("SIGINT", f"interrupted: .*({GO_ON})", 130, to="job", signals=(signal.SIGINT,))
INTERRUPTED_TWICE = Fault("SIGINT twice", INTERRUPTED.says, 130, to="job", signals=(signal.SIGINT, signal.SIGINT))
TERMINATED = Fault("SIGTERM", "", 143, to="job", signals=(signal.SIGTERM,))
IN_FIT_RAISED, IN_CONSENSUS_RAISED, AT_EXIT_RAISED = raised("fit", 3), raised("consensus", 2), raised("exit", 1)

IN_STORE = (STORE_FULL, KILLED_IN_STORE)
ON_FULL_DISKS = (STORE_FULL, CHECKPOINT_FULL, LEDGER_FULL)
# In the order in which a run can meet all of them.
SOME = (CHECKPOINT_FULL, RANK_1_KILLED)
OTHERS = (KILLED_IN_STORE, IN_FIT_RAISED, RANK_0_KILLED, INTERRUPTED_TWICE, TERMINATED, AT_EXIT_RAISED)
ALL = (*ON_FULL_DISKS, *OTHERS, JOB_KILLED, RANK_1_KILLED, RANK_1_TERMINATED, IN_CONSENSUS_RAISED, INTERRUPTED)
# Of a job that does its work itself: what it raises is shown as it is.
IN_JOB_RAISED = Fault("raises", r"(?s)Traceback.*RuntimeError: injected in rank -, ä+ and so on", 1, "at=fit,call=3")
INTERRUPTED_IN_STORE = Fault("SIGINT in store", INTERRUPTED.says, 130, "", "terminal", (signal.SIGINT,), IN_STORE_FILE)
JOB_KILLED_IN_STORE = killed("job", "", -9, IN_STORE_FILE, "job killed in store")
OF_ONE_DEVICE = (STORE_FULL, INTERRUPTED_IN_STORE, JOB_KILLED_IN_STORE, CHECKPOINT_FULL, IN_JOB_RAISED, INTERRUPTED)
OF_ONE_DEVICE += (JOB_KILLED, TERMINATED, INTERRUPTED_TWICE, LEDGER_FULL)
WITH_WORKERS = (KILLED_IN_STORE, INTERRUPTED_IN_STORE, JOB_KILLED_IN_STORE)


@pytest.fixture(scope="session")
def faults_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return tmp_path_factory.mktemp("faults")


@pytest.fixture(scope="session")
def unbroken(faults_folder):
    """Return the folder of an unbroken run in a mode, and how long it took; the first one makes the embedded data."""
    made: dict[str, tuple[Path, float]] = {}

    def run(mode: str) -> tuple[Path, float]:
        if mode not in made:
            name = f"unbroken-{mode.replace(' ', '-')}"
            with Job([*SMALL, *(MODES | ONE_DEVICE)[mode], f"run={name}"], faults_folder, **STALE) as job:
                code, output, _ = job.end(300)
                assert code == 0, output
                assert not re.search(COMPLAINT, output), output
                made[mode] = faults_folder / "runs" / name, time.time() - job.started
        return made[mode]

    return run


@pytest.fixture
def disk(tmp_path: Path) -> Iterator[Path]:
    """A real disk of 64 MB."""
    folder = tmp_path / "disk"
    folder.mkdir()
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=64m", "tmpfs", folder], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs to mount a small tmpfs, which is not permitted here: {mounted.stderr.strip()}")
    yield folder
    subprocess.run(["umount", "--lazy", folder], check=True)


def prepared(disk: Path, unbroken: Path, with_store: bool) -> None:
    """Put the embedded data, and the store, where the job looks for them."""
    ignored = () if with_store else ("stores",)
    shutil.copytree(unbroken.parent.parent / "cache", disk / "cache", ignore=shutil.ignore_patterns(*ignored))


def command(mode: str, disk: Path, workers: int = 0) -> list[str]:
    folders = [f"runs_dir={disk}/runs", f"cache_dir={disk}/cache"]
    return [*SMALL, *(MODES | ONE_DEVICE)[mode], *folders, "run=broken", f"hardware.workers={workers}"]


def suffer(fault: Fault, mode: str, disk: Path, record) -> None:
    """Start the job, let the fault strike it, and see how it ends."""
    anyone = mode == "folds"  # which of two processes comes to a place first is left to chance
    inject = fault.inject.replace(",rank=1", "" if anyone else ",rank=1").replace("DISK", str(disk))
    before = {path: path.stat().st_mtime_ns for path in disk.glob(fault.after)}
    with Job(command(mode, disk, workers=2 * (fault in WITH_WORKERS)), disk.parent, inject) as job:
        if fault.signals:
            job.wait_until(lambda: _changed(disk, fault.after, before))
            for number in fault.signals:
                job.send(number, fault.to)
                time.sleep(0.05 * (len(fault.signals) > 1))
        code, output, seconds = job.end()
    (disk / "filler").unlink(missing_ok=True)
    record(fault.name, round(seconds, 2))
    assert seconds < END_WITHIN_S
    assert code == fault.code, output
    assert re.search(fault.says, output), output
    told_in_one_line = not (fault.says == "" or "interrupted" in fault.says or fault is IN_JOB_RAISED)
    assert output.count("error: ") == told_in_one_line, output
    if fault is not KILLED_IN_STORE:  # Python's own pool complains when its parent goes before it has started
        assert ("Traceback" in output) == ("Traceback" in fault.says), output
        assert "Exception ignored" not in output
    assert_all_whole(disk / "runs" / "broken")


def _changed(disk: Path, pattern: str, before: dict[Path, int]) -> bool:
    try:
        return any(path.stat().st_mtime_ns != before.get(path) for path in disk.glob(pattern))
    except FileNotFoundError:  # replaced between the two
        return False


def assert_all_whole(run: Path) -> None:
    """Every file that is there under its own name can be read to its end."""
    for file in run.rglob("[!.]*"):
        if file.suffix == ".ckpt":
            torch.load(file, weights_only=True)
        elif file.suffix == ".parquet":
            pd.read_parquet(file)
        elif file.suffix == ".json":
            json.loads(file.read_text())
        elif file.suffix == ".csv":
            assert file.read_text().endswith("\n")


def completes(mode: str, disk: Path, unbroken: Path, **variables: str) -> str:
    """The same command ends like the unbroken run, and cleans up after the others; returns its output."""
    with Job(command(mode, disk), disk.parent, **variables) as job:
        code, output, _ = job.end(300)
    assert code == 0, output
    assert_same_result(unbroken, disk / "runs" / "broken")
    assert not list((disk / "runs").rglob("round*/fold*/.*.tmp"))
    return output


def test_faults_one_after_another_end_like_an_unbroken_run(two_ranks, disk, record_property):
    prepared(disk, two_ranks, with_store=False)
    for fault in SOME:
        suffer(fault, "batches", disk, record_property)
    output = completes("batches", disk, two_ranks, **STALE)
    assert not re.search(COMPLAINT, output), output


@pytest.mark.slow
@pytest.mark.parametrize(
    ("mode", "faults"),
    [
        pytest.param("one device", OF_ONE_DEVICE, id="one-device"),
        *(pytest.param(mode, ON_FULL_DISKS, id=f"disks-{mode}") for mode in MODES),
        *(pytest.param(mode, OTHERS, id=f"others-{mode}") for mode in MODES),
    ],
)
def test_faults_of_every_kind_end_like_an_unbroken_run(unbroken, disk, mode, faults, record_property):
    reference, _ = unbroken(mode)
    prepared(disk, reference, with_store=False)
    for fault in faults:
        suffer(fault, mode, disk, record_property)
    completes(mode, disk, reference)


@pytest.mark.slow
@pytest.mark.parametrize("repetition", range(5))
@pytest.mark.parametrize("mode", MODES)
@pytest.mark.parametrize("fault", ALL, ids=str)
def test_fault_ends_the_job_soon_wholly_and_says_why(unbroken, disk, fault, mode, repetition, record_property):
    reference, _ = unbroken(mode)
    prepared(disk, reference, with_store=fault not in IN_STORE)
    suffer(fault, mode, disk, record_property)
    completes(mode, disk, reference)


@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("mode", MODES | ONE_DEVICE)
def test_kill_of_any_process_at_any_time_ends_like_an_unbroken_run(unbroken, tmp_path, mode, seed):
    """Spectrogram workers and Python's resource trackers too; without the latter, a job may well succeed.

    9 kills for each of 3 modes and 3 seeds; `test_kill.py` does the same to predict.py.
    """
    reference, duration_s = unbroken(mode)
    place = tmp_path / "place"
    prepared(place, reference, with_store=False)
    rng = random.Random(seed)
    hits = starts = 0
    while hits < 9:
        starts += 1
        assert starts <= 36, "too many starts came to their end before the kill"
        with Job(command(mode, place, workers=2), tmp_path) as job:
            try:
                code = job.process.wait(rng.uniform(0.2, 0.8 * duration_s))
            except subprocess.TimeoutExpired:
                victim = rng.choice(sorted(job.processes()))
                job.send(signal.SIGKILL, victim)
                code, output, _ = job.end(300 if victim.isdigit() else END_WITHIN_S)
                assert code != 0 or victim.isdigit(), output
                hits += 1
        assert_all_whole(place / "runs" / "broken")
        if code == 0:  # from the beginning, for the next kills
            assert_same_result(reference, place / "runs" / "broken")
            shutil.rmtree(place / "runs")
            shutil.rmtree(place / "cache" / "stores")
    completes(mode, place, reference)


def test_error_of_the_user_is_told_once(tmp_path):
    arguments = [*SMALL, "devices=2", "run=wrong", "data=kaggle", "data.root=nowhere"]
    with Job(arguments, tmp_path) as job:
        code, output, _ = job.end(300)
    assert code == 2
    assert output.count("error: ") == output.count("nowhere/train.csv") == 1, output
    assert "Traceback" not in output


@pytest.mark.slow
def test_ranks_of_different_configurations_do_not_begin(tmp_path):
    with Job([*SMALL, "devices=2", "run=differ"], tmp_path, "at=configuration,rank=1") as job:
        code, output, _ = job.end(300)
    assert code == 2, output
    assert "The configuration differs between the processes of this job (rank 0 and 1)" in output
    assert not (tmp_path / "runs").exists()


def test_job_terminated_while_waiting_for_a_gpu_ends(tmp_path):
    lock = tmp_path / f"audiotag-devices-{os.getuid()}" / "gpu-held.lock"
    lock.parent.mkdir()
    with (
        filelock.FileLock(lock),
        Job([*SMALL, "devices=1", "run=waiting"], tmp_path, "at=devices", TMPDIR=str(tmp_path)) as job,
    ):
        job.wait_until(lambda: "waiting for GPUs: held" in job.output())
        job.send(signal.SIGTERM, "job")
        code, output, seconds = job.end(5)
    assert code == 143, output
    assert "Traceback" not in output
    assert seconds < 5


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_job_terminated_while_waiting_for_cells_of_another_ends(unbroken, tmp_path, mode):
    reference, _ = unbroken(mode)
    place = tmp_path / "place"
    prepared(place, reference, with_store=True)
    cells = [place / "runs" / "broken" / "round00" / f"fold{fold}" for fold in range(2)]
    for cell in cells:
        cell.mkdir(parents=True)
    held = [filelock.FileLock(cell / ".lock") for cell in cells]
    with held[0], held[1], Job(command(mode, place), tmp_path) as job:
        job.wait_until(lambda: "which other processes are to complete" in job.output())
        job.send(signal.SIGTERM, "job")
        code, output, _ = job.end()
    assert code == 143, output
    assert "Traceback" not in output
    completes(mode, place, reference)


@pytest.mark.slow
@pytest.mark.parametrize("mode", MODES)
def test_job_that_is_good_ends_without_a_word_of_complaint(unbroken, faults_folder, mode):
    reference, _ = unbroken(mode)
    for _ in range(10):  # what aborts at the end of a run does so now and then
        with Job([*SMALL, *MODES[mode], f"run={reference.name}"], faults_folder) as job:
            code, output, _ = job.end(300)
        assert code == 0, output
        assert not re.search(COMPLAINT, output), output

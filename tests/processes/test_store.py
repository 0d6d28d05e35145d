"""Stores built by several processes, which are killed, and by workers that die."""

from __future__ import annotations

import contextlib
import math
import os
import re
import signal
import time
from collections.abc import Callable, Iterator
from multiprocessing.process import BaseProcess
from pathlib import Path

import numpy as np
import pytest

from audiotag.config import Features
from audiotag.data.manifest import Manifest, build_manifest
from audiotag.data.parallel import parallel_map
from audiotag.data.store import Store, build_store
from audiotag.errors import AudiotagError
from tests.clips import FRONT_ENDS, make_folder, settings
from tests.programs import started

V1, V2 = Features(name="v1", front_end=FRONT_ENDS["v1"]), Features(name="v2", front_end=FRONT_ENDS["v2"])


# Becomes as many processes as are asked for, which all want the same store.
BUILD = """
import os, sys, time
from pathlib import Path
from audiotag.config import Features
from audiotag.data.manifest import build_manifest
from audiotag.data.store import build_store
from audiotag.features.spectrogram import front_end_of
from tests.clips import FRONT_ENDS, settings
front_end_of(Features(name="v1", front_end=FRONT_ENDS["v1"]))  # what it imports is slow to import
root, cache, processes, workers = Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), int(sys.argv[4])
manifest = build_manifest(settings(root, cache))
for number in range(processes):
    if os.fork() == 0:
        while number > 0 and not list(cache.glob("stores/*.unfinished")):
            time.sleep(0.01)  # the first one begins
        store = build_store(manifest, Features(name="v1", front_end=FRONT_ENDS["v1"]), cache, workers)
        print("built", store.folder, flush=True)
        os._exit(0)
    workers = 0  # of the second and later ones
for _ in range(processes):
    os.wait()
"""


def manifest_of(root: Path, cache: Path) -> Manifest:
    return build_manifest(settings(root, cache))


def content(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.folder.iterdir())}


@contextlib.contextmanager
def building(
    root: Path, cache: Path, processes: int, workers: int = 0
) -> Iterator[tuple[BaseProcess, Callable[[], str], list[int]]]:
    """Start processes that build one store, the first with `workers`; yield their parent, its output, their numbers."""
    with started(f"-c {BUILD}", [str(root), str(cache), str(processes), str(workers)], cache) as (parent, output):
        assert parent.pid is not None
        wait_until(lambda: len(children(parent.pid)) >= processes, "processes that build")
        yield parent, output, children(parent.pid)[:processes]


def wait_until(condition, what: str, longest_s: float = 60.0):
    deadline_s = time.monotonic() + longest_s
    while time.monotonic() < deadline_s:
        found = condition()
        if found:
            return found
        time.sleep(0.001)
    raise AssertionError(f"{what}: not within {longest_s} s")


def finished_clips(cache: Path) -> int:
    return sum(path.read_bytes().count(b"\n") - 1 for path in cache.glob("stores/*.unfinished/index.csv"))


def children(pid: int) -> list[int]:
    """Return the processes that process `pid` started, and those they started."""
    found = []
    for folder in Path("/proc").iterdir():
        if folder.name.isdigit():
            try:
                parent = int((folder / "stat").read_text().rpartition(")")[2].split()[1])
            except OSError:
                continue
            if parent == pid:
                found += [int(folder.name), *children(int(folder.name))]
    return found


def is_running(pid: int) -> bool:
    try:
        return (Path("/proc") / str(pid) / "stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except OSError:
        return False


@pytest.fixture(scope="module")
def long_root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Enough audio to be killed in the middle of: 48 clips, 6 s each."""
    root = tmp_path_factory.mktemp("long") / "set"
    make_folder(root, ["Bark", "Meow"], verified=4, unverified=20, lengths_s=(6.0, 5.1, 6.9))
    return root


@pytest.fixture(scope="module")
def unbroken(long_root: Path, tmp_path_factory: pytest.TempPathFactory) -> Store:
    cache = tmp_path_factory.mktemp("unbroken")
    return build_store(manifest_of(long_root, cache), V1, cache, 0)


def builder_among(processes: list[int]) -> int:
    """Return the process that builds, while the others wait: the one that has the frames file open."""

    def find() -> int | None:
        for pid in processes:
            for link in (Path("/proc") / str(pid) / "fd").glob("*"):
                try:
                    if link.resolve().name == "frames.f16":
                        return pid
                except OSError:
                    continue
        return None

    return wait_until(find, "a process that builds the store")


def test_store_whose_builders_are_killed_ends_like_an_unbroken_one(long_root, unbroken, tmp_path):
    """Five processes want the same store; each is killed at another moment, and what it has done is not lost."""
    rng = np.random.default_rng(11)
    kept = 0
    with building(long_root, tmp_path, processes=5) as (parent, _, processes):
        for killed in range(5):
            wanted = kept + 1 + int(rng.integers(0, 5))
            wait_until(lambda n=wanted: finished_clips(tmp_path) >= n, f"{wanted} clips after {killed} kills")
            time.sleep(float(rng.uniform(0, 0.02)))
            builder = builder_among(processes)
            os.kill(builder, signal.SIGKILL)
            wait_until(lambda pid=builder: not is_running(pid), "a killed process ends")
            processes.remove(builder)
            assert not list(tmp_path.glob("stores/*/store.json")), "a store that is not whole must not look it"
            kept = finished_clips(tmp_path)
            assert kept >= wanted, "what was finished before a kill is there after it"
        parent.join(60)
    assert kept < 48, "the kills came too late to try anything"
    resumed = build_store(manifest_of(long_root, tmp_path), V1, tmp_path, 0)
    assert content(resumed) == content(unbroken)
    assert not list(tmp_path.glob("stores/*.unfinished"))


def test_store_workers_end_with_a_killed_parent_and_two_processes_build_one(long_root, unbroken, tmp_path):
    with building(long_root, tmp_path, processes=2, workers=2) as (parent, output, processes):
        wait_until(lambda: finished_clips(tmp_path) >= 24, "half of the clips, computed by workers")
        builder = builder_among(processes)
        workers = children(builder)
        assert len([pid for pid in workers if is_running(pid)]) >= 2
        os.kill(builder, signal.SIGKILL)
        wait_until(lambda: not any(is_running(pid) for pid in [builder, *workers]), "workers end", longest_s=10)
        parent.join(60)
        (folder,) = re.findall("^built (.*)$", output(), re.M)
    assert content(Store(Path(folder))) == content(unbroken), "workers change no byte"


def test_parallel_map_keeps_the_order():
    assert list(parallel_map(math.factorial, range(40), 2, "Multiplying")) == [math.factorial(n) for n in range(40)]


def test_parallel_map_says_that_a_worker_died():
    with pytest.raises(AudiotagError, match="ended without an answer"):
        list(parallel_map(os._exit, range(40), 2, "Dying"))

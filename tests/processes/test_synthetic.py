"""The embedded data set, made by a process that is killed, and by two at once."""

from __future__ import annotations

import contextlib
import hashlib
import json
import signal
import time
from collections.abc import Callable
from multiprocessing.process import BaseProcess
from pathlib import Path

import pytest

from audiotag.data.sources.synthetic import SyntheticSettings, make
from tests.programs import started

SMALL = {"seed": 3, "classes": 5, "verified_per_class": 3, "unverified_per_class": 6, "test_per_class": 1}
MAKE_IN_A_PROCESS = """
import json, sys
from pathlib import Path
from audiotag.data.sources.synthetic import SyntheticSettings, make
settings = SyntheticSettings(**json.loads(sys.argv[2]), longest_s=1.5)
make(Path(sys.argv[1]), settings, lambda clips: print("clip", flush=True))
"""


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


def making(root: Path) -> contextlib.AbstractContextManager[tuple[BaseProcess, Callable[[], str]]]:
    return started(f"-c {MAKE_IN_A_PROCESS}", [str(root), json.dumps(SMALL)], root.parent)


def make_here(root: Path) -> Path:
    return make(root, SyntheticSettings(**SMALL, longest_s=1.5))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_here(tmp_path_factory.mktemp("synthetic") / "set")


def test_synthetic_set_killed_half_way_is_made_again_the_same(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    with making(root) as (process, output):
        while output().count("clip") < 20:
            assert process.is_alive()
            time.sleep(0.005)
        process.kill()
        process.join()
        assert process.exitcode == -signal.SIGKILL
    assert not root.exists()
    assert any((tmp_path / ".set.partial" / "audio_train").iterdir()), "killed before it wrote anything"
    assert digests(make_here(root)) == digests(made)
    assert {path.name for path in tmp_path.iterdir()} <= {"set", ".set.lock"}


def test_synthetic_set_is_made_once_by_two_processes(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    with making(root) as (one, of_one), making(root) as (other, of_other):
        one.join(60)
        other.join(60)
        assert (one.exitcode, other.exitcode) == (0, 0)
        written = [output().count("clip") for output in (of_one, of_other)]
    assert sorted(written) == [0, 50], "one makes it, the other waits"
    assert digests(root) == digests(made)

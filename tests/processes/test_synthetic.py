"""The embedded data set, made by a process that is killed, and by two at once."""

from __future__ import annotations

import hashlib
import json
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from audiotag.data.sources.synthetic import SyntheticSettings, make

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


def start_making(root: Path) -> subprocess.Popen[str]:
    command = [sys.executable, "-c", MAKE_IN_A_PROCESS, str(root), json.dumps(SMALL)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def make_here(root: Path) -> Path:
    return make(root, SyntheticSettings(**SMALL, longest_s=1.5))


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_here(tmp_path_factory.mktemp("synthetic") / "set")


def test_synthetic_set_killed_half_way_is_made_again_the_same(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    process = start_making(root)
    assert process.stdout is not None
    for _ in range(20):
        assert process.stdout.readline() == "clip\n"
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    assert not root.exists()
    assert any((tmp_path / ".set.partial" / "audio_train").iterdir()), "killed before it wrote anything"
    assert digests(make_here(root)) == digests(made)
    assert {path.name for path in tmp_path.iterdir()} <= {"set", ".set.lock"}


def test_synthetic_set_is_made_once_by_two_processes(made: Path, tmp_path: Path) -> None:
    root = tmp_path / "set"
    processes = [start_making(root) for _ in range(2)]
    written = [process.communicate(timeout=50)[0].count("clip") for process in processes]
    assert [process.returncode for process in processes] == [0, 0]
    assert sorted(written) == [0, 50], "one makes it, the other waits"
    assert digests(root) == digests(made)

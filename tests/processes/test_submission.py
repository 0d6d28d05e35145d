"""A submission scored by the program itself, from the tables alone."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from tests.clips import TOP, write_table

TEST_HEADER = ("fname", "label", "usage")
TEST = [
    ("a.wav", "Bark", "Public"),
    ("b.wav", "Gong", "Public"),
    ("c.wav", "Meow", "Private"),
    ("d.wav", "Gong", "Private"),
    ("e.wav", "Bark", "Private"),
    ("f.wav", "Cello", "Private"),
    ("x.wav", "None", "Ignored"),
    ("y.wav", "None", "Ignored"),
]
# Each with the rank of the right label: a 2, b 3, c 1, d none, e 2, f none.
SHUFFLED = {
    "f.wav": "Bark Gong Meow", "e.wav": "Gong Bark Cello", "a.wav": "Meow Bark Gong", "y.wav": "Gong",
    "c.wav": "Meow Bark Gong", "b.wav": "Bark Meow Gong", "x.wav": "Cello Gong", "d.wav": "Cello Bark Meow",
}  # fmt: skip


@pytest.fixture
def root(tmp_path: Path) -> Path:
    write_table(tmp_path / "data" / "test_post_competition.csv", TEST, TEST_HEADER)
    return tmp_path / "data"


def test_submission_is_scored_without_pytorch(root):
    """The program itself, from the tables alone."""
    path = write_table(root.parent / "mine.csv", SHUFFLED.items(), ("fname", "label"))
    code = (
        "import runpy, sys\n"
        f"sys.path.insert(0, {str(TOP)!r})\n"
        "sys.argv = ['predict.py', *sys.argv[1:]]\n"
        f"runpy.run_path({str(TOP / 'predict.py')!r}, run_name='__main__')\n"
        "sys.exit('torch' in sys.modules)"
    )
    arguments = [f"submission={path}", "usage=private", "data=kaggle", f"data.root={root}", "out=s.json", "bootstrap=0"]
    done = subprocess.run(
        [sys.executable, "-c", code, *arguments], cwd=root.parent, capture_output=True, text=True, timeout=300
    )
    assert done.returncode == 0, done.stdout + done.stderr
    scores = json.loads((root.parent / "s.json").read_text())
    assert scores["map@3"] == 0.375  # (1 + 0 + 1/2 + 0) / 4
    assert "accuracy_ci" not in scores

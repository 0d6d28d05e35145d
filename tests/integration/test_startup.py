"""What is wrong with names, paths and files is told before anything that takes seconds to import.

All in one process of its own: the others have imported PyTorch.
"""

from __future__ import annotations

import json
import subprocess
import sys

import pytest

from tests.clips import TOP

SCRIPT = """
import contextlib, io, json, runpy, sys

top, calls = sys.argv[1], json.load(sys.stdin)
sys.path.insert(0, top)
told = []
for program, *arguments in calls:
    sys.argv = [program, *arguments]
    screen = io.StringIO()
    code = None
    with contextlib.redirect_stdout(screen), contextlib.redirect_stderr(screen):
        try:
            if program.endswith(".py"):
                runpy.run_path(f"{top}/{program}", run_name="__main__")
            else:
                runpy.run_module(program, run_name="__main__", alter_sys=True)
        except SystemExit as end:
            code = end.code
    told.append([code or 0, screen.getvalue(), sorted(name for name in sys.modules if "." not in name)])
json.dump(told, sys.__stdout__)
"""
SLOW = {"torch", "pytorch_lightning", "torchmetrics", "matplotlib", "sklearn", "librosa", "scipy"}
TABLES = {"pandas", "pyarrow"}
NOWHERE = ["data=kaggle", "data.root=/nowhere"]
# Command, what it says, exit code. The first need no tables either: what is imported stays for those below them.
BEFORE_TABLES = [
    (["train.py", "sed=1"], "sed is not a setting", 2),
    (["verify.py", "run=small", "verification.treshold=1"], "treshold is not a setting", 2),
    (["predict.py", "rnu=small"], "rnu is not a setting", 2),
    (["train.py", "run='=1+1'"], "would run =1+1 as a formula", 2),
    (["train.py", "data.root=/nowhere"], "Did you mean data=kaggle", 2),
    (["train.py", "--help"], "training.batch_size", 0),
]
BEFORE_PYTORCH = [
    (["predict.py", "run=nope", "source=a.wav"], "runs/nope is not a run folder", 2),
    (["predict.py", "run=small", "source=/nowhere.wav"], "/nowhere.wav: there is no such file", 2),
    (["predict.py", "run=small", "split=test", "round=9"], "has no such round", 2),
    (["predict.py", "submission=/nowhere.csv", *NOWHERE], "cannot be read", 2),
    (["train.py", "experiment=smoke", "run=small", "seed=5"], "was made with other settings", 2),
    (["train.py", *NOWHERE], "/nowhere/train.csv: there is no such file", 2),
    (["train.py", "warm_start=nope"], "runs/nope is not a run folder", 2),
    (["verify.py", "run=nope"], "runs/nope is not a run folder", 2),
    (["verify.py", "run=small", "truth=/nowhere.csv", "vote_again=true"], "there is no such file", 2),
    (["audiotag.compare", "run=nope"], "runs/nope is not a run folder", 2),
    (["audiotag.report", "run=nope"], "runs/nope is not a run folder", 2),
    (["audiotag.plan", *NOWHERE], "/nowhere/train.csv: there is no such file", 2),
    (["audiotag.doctor", *NOWHERE], "/nowhere/train.csv: there is no such file", 1),
    (["audiotag.show", "/nowhere.wav", "--out", "pictures"], "there is no such file", 2),
    (["audiotag.show", str(TOP / "train.py"), "run=nope", "--out", "pictures"], "runs/nope is not a run folder", 2),
]
# A decision estimates the noise, by SciPy.
BY_SCIPY = [
    (["verify.py", "run=small", "round=1"], "Accepted", 0),
    (
        ["verify.py", "run=small", "verification.rule.threshold=0.99999"],
        "python verify.py run=small -m verification.rule.thr",
        0,
    ),
]
CASES = BEFORE_TABLES + BEFORE_PYTORCH + BY_SCIPY


@pytest.fixture(scope="module")
def told(small_run, work_folder):
    calls = json.dumps([command for command, _, _ in CASES])
    script = [sys.executable, "-c", SCRIPT, str(TOP)]
    ended = subprocess.run(script, input=calls, capture_output=True, text=True, cwd=work_folder, check=True)
    return json.loads(ended.stdout)


@pytest.mark.parametrize("number", range(len(CASES)), ids=[" ".join(command) for command, _, _ in CASES])
def test_program_imports_nothing_slow_before_it_says_what_is_wrong(told, number):
    (_, says, code), (ended, screen, modules) = CASES[number], told[number]
    assert says in screen
    assert ended == code
    decides = number >= len(BEFORE_TABLES) + len(BEFORE_PYTORCH)
    assert not {*modules} & (SLOW - {"scipy"} if decides else SLOW)
    assert number >= len(BEFORE_TABLES) or not {*modules} & TABLES


def test_program_says_what_is_being_done_in_its_first_line(told, work_folder):
    first = {" ".join(command): told[n][1].splitlines()[0] for n, (command, _, _) in enumerate(CASES)}
    runs = work_folder / "runs"
    assert first["verify.py run=small round=1"] == f"verify.py: run {runs}/small"
    assert first["predict.py run=nope source=a.wav"] == f"predict.py: run {runs}/nope, source a.wav"
    begun = f"train.py: run {runs}/nowhere-tiny-v1-promise, data kaggle in /nowhere"
    assert first["train.py data=kaggle data.root=/nowhere"] == begun

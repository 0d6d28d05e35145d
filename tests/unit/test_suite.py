"""The suite's own rules: the fast tests start nothing, and a test is named by its subject first."""

from __future__ import annotations

import multiprocessing
import os
import re
import subprocess
from pathlib import Path

import pytest
from pytorch_lightning import Trainer

from tests.clips import TOP

# Words that begin no name of a subject.
NO_SUBJECT = {"a", "all", "an", "and", "any", "are", "at", "each", "every", "everything", "for", "if", "in", "is", "it"}
NO_SUBJECT |= {"missing", "no", "nothing", "of", "one", "other", "so", "some", "that", "the", "this", "to", "two"}
NO_SUBJECT |= {"what", "whatever", "where", "who", "with", "without"}


@pytest.mark.parametrize(
    "start",
    [
        lambda: subprocess.run(["true"], check=True),
        lambda: os.fork(),  # the one in place, not the one at import
        lambda: multiprocessing.Process(target=print).start(),
        lambda: Trainer(logger=False, enable_checkpointing=False).fit(None),  # type: ignore[arg-type]
    ],
    ids=["program", "fork", "process", "fit"],
)
def test_suite_refuses_a_fast_test_that_starts_something(start):
    with pytest.raises(pytest.fail.Exception, match="belongs to tests/processes or tests/integration"):
        start()


@pytest.mark.parametrize("file", sorted((TOP / "tests").rglob("test_*.py")), ids=lambda file: file.stem)
def test_suite_names_tests_by_their_subject_first(file: Path):
    names = re.findall(r"^ *def test_(\w+)", file.read_text(encoding="utf-8"), re.M)
    assert names
    assert not [name for name in names if name.split("_")[0] in NO_SUBJECT]

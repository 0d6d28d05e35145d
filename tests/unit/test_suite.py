"""The suite's own rule: the fast tests start nothing."""

from __future__ import annotations

import multiprocessing
import os
import subprocess

import pytest
from pytorch_lightning import Trainer


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

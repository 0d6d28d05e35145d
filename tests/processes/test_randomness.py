"""Keyed random numbers from one process to the next."""

from __future__ import annotations

import os
import subprocess
import sys

from audiotag.randomness import generator, key
from tests.clips import TOP


def test_seed_keys_are_the_same_in_every_process():
    code = "from audiotag.randomness import generator, key; print(key(0, 1, 'clip'), generator(7).integers(10**9))"
    found = set()
    for hash_seed in ("0", "1"):
        environment = {**os.environ, "PYTHONPATH": str(TOP), "PYTHONHASHSEED": hash_seed}
        found.add(subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, check=True).stdout)
    assert found == {f"{key(0, 1, 'clip')} {generator(7).integers(10**9)}\n".encode()}

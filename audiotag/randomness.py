"""Random numbers keyed by what they are for, so that nothing depends on what was drawn before."""

from __future__ import annotations

import hashlib
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np


def key(*parts: int | str) -> int:
    """Return a 63-bit number that is the same for the same parts on every machine."""
    digest = hashlib.blake2b("\x1f".join(map(str, parts)).encode(), digest_size=8).digest()
    return int.from_bytes(digest, "little") >> 1


def generator(*parts: int | str) -> np.random.Generator:
    """Return a NumPy generator keyed by the parts, for example (seed, round, fold, epoch)."""
    import numpy as np  # here: a run's name needs a key, but no numbers, before anything slow is imported

    return np.random.default_rng(key(*parts))

"""audiotag: from half-checked recordings to a self-verified audio tagger."""

import os

__version__ = "0.1.0"

# PyTorch's threads spin while they wait for each other. On cores that others use too, that made a training step 5 to 50
# times slower; spinning for less time costs nothing measurable on free ones. Read when PyTorch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "10000")

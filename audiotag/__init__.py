"""audiotag: from half-checked recordings to a self-verified audio tagger. `audiotag.api` says what it offers."""

import importlib
import os
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from audiotag.api import (
        AudiotagError,
        ConfigError,
        DataError,
        Run,
        RunError,
        Spectrogram,
        Stream,
        Tagger,
        Window,
        compare_runs,
        load,
        open_run,
        predict,
        read_audio,
        read_manifest,
        spectrogram,
        train,
        verify,
    )

__version__ = "0.1.0"
__all__ = ["AudiotagError", "ConfigError", "DataError", "Run", "RunError", "Spectrogram", "Stream", "Tagger", "Window"]
__all__ += ["compare_runs", "load", "open_run", "predict", "read_audio", "read_manifest", "spectrogram"]
__all__ += ["train", "verify"]

# PyTorch's threads spin while they wait for each other. On cores that others use too, that made a training step 5 to 50
# times slower; spinning for less time costs nothing measurable on free ones. Read when PyTorch is first imported.
os.environ.setdefault("GOMP_SPINCOUNT", "1000")


def __getattr__(name: str) -> Any:
    """Return a name of `audiotag.api`, which is imported when it is first needed."""
    if name not in __all__:
        raise AttributeError(f"module 'audiotag' has no attribute {name!r}")
    return getattr(importlib.import_module("audiotag.api"), name)

"""Which files in a folder are recordings, by their names."""

from __future__ import annotations

import functools
from pathlib import Path

import soundfile

# Formats of libsndfile that are no recordings or have no header; who wants such a file names it.
NOT_SEARCHED = {"raw", "mat4", "mat5", "wavex"}
OTHER_SUFFIXES = {"aif", "aifc", "snd", "oga", "opus", "wave", "sph", "iff", "8svx", "fap", "sf"}


def is_recording(path: Path) -> bool:
    """Say whether a file in a folder is taken for a recording, by its name."""
    return path.suffix[1:].lower() in suffixes() and not path.name.startswith(".")


@functools.cache
def suffixes() -> set[str]:
    """Return the endings of file names, lower case, by which recordings are known in a folder."""
    return ({name.lower() for name in soundfile.available_formats()} - NOT_SEARCHED) | OTHER_SUFFIXES

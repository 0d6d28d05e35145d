"""Where the recordings of a table lie: within the data set's folder, under names as people write them."""

from __future__ import annotations

import functools
import os
import unicodedata
from collections import defaultdict
from collections.abc import Iterable
from pathlib import Path

import soundfile

from audiotag.errors import FIRST, LAST, Nearest

ALIKE = 0.8  # of a file's name, to be proposed for another
# Formats of libsndfile that are not recordings or have no header; such a file is read only if it is named.
NOT_SEARCHED = {"raw", "mat4", "mat5", "wavex"}
OTHER_SUFFIXES = {"aif", "aifc", "snd", "oga", "opus", "wave", "sph", "iff", "8svx", "fap", "sf"}


def is_recording(path: Path) -> bool:
    """Return whether a file in a folder is taken for a recording, by its name."""
    return path.suffix[1:].lower() in _suffixes() and not path.name.startswith(".")


@functools.cache
def _suffixes() -> set[str]:
    return ({name.lower() for name in soundfile.available_formats()} - NOT_SEARCHED) | OTHER_SUFFIXES


def nfc(text: str) -> str:
    """Return a text in Unicode's composed form; macOS writes names in the other, which looks the same."""
    return unicodedata.normalize("NFC", text)


def is_utf8(name: str) -> bool:
    """Return whether a file's name is text; the disk holds any bytes."""
    return name == name.encode("utf-8", "replace").decode("utf-8")


def relative(path: Path, root: Path) -> str:
    """Return a path without . and .., relative to a folder if it begins there."""
    folder, text = os.path.join(root, ""), str(path)
    if f"{text}/".startswith(folder):
        within = os.path.normpath(text[len(folder) :])
        if not f"{within}/".startswith("../"):
            return within
    return os.path.normpath(text)


def leading_out(paths: Iterable[Path], folder: Path) -> set[Path]:
    """Return the paths that are not below a folder, links followed; the files need not be there."""
    real = functools.cache(os.path.realpath)
    inside = os.path.join(real(folder), "")

    def is_below(path: Path) -> bool:
        parent, name = os.path.split(path)
        target = os.path.realpath(path) if os.path.islink(path) else os.path.join(real(parent), name)
        return f"{target}/".startswith(inside)

    return {path for path in paths if not is_below(path)}


class _Listing:
    """What is in a folder, and its recordings by name without ending; nothing if it cannot be listed."""

    def __init__(self, folder: Path) -> None:
        try:
            paths = [Path(name) for name in os.listdir(folder)]
        except OSError:  # reading the files tells why they cannot be read
            paths = []
        self.names: dict[str, list[str]] = defaultdict(list)
        self.stems: dict[str, list[str]] = defaultdict(list)
        self.any_case: dict[str, list[str]] = defaultdict(list)
        recordings = [path for path in paths if is_recording(path)]
        for path in paths:
            self.names[nfc(path.name)].append(path.name)
        for path in recordings:
            self.stems[nfc(path.stem)].append(path.name)
            self.any_case[nfc(path.stem).casefold()].append(path.name)
        self.near = Nearest((path.name for path in recordings), ALIKE)


class Folders:
    """Finds files whose names are written otherwise than on the disk; every folder is listed once at most."""

    def __init__(self) -> None:
        self._listing = functools.cache(_Listing)
        self._hints = 0

    def find(self, path: Path) -> Path:
        """Return the one file that is meant, in another normal form or by its name without ending; else `path`."""
        if os.path.exists(path) or path == path.parent:
            return path
        folder = self.find(path.parent)
        listing = self._listing(folder)
        meant = listing.names.get(nfc(path.name)) or listing.stems.get(nfc(path.name), [])
        return folder / meant[0] if len(meant) == 1 else path

    def near(self, path: Path) -> str:
        """Return " (did you mean X?)" for a file that is not there; "" if none is like it, or many were asked for."""
        self._hints += 1
        if self._hints > FIRST + LAST or os.path.lexists(path):  # a link that leads nowhere
            return ""
        listing = self._listing(path.parent)
        alike = listing.any_case.get(nfc(path.stem).casefold()) or listing.any_case.get(nfc(path.name).casefold())
        return f" (did you mean {' or '.join(sorted(alike)[:3])}?)" if alike else listing.near(path.name)

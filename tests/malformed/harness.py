"""Programs with the rights and the memory of an ordinary process, and what they leave behind."""

from __future__ import annotations

import ctypes
import hashlib
import os
import resource
import stat
from pathlib import Path

PROGRAMS = {
    "train": "train.py",
    "predict": "predict.py",
    "verify": "verify.py",
    "plan": "-m audiotag.plan",
    "doctor": "-m audiotag.doctor",
    "show": "-m audiotag.show",
    "compare": "-m audiotag.compare",
    "report": "-m audiotag.report",
    "fetch": "-m tests.malformed.archives",
}
MEMORY_BYTES = 3 << 30  # of address space, beside what the imports take
CPU_S = 150  # no measure of speed: something is wrong with what needs as much on any machine
LARGE_BYTES = 100 << 20  # files beyond are not read to tell whether they changed
CAPABILITIES_3 = 0x20080522  # of linux/capability.h


def be_ordinary() -> None:
    """Bound this process's memory and time, and let root, too, read and write only what it may."""
    pages = int(Path("/proc/self/statm").read_text().split()[0])
    for limit, most in (
        (resource.RLIMIT_AS, pages * resource.getpagesize() + MEMORY_BYTES),
        (resource.RLIMIT_CPU, CPU_S),
        (resource.RLIMIT_CORE, 0),
    ):
        resource.setrlimit(limit, (most, most))
    ctypes.CDLL(None).capset((ctypes.c_uint32 * 2)(CAPABILITIES_3, 0), (ctypes.c_uint32 * 6)())


def tree(folder: Path) -> dict[str, str]:
    """Return everything below a folder by its path, with what tells whether it was changed."""
    found = {}
    for place, folders, files in os.walk(os.fsencode(folder)):
        for name in [*folders, *files]:
            path = os.path.join(place, name)
            found[os.fsdecode(os.path.relpath(path, os.fsencode(folder)))] = _state(path)
    return found


def _state(path: bytes) -> str:
    entry = os.lstat(path)
    kind = stat.filemode(entry.st_mode)
    if stat.S_ISLNK(entry.st_mode):
        return f"{kind} {os.readlink(path)!r}"
    if not stat.S_ISREG(entry.st_mode):
        return kind
    if entry.st_size > LARGE_BYTES:
        return f"{kind} {entry.st_size} {entry.st_mtime_ns}"
    with open(path, "rb") as file:
        return f"{kind} {hashlib.file_digest(file, 'sha256').hexdigest()}"

"""The journal of a desk: a line per verdict, on the disk before it counts; nothing is ever changed in it."""

from __future__ import annotations

import dataclasses
import json
import os
from pathlib import Path
from typing import Any

import filelock

from audiotag.errors import RunError
from audiotag.files import FileLock, full_disk_reported
from audiotag.review.verdicts import WORDS, Entry

FIELDS = {field.name: field for field in dataclasses.fields(Entry)}


class Journal:
    """The entries in a file, JSON lines. Open in one process at a time: raises RunError if another has it.

    Raises RunError for a line that is none of ours. A last line without an end was being written when the power went:
    nobody was told that it is kept, and it is dropped.
    """

    def __init__(self, path: Path) -> None:
        path.parent.mkdir(parents=True, exist_ok=True)
        self._lock = FileLock(path.with_name(".lock"))
        try:
            self._lock.acquire(timeout=0)
        except filelock.Timeout:
            raise RunError(f"{path.parent}: the desk of this run is open already; use its page, or end it") from None
        self.path = path
        self.entries = self._read()
        self._file = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_APPEND, 0o644)
        folder = os.open(path.parent, os.O_RDONLY)
        os.fsync(folder)  # that the file itself is there
        os.close(folder)

    def _read(self) -> list[Entry]:
        if not self.path.is_file():
            return []
        content = self.path.read_bytes()
        whole, end, rest = content.rpartition(b"\n")
        if rest:
            os.truncate(self.path, len(whole) + len(end))
        return [self._entry(n, line) for n, line in enumerate(whole.split(b"\n"), start=1)] if end else []

    def _entry(self, n: int, line: bytes) -> Entry:
        try:
            entry = Entry(**json.loads(line))
            fits = entry.n == n and (0 < entry.undo < n or entry.word in WORDS)
        except (ValueError, TypeError):
            fits = False
        if not fits:
            raise RunError(
                f"{self.path}:{n}: not what was written there: put back a copy, or delete the lines from it on"
            )
        return entry

    def append(self, **values: Any) -> Entry:
        """Add an entry, and return it once it is on the disk; raises DiskFullError if there is no room for it."""
        entry = Entry(n=len(self.entries) + 1, **values)
        kept = {name: getattr(entry, name) for name, field in FIELDS.items() if getattr(entry, name) != field.default}
        line = (json.dumps(kept, ensure_ascii=False) + "\n").encode()
        end = os.fstat(self._file).st_size
        try:
            with full_disk_reported(self.path):
                if os.write(self._file, line) < len(line):
                    raise OSError(28, os.strerror(28))  # ENOSPC
                os.fsync(self._file)
        except BaseException:
            os.ftruncate(self._file, end)  # no half a line, to which the next one would be added
            raise
        self.entries.append(entry)
        return entry

    def close(self) -> None:
        """Let another process have it."""
        os.close(self._file)
        self._lock.release()

"""Files that are either whole or absent, whatever ends the process."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import math
import os
import secrets
import shutil
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any

import filelock
import yaml
from rich.filesize import decimal

from audiotag.errors import AudiotagError, DiskFullError, RunError

if TYPE_CHECKING:
    import pandas as pd  # the first process of a job's tree reads no table

PNG_MARK = "Software\0audiotag"  # in the header of every picture that is drawn
NO_ROOM = (errno.ENOSPC, errno.EDQUOT)
LONGEST_NAME = 200  # bytes; file systems take 255, and temporary files need some
NO_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)


class FileLock(filelock.FileLock):
    """A lock that ends with its process, on every machine that shares the file system; never a file that stands for it.

    Raises AudiotagError where the file system has no such locks.
    """

    def __init__(self, path: Path) -> None:
        super().__init__(path, fallback_to_soft=False)

    def acquire(self, *arguments: Any, **named: Any) -> Any:
        """Wait for the lock, as filelock does."""
        try:
            return super().acquire(*arguments, **named)
        except OSError as error:
            if error.errno not in NO_LOCKS:
                raise
            raise AudiotagError(
                f"{self.lock_file}: this file system has no locks ({error.strerror}), without which processes would "
                "spoil each other's work: mount it with locks (NFS: version 4, or its lock daemon, and not nolock), or "
                "set runs_dir= and cache_dir= to another disk"
            ) from error


@contextlib.contextmanager
def replacing(path: Path) -> Iterator[Path]:
    """Yield a temporary path beside `path`; once the block succeeds it becomes `path`, in one step.

    Raises DiskFullError where there is no room for it.
    """
    # Processes on other machines may have the same number.
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    with full_disk_reported(path):
        path.parent.mkdir(parents=True, exist_ok=True)
        try:
            yield temporary
            with open(temporary, "rb") as written:
                os.fsync(written.fileno())
            os.replace(temporary, path)
        finally:
            temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def replacing_folder(path: Path) -> Iterator[Path]:
    """Yield a new, temporary folder beside `path`; once the block succeeds it becomes `path`, instead of one there.

    Raises DiskFullError where there is no room for it.
    """
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}.tmp")
    earlier = temporary.with_suffix(".old")
    with full_disk_reported(path):
        temporary.mkdir(parents=True)
        try:
            yield temporary
            if path.exists():
                os.replace(path, earlier)
            os.replace(temporary, path)
        finally:
            for folder in (temporary, earlier):
                shutil.rmtree(folder, ignore_errors=True)


@contextlib.contextmanager
def damage_reported(path: Path, again: str) -> Iterator[None]:
    """Turn a failure to read a file in the block into a RunError that names it and says how it is made again."""
    try:
        yield
    except FileNotFoundError as error:
        raise RunError(f"{path} is missing: {again}") from error
    except (OSError, ValueError, LookupError, TypeError, AttributeError, yaml.YAMLError) as error:
        raise RunError(f"{path} is damaged ({type(error).__name__}): {again}") from error


def read_json(path: Path, again: str) -> dict[str, Any]:
    """Read a JSON file; raises RunError if it is missing or damaged."""
    with damage_reported(path, again):
        return dict(json.loads(path.read_text(encoding="utf-8")))


def digest(path: Path) -> str:
    """Return the SHA-256 of a file's bytes."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()


def check_folder(setting: str, folder: Path, otherwise: str = "") -> None:
    """Raise AudiotagError unless files can be written into a folder, or below what there is of its path.

    `otherwise` is the advice if the folder is not writable; by default, to set `setting` to another folder.
    """
    if any(len(os.fsencode(name)) > LONGEST_NAME for name in folder.parts):
        raise AudiotagError(f"{setting}={folder}: a name has more than {LONGEST_NAME} bytes, the longest that fits")
    there = next(place for place in (folder, *folder.parents) if place.exists() or place.is_symlink())
    if not there.is_dir():
        raise AudiotagError(f"{setting}={folder}: {there} is not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        what_to_do = otherwise or f"set {setting}= to another folder"
        raise AudiotagError(f"{setting}={folder}: nothing can be written to {there}; {what_to_do}")


def check_room(folder: Path, needed_bytes: float, what: str, otherwise: str) -> None:
    """Raise AudiotagError unless a folder's disk has room for so much; `otherwise` says what to do but make room."""
    free_bytes = shutil.disk_usage(folder).free
    if needed_bytes > free_bytes:
        needed, free, missing = (decimal(math.ceil(n)) for n in (needed_bytes, free_bytes, needed_bytes - free_bytes))
        raise AudiotagError(
            f"{what} needs {needed}, and {folder} has {free} free, {missing} too little: make room, or {otherwise}"
        )


def check_output(path: Path, mark: str, beside: Iterable[str] = (), inputs: Iterable[Path] = ()) -> None:
    """Raise AudiotagError unless a file may be written: it is not there, or is this program's own and none of `inputs`.

    `mark` is what stands at the beginning of what this program writes there; `beside` are names of files that it writes
    with it, which are nobody else's only if they stand beside such a file.
    """
    if path.is_dir():
        raise AudiotagError(f"{path} is a folder: name a file in it")
    check_folder("out", path.parent, "name another file with out=")
    keep = "it is left as it is; name another place with out=, or move it away"
    if not path.exists():
        others = [name for name in beside if path.with_name(name).exists()]
        if others:
            raise AudiotagError(
                f"{path.with_name(others[0])} is there already, and was not written with {path}: {keep}"
            )
        return
    if not path.is_file():
        raise AudiotagError(f"{path} is not a regular file: name one with out=")
    if any(other.exists() and path.samefile(other) for other in inputs):
        raise AudiotagError(f"{path} is what this command reads: {keep}")
    with open(path, "rb") as file:
        begin = file.read(512)
    if begin and mark.encode() not in begin:
        raise AudiotagError(f"{path} was not written by this command: {keep}")


def remove_damaged(path: Path) -> None:
    """Remove a damaged file or folder of a cache; raises AudiotagError if that fails."""
    try:
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink(missing_ok=True)
    except OSError as error:
        raise AudiotagError(f"{path} is damaged, and cannot be removed: {error.strerror}; delete it") from error


def remove_leftovers(folder: Path) -> None:
    """Remove what killed processes left half-written; only for who alone may write into the folder."""
    for temporary in folder.glob(".*.tmp"):
        temporary.unlink(missing_ok=True)


@contextlib.contextmanager
def full_disk_reported(path: Path | None = None) -> Iterator[None]:
    """Turn the operating system's error of a full disk in the block into a DiskFullError that names the file."""
    try:
        yield
    except OSError as error:
        if error.errno not in NO_ROOM:
            raise
        file = path or error.filename or "A file"
        raise DiskFullError(
            f"{file} cannot be written: {os.strerror(error.errno)}. Make room on that disk, then start the same "
            "command again: it goes on from what is there"
        ) from error


def write_text(path: Path, text: str) -> None:
    """Write UTF-8 text, whole or not at all."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def write_json(path: Path, content: Any) -> None:
    """Write JSON, whole or not at all."""
    write_text(path, json.dumps(content, indent=2, ensure_ascii=False, allow_nan=False) + "\n")


def csv_text(table: pd.DataFrame) -> str:
    """Return a table as CSV with one header row and floats with 6 digits."""
    return table.to_csv(index=False, float_format="%.6f", lineterminator="\n")


def lines_that_differ(text: str, other: str) -> int:
    """Return how many lines stand in only one of two texts, whatever their order."""
    return len(set(text.splitlines()) ^ set(other.splitlines()))


def write_csv(path: Path, table: pd.DataFrame) -> None:
    """Write a table with one header row, UTF-8, floats with 6 digits; whole or not at all."""
    write_text(path, csv_text(table))


def write_parquet(path: Path, table: pd.DataFrame) -> None:
    """Write a Parquet table, whole or not at all."""
    with replacing(path) as temporary:
        table.to_parquet(temporary, index=False)

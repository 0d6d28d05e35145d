"""Locks on file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import os

import pytest

from audiotag.errors import AudiotagError
from audiotag.files import FileLock


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_a_file_system_without_locks_is_named_and_nothing_stands_for_them(tmp_path, monkeypatch, number):
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(AudiotagError, match=r"\.lock: this file system has no locks"), FileLock(tmp_path / ".lock"):
        pass

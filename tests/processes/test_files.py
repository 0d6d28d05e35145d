"""Files that are whole or absent after a kill, and a disk without room."""

from __future__ import annotations

import os
import signal
import subprocess
import sys

import pytest

from audiotag.errors import AudiotagError
from audiotag.files import check_room, write_text
from tests.clips import TOP


def test_output_without_room_is_refused_in_units_that_tell_need_from_room(tmp_path):
    mounted = subprocess.run(
        ["mount", "-t", "tmpfs", "-o", "size=16k", "none", tmp_path], capture_output=True, text=True
    )
    if mounted.returncode:
        pytest.skip(f"needs to mount a tiny tmpfs, which is not permitted here: {mounted.stderr.strip()}")
    try:
        check_room(tmp_path, 16_384, "the store", "set cache_dir=")
        with pytest.raises(AudiotagError) as caught:
            check_room(tmp_path, 40_000.5, "the store", "set cache_dir=")
    finally:
        subprocess.run(["umount", "--lazy", tmp_path], check=True)
    assert str(caught.value) == (
        f"the store needs 40.0 kB, and {tmp_path} has 16.4 kB free, 23.6 kB too little: make room, or set cache_dir="
    )


def test_file_stays_as_before_where_its_writer_is_killed(tmp_path):
    path = tmp_path / "file.txt"
    write_text(path, "before")
    code = (
        "import sys, time; from pathlib import Path; from audiotag.files import replacing\n"
        "with replacing(Path(sys.argv[1])) as temporary:\n"
        "    temporary.write_text('half'); print('writing', flush=True); time.sleep(60)"
    )
    process = subprocess.Popen(
        [sys.executable, "-c", code, str(path)], stdout=subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(TOP)}
    )
    assert process.stdout is not None
    assert process.stdout.readline() == b"writing\n"
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert path.read_text() == "before"
    write_text(path, "after")
    assert path.read_text() == "after"

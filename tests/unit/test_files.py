"""Files that may be written, and locks on file systems that have none."""

from __future__ import annotations

import errno
import fcntl
import os
from pathlib import Path
from typing import Any

import pytest
from matplotlib.figure import Figure

from audiotag.errors import AudiotagError
from audiotag.files import PNG_MARK, FileLock, check_folder, check_output
from audiotag.plots.figures import save_png


@pytest.mark.parametrize("number", [errno.ENOLCK, errno.ENOSYS])
def test_lock_on_a_file_system_without_locks_is_refused_by_name(tmp_path, monkeypatch, number):
    def flock(*_: object) -> None:
        raise OSError(number, os.strerror(number))

    monkeypatch.setattr(fcntl, "flock", flock)
    with pytest.raises(AudiotagError, match=r"\.lock: this file system has no locks"), FileLock(tmp_path / ".lock"):
        pass


HEADER = "fname,label"


def refused(path: Path, *arguments: Any) -> str:
    before = path.read_bytes() if path.is_file() else None
    with pytest.raises(AudiotagError) as error:
        check_output(path, HEADER, *arguments)
    assert before is None or path.read_bytes() == before
    return str(error.value)


def test_output_may_replace_nothing_but_the_programs_own_files(tmp_path):
    check_output(tmp_path / "new" / "folder" / "p.csv", HEADER, ["scores.json"])
    (tmp_path / "p.csv").write_text(f"{HEADER}_1,probability_1\na.wav,Bark,0.9\n")
    (tmp_path / "scores.json").write_text("{}")
    check_output(tmp_path / "p.csv", HEADER, ["scores.json"])
    (tmp_path / "empty.csv").touch()
    check_output(tmp_path / "empty.csv", HEADER)


def test_output_never_replaces_a_users_own_files(tmp_path):
    own, ours = tmp_path / "own.csv", tmp_path / "ours.csv"
    own.write_text("file,sound\na.wav,Bark\n")
    ours.write_text(f"{HEADER}\na.wav,Bark\n")
    (tmp_path / "link.csv").symlink_to(own)
    assert "was not written by this command" in refused(own)
    assert "was not written by this command" in refused(tmp_path / "link.csv")
    assert "is what this command reads" in refused(ours, (), [ours])
    assert "is what this command reads" in refused(ours, (), [tmp_path / "sub" / ".." / "ours.csv", ours.resolve()])
    assert "own.csv is there already, and was not written with" in refused(tmp_path / "new.csv", ["own.csv"])
    assert "is a folder: name a file in it" in refused(tmp_path)
    assert f"{own} is not a folder" in refused(own / "below" / "p.csv")


def test_output_is_refused_to_devices_and_pipes(tmp_path):
    os.mkfifo(tmp_path / "pipe.csv")
    assert "not a regular file" in refused(tmp_path / "pipe.csv")
    assert "not a regular file" in refused(Path("/dev/null"))


def test_output_pictures_say_who_made_them(tmp_path):
    save_png(tmp_path / "a.png", Figure())
    check_output(tmp_path / "a.png", PNG_MARK)
    Figure().savefig(tmp_path / "own.png")
    with pytest.raises(AudiotagError, match=r"own\.png was not written by this command"):
        check_output(tmp_path / "own.png", PNG_MARK)


def test_output_folder_that_cannot_be_written_to_is_named_with_its_setting(tmp_path):
    check_folder("runs_dir", tmp_path / "not" / "there" / "yet")
    (tmp_path / "file").touch()
    with pytest.raises(AudiotagError, match=r"cache_dir=.*/file/below: .*/file is not a folder"):
        check_folder("cache_dir", tmp_path / "file" / "below")
    for name in ("ä" * 101, "x" * 300, f"{'x' * 300}/y"):
        with pytest.raises(AudiotagError, match="a name has more than 200 bytes"):
            check_folder("run", tmp_path / name)
    assert [path.name for path in tmp_path.iterdir()] == ["file"]

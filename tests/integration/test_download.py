"""Fetching FSDKaggle2018 from a real server on this machine: resuming, checking, extracting, refusing."""

from __future__ import annotations

import contextlib
import hashlib
import io
import json
import os
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
import zipfile
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import numpy as np
import pytest
from rich.console import Console

from audiotag.data.sources import download
from audiotag.data.sources.fsdkaggle2018 import RECORD_PAGE, fetch, is_present, tables
from audiotag.errors import AudiotagError

META, TEST, TRAIN, DOC = (f"FSDKaggle2018.{part}.zip" for part in ("meta", "audio_test", "audio_train", "doc"))
CLIP_BYTES = 200_000


@dataclass
class Request:
    method: str
    name: str
    range: str | None
    sent: int = 0


@dataclass
class Site:
    """What the server does with each archive, and what it was asked."""

    files: dict[str, bytes]
    log: list[Request] = field(default_factory=list)
    ignores_range: bool = False
    cuts: dict[str, list[int]] = field(default_factory=dict)  # bytes after which the next answers break off
    statuses: dict[str, list[int]] = field(default_factory=dict)  # statuses of the next answers
    claimed_bytes: dict[str, int] = field(default_factory=dict)  # sizes told to HEAD
    pause_s: float = 0.0  # between two blocks of 32 KiB
    odd: dict[str, Callable[[Handler], None]] = field(default_factory=dict)  # answers otherwise than a server should
    url: str = ""

    def gets(self, name: str) -> list[Request]:
        return [request for request in self.log if request.method == "GET" and request.name == name]

    @property
    def registry(self) -> dict[str, str]:
        return {name: "md5:" + hashlib.md5(content).hexdigest() for name, content in self.files.items()}


class Handler(BaseHTTPRequestHandler):
    site: Site

    def log_message(self, format: str, *args: object) -> None:
        """Keep the test's output free of request lines: `Site.log` holds them."""

    def do_HEAD(self) -> None:
        name = self.path.rsplit("/", 1)[-1]
        self.site.log.append(Request("HEAD", name, None))
        if name in self.site.odd:
            self.site.odd[name](self)
            return
        if name not in self.site.files:
            self.send_error(404)
            return
        self.send_response(200)
        self.send_header("Content-Length", str(self.site.claimed_bytes.get(name, len(self.site.files[name]))))
        self.end_headers()

    def do_GET(self) -> None:
        site, name = self.site, self.path.rsplit("/", 1)[-1]
        request = Request("GET", name, self.headers["Range"])
        site.log.append(request)
        if name in site.odd:
            with contextlib.suppress(BrokenPipeError, ConnectionResetError):
                site.odd[name](self)
            return
        if site.statuses.get(name) or name not in site.files:
            self.send_error(site.statuses[name].pop(0) if site.statuses.get(name) else 404)
            return
        content, start = site.files[name], 0
        if request.range and not site.ignores_range:
            start = int(request.range.removeprefix("bytes=").removesuffix("-"))
            if start >= len(content):
                self.send_response(416)
                self.send_header("Content-Range", f"bytes */{len(content)}")
                self.send_header("Content-Length", "0")
                self.end_headers()
                return
            self.send_response(206)
            self.send_header("Content-Range", f"bytes {start}-{len(content) - 1}/{len(content)}")
        else:
            self.send_response(200)
        self.send_header("Content-Length", str(len(content) - start))
        self.end_headers()
        stop = start + site.cuts[name].pop(0) if site.cuts.get(name) else len(content)
        with contextlib.suppress(BrokenPipeError, ConnectionResetError):  # the client was killed: part of the test
            for at in range(start, min(stop, len(content)), 1 << 15):
                block = content[at : min(at + (1 << 15), stop)]
                self.wfile.write(block)
                request.sent += len(block)
                time.sleep(site.pause_s)


def zipped(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in files.items():
            archive.writestr(zipfile.ZipInfo(name, (2019, 1, 1, 0, 0, 0)), content)
    return buffer.getvalue()


def contents() -> dict[str, bytes]:
    """What the data set holds once it is whole, by path."""
    rng = np.random.default_rng(7)
    clips = {f"FSDKaggle2018.audio_train/{name}.wav": rng.bytes(CLIP_BYTES) for name in "abcde"}
    clips |= {f"FSDKaggle2018.audio_test/{name}.wav": rng.bytes(CLIP_BYTES // 4) for name in "xyz"}
    train = ["fname,label,manually_verified,freesound_id,license", *(f"{name}.wav,Bark,1,{7},CC0" for name in "abcde")]
    test = ["fname,label,usage,freesound_id,license", *(f"{name}.wav,Bark,Public,{8},CC0" for name in "xyz")]
    return clips | {
        "FSDKaggle2018.meta/train_post_competition.csv": "\n".join(train).encode(),
        "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv": "\n".join(test).encode(),
    }


def archives() -> dict[str, bytes]:
    parts: dict[str, dict[str, bytes]] = {META: {}, TEST: {}, TRAIN: {}, DOC: {}}
    for path, content in contents().items():
        parts[f"{path.split('/')[0]}.zip"][path] = content
    parts[TRAIN]["__MACOSX/FSDKaggle2018.audio_train/._a.wav"] = b"what a file manager adds"
    parts[DOC]["FSDKaggle2018.doc/README.md"] = b"about it"
    return {name: zipped(files) for name, files in parts.items()}


@pytest.fixture
def site() -> Iterator[Site]:
    site = Site(archives())
    handler = type("SiteHandler", (Handler,), {"site": site})
    server = ThreadingHTTPServer(("127.0.0.1", 0), handler)
    site.url = f"http://127.0.0.1:{server.server_address[1]}/files"
    thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.02}, daemon=True)
    thread.start()
    yield site
    server.shutdown()
    server.server_close()
    thread.join()


def get(site: Site, root: Path, **options: bool) -> Path:
    return fetch(root, site.url, site.registry, progress=False, pause_s=0.01, **options)


def whole(root: Path) -> bool:
    """Say whether `root` holds the data set byte for byte, and nothing but it and the lock."""
    found = {str(path.relative_to(root)): path.read_bytes() for path in root.rglob("*") if path.is_file()}
    found.pop(".fetch.lock", None)
    return found == contents()


IN_A_PROCESS = """
import json, os, signal, sys
from pathlib import Path
from audiotag.data.sources import download
from audiotag.data.sources.fsdkaggle2018 import fetch
root, url, registry, fatal = Path(sys.argv[1]), sys.argv[2], json.loads(sys.argv[3]), sys.argv[4]

def die_at(event, args):
    if event == "os.rename" and fatal and str(args[1]).endswith(fatal):
        os.kill(os.getpid(), signal.SIGKILL)

sys.addaudithook(die_at)
fetch(root, url, registry, progress=False, pause_s=0.01)
"""


def start_fetching(site: Site, root: Path, fatal: str = "") -> subprocess.Popen[bytes]:
    """Fetch in a process of its own; with `fatal`, it kills itself as it is about to rename a file to that name."""
    arguments = [str(root), site.url, json.dumps(site.registry), fatal]
    return subprocess.Popen([sys.executable, "-c", IN_A_PROCESS, *arguments])


def test_download_fetches_checks_and_extracts_everything(site: Site, tmp_path: Path) -> None:
    root = tmp_path / "deep" / "set"
    assert not is_present(root)
    assert get(site, root) == root
    assert is_present(root)
    assert whole(root)
    assert [path.relative_to(root).as_posix() for path in tables(root)] == [
        "FSDKaggle2018.meta/train_post_competition.csv",
        "FSDKaggle2018.meta/test_post_competition_scoring_clips.csv",
        "FSDKaggle2018.audio_train",
        "FSDKaggle2018.audio_test",
    ]
    assert not site.gets(DOC)


def test_download_that_is_complete_asks_the_server_nothing(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path)
    site.log.clear()
    get(site, tmp_path)
    assert site.log == []


def test_download_progress_names_the_archives_and_the_time_left(site: Site, tmp_path: Path) -> None:
    screen = io.StringIO()
    site.pause_s = 0.02
    fetch(tmp_path, site.url, site.registry, console=Console(file=screen, force_terminal=True, width=140))
    assert TRAIN in screen.getvalue()
    assert f"extract {TRAIN}" in screen.getvalue()
    assert "0:00:0" in screen.getvalue()


def test_download_that_was_killed_is_resumed_where_it_stopped(site: Site, tmp_path: Path) -> None:
    part, size = tmp_path / ".download" / f"{TRAIN}.part", len(site.files[TRAIN])
    site.pause_s = 0.05
    process = start_fetching(site, tmp_path)
    deadline = time.monotonic() + 30
    while not part.exists() or part.stat().st_size < 200_000:
        assert process.poll() is None, "ended before it could be killed"
        assert time.monotonic() < deadline
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    assert process.wait() == -signal.SIGKILL
    kept = part.stat().st_size
    assert 200_000 <= kept < size
    assert not is_present(tmp_path)

    site.pause_s = 0.0
    get(site, tmp_path)
    first, second = site.gets(TRAIN)
    assert first.range is None
    assert second.range == f"bytes={kept}-"
    assert second.sent == size - kept
    assert whole(tmp_path)


def test_extraction_that_was_killed_goes_on_with_the_files_that_are_missing(site: Site, tmp_path: Path) -> None:
    process = start_fetching(site, tmp_path, fatal="c.wav")
    assert process.wait(timeout=30) == -signal.SIGKILL
    beside = tmp_path / ".download" / "FSDKaggle2018.audio_train"
    assert {path.name for path in beside.iterdir()} == {"a.wav", "b.wav", ".half"}
    assert not (tmp_path / "FSDKaggle2018.audio_train").exists()
    before = {name: (beside / name).stat().st_mtime_ns for name in ("a.wav", "b.wav")}

    site.log.clear()
    get(site, tmp_path)
    assert site.log == [], "the archive was whole already"
    after = {name: (tmp_path / "FSDKaggle2018.audio_train" / name).stat().st_mtime_ns for name in before}
    assert after == before, "extracted twice"
    assert whole(tmp_path)


def test_download_is_kept_when_killed_while_the_checksum_is_taken(site: Site, tmp_path: Path) -> None:
    process = start_fetching(site, tmp_path, fatal=TRAIN)  # about to give the checked file its name
    assert process.wait(timeout=30) == -signal.SIGKILL
    get(site, tmp_path)
    assert sum(request.sent for request in site.gets(TRAIN)) == len(site.files[TRAIN])
    assert whole(tmp_path)


def test_download_takes_broken_connections_up_again_in_one_call(site: Site, tmp_path: Path) -> None:
    site.cuts[TRAIN] = [300_000, 0, 250_000]
    get(site, tmp_path)
    starts = [int((request.range or "bytes=0-")[6:-1]) for request in site.gets(TRAIN)]
    assert len(starts) == 4
    assert starts[0] == 0
    assert 0 < starts[1] == starts[2] <= 300_000
    assert starts[1] < starts[3] <= 550_000
    assert whole(tmp_path)


def test_download_gives_up_a_server_that_sends_nothing_new_and_keeps_what_arrived(site: Site, tmp_path: Path) -> None:
    site.cuts[TRAIN] = [300_000, 0, 0, 0, 0]
    with pytest.raises(AudiotagError, match=r"bytes are kept; the same command goes on") as caught:
        get(site, tmp_path)
    assert f"{site.url}/{TRAIN}" in str(caught.value)
    kept = (tmp_path / ".download" / f"{TRAIN}.part").read_bytes()
    assert len(kept) > 200_000
    assert site.files[TRAIN].startswith(kept)
    site.cuts.clear()
    get(site, tmp_path)
    assert whole(tmp_path)


def test_download_begins_anew_from_a_server_without_ranges(site: Site, tmp_path: Path) -> None:
    site.ignores_range = True
    site.cuts[TRAIN] = [300_000]
    get(site, tmp_path)
    first, second = site.gets(TRAIN)
    assert first.sent == 300_000
    assert second.range is not None
    assert second.sent == len(site.files[TRAIN])
    assert whole(tmp_path)


def test_download_asks_a_busy_server_again(site: Site, tmp_path: Path) -> None:
    site.statuses[META] = [503, 429]
    get(site, tmp_path)
    assert len(site.gets(META)) == 3
    assert whole(tmp_path)


@pytest.mark.parametrize("extra", [b"", b"surplus"], ids=["all of it kept", "more than all kept"])
def test_download_part_as_long_as_the_file_or_longer_is_checked_or_fetched_again(
    site: Site, tmp_path: Path, extra: bytes
) -> None:
    (tmp_path / ".download").mkdir()
    (tmp_path / ".download" / f"{TRAIN}.part").write_bytes(site.files[TRAIN] + extra)
    get(site, tmp_path)
    assert sum(request.sent for request in site.gets(TRAIN)) == (len(site.files[TRAIN]) if extra else 0)
    assert whole(tmp_path)


def test_download_that_is_corrupt_is_deleted_and_named(site: Site, tmp_path: Path) -> None:
    registry, good = site.registry, site.files[TRAIN]
    site.files[TRAIN] = good[:1000] + b"?" + good[1001:]
    with pytest.raises(AudiotagError, match="wrong checksum, and was deleted") as caught:
        fetch(tmp_path, site.url, registry, progress=False, pause_s=0.01)
    assert TRAIN in str(caught.value)
    assert [path.name for path in (tmp_path / ".download").iterdir()] == []
    assert not (tmp_path / "FSDKaggle2018.audio_train").exists()
    site.files[TRAIN] = good
    get(site, tmp_path)
    assert whole(tmp_path)


def test_download_part_of_another_file_is_found_out(site: Site, tmp_path: Path) -> None:
    part = tmp_path / ".download" / f"{TRAIN}.part"
    part.parent.mkdir()
    part.write_bytes(b"not the beginning of it")
    with pytest.raises(AudiotagError, match="wrong checksum"):
        get(site, tmp_path)
    assert not part.exists()
    get(site, tmp_path)
    assert whole(tmp_path)


def test_download_names_a_file_that_the_server_lacks_at_once(site: Site, tmp_path: Path) -> None:
    registry = site.registry
    del site.files[TEST]
    with pytest.raises(AudiotagError, match="404") as caught:
        fetch(tmp_path, site.url, registry, progress=False, pause_s=0.01)
    assert f"{site.url}/{TEST}" in str(caught.value)
    assert len(site.gets(TEST)) == 1


def test_download_without_a_network_says_where_to_get_and_put_the_files(tmp_path: Path) -> None:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    with pytest.raises(AudiotagError, match="refused") as caught:
        fetch(tmp_path / "set", f"http://127.0.0.1:{port}/files", progress=False, pause_s=0.01)
    assert f"127.0.0.1:{port}" in str(caught.value)
    assert RECORD_PAGE in str(caught.value)
    assert str(tmp_path / "set") in str(caught.value)


def test_download_to_a_disk_without_room_is_refused_beforehand(site: Site, tmp_path: Path) -> None:
    site.claimed_bytes[TRAIN] = 10**17
    with pytest.raises(AudiotagError, match=r"to be downloaded and extracted, needs 250\.0 PB, and .* free"):
        get(site, tmp_path)
    assert not [request for request in site.log if request.method == "GET"]


def test_download_names_a_place_that_cannot_be_written(site: Site, tmp_path: Path) -> None:
    (tmp_path / "file").write_text("not a folder")
    with pytest.raises(AudiotagError, match="could not be written to"):
        get(site, tmp_path / "file" / "set")


def test_archives_put_there_by_hand_need_no_network_and_stay(tmp_path: Path) -> None:
    for name, content in archives().items():
        (tmp_path / name).write_bytes(content)
    fetch(tmp_path, "http://127.0.0.1:1/nowhere", Site(archives()).registry, progress=False)
    assert {path.name for path in tmp_path.glob("*.zip")} == {META, TEST, TRAIN, DOC}
    for path in tmp_path.glob("*.zip"):
        path.unlink()
    assert whole(tmp_path)


def test_archives_put_there_by_hand_are_refused_and_kept_if_wrong(site: Site, tmp_path: Path) -> None:
    (tmp_path / META).write_bytes(b"another file")
    with pytest.raises(AudiotagError, match="is not the published file"):
        get(site, tmp_path)
    assert (tmp_path / META).read_bytes() == b"another file"


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"this is no zip archive", "not a whole zip archive"),
        (zipped({"FSDKaggle2018.meta/../../escaped.csv": b"x"}), "points out of its folder"),
        (zipped({"FSDKaggle2018.meta/other.csv": b"x"}), "it holds no training table; it holds no test table"),
    ],
    ids=["no zip", "a path out of the folder", "without the tables"],
)
def test_archives_that_cannot_be_used_are_named(site: Site, tmp_path: Path, content: bytes, said: str) -> None:
    site.files[META] = content
    with pytest.raises(AudiotagError, match=said) as caught:
        get(site, tmp_path / "set")
    assert META in str(caught.value)
    assert not (tmp_path / "escaped.csv").exists()


def test_archives_with_a_damaged_file_leave_nothing_half_written(site: Site, tmp_path: Path) -> None:
    damaged = bytearray(site.files[TRAIN])
    damaged[CLIP_BYTES * 2] ^= 0xFF  # within the second or third clip
    site.files[TRAIN] = bytes(damaged)
    with pytest.raises(AudiotagError, match="not a whole zip archive"):
        get(site, tmp_path)
    assert not (tmp_path / "FSDKaggle2018.audio_train").exists()
    for path in (tmp_path / ".download" / "FSDKaggle2018.audio_train").glob("*.wav"):
        assert path.read_bytes() == contents()[f"FSDKaggle2018.audio_train/{path.name}"]


def test_download_fetches_only_clips_that_are_missing(site: Site, tmp_path: Path) -> None:
    get(site, tmp_path)
    kept = tmp_path / "FSDKaggle2018.audio_train" / "a.wav"
    (tmp_path / "FSDKaggle2018.audio_train" / "d.wav").unlink()
    (tmp_path / "FSDKaggle2018.audio_train" / "mine.txt").write_text("kept")
    assert not is_present(tmp_path)
    site.log.clear()
    get(site, tmp_path)
    assert {request.name for request in site.log} == {TRAIN}
    assert (tmp_path / "FSDKaggle2018.audio_train" / "mine.txt").read_text() == "kept"
    (tmp_path / "FSDKaggle2018.audio_train" / "mine.txt").unlink()
    assert kept.is_file()
    assert whole(tmp_path)


def test_download_is_done_once_by_two_processes(site: Site, tmp_path: Path) -> None:
    site.pause_s = 0.02
    processes = [start_fetching(site, tmp_path) for _ in range(2)]
    assert [process.wait(timeout=50) for process in processes] == [0, 0]
    assert len(site.gets(TRAIN)) == 1
    assert whole(tmp_path)


def kaggle_layout(root: Path) -> Path:
    """Lay the data set out as the challenge did, with test clips that nobody scores."""
    for path, content in contents().items():
        folder, name = path.removeprefix("FSDKaggle2018.").split("/")
        if folder != "meta":
            (root / folder).mkdir(parents=True, exist_ok=True)
            (root / folder / name).write_bytes(content)
    (root / "train.csv").write_text("fname,label,manually_verified\n" + "".join(f"{n}.wav,Bark,1\n" for n in "abcde"))
    rows = [*(f"{name}.wav,Bark,Private" for name in "xyz"), "gone.wav,None,Ignored"]
    (root / "test_post_competition.csv").write_text("fname,label,usage\n" + "\n".join(rows) + "\n")
    return root


def test_download_leaves_kaggles_layout_as_it_is(tmp_path: Path) -> None:
    root = kaggle_layout(tmp_path)
    assert is_present(root)
    assert tables(root) == tuple(
        root / name for name in ("train.csv", "test_post_competition.csv", "audio_train", "audio_test")
    )
    before = sorted(os.listdir(root))
    fetch(root, "http://127.0.0.1:1/nowhere", progress=False)
    assert sorted(os.listdir(root)) == before


@pytest.mark.parametrize(
    ("gone", "said"),
    [
        ("train.csv", r"no training table \(FSDKaggle2018\.meta/train_post_competition\.csv or"),
        ("audio_test", r"no test clips \(FSDKaggle2018\.audio_test or audio_test\)"),
    ],
)
def test_download_names_what_is_missing(tmp_path: Path, gone: str, said: str) -> None:
    root = kaggle_layout(tmp_path)
    shutil.rmtree(root / gone) if (root / gone).is_dir() else (root / gone).unlink()
    assert not is_present(root)
    with pytest.raises(AudiotagError, match=said):
        tables(root)


def test_download_refuses_a_table_of_something_else(tmp_path: Path) -> None:
    root = kaggle_layout(tmp_path)
    (root / "train.csv").write_text("name,label\na.wav,Bark\n")
    with pytest.raises(AudiotagError, match=r"train\.csv:1: no column fname"):
        is_present(root)


def with_table(content: bytes, name: str = "train_post_competition.csv") -> bytes:
    """Return the archive of tables with one that holds `content`."""
    files = {path: text for path, text in contents().items() if path.startswith("FSDKaggle2018.meta/")}
    if "/" in name:
        del files["FSDKaggle2018.meta/train_post_competition.csv"]
    return zipped({**files, f"FSDKaggle2018.meta/{name}": content})


GOOD_TABLE = contents()["FSDKaggle2018.meta/train_post_competition.csv"]
BAD_TABLES = {
    "not UTF-8": (with_table(GOOD_TABLE.replace(b"Bark", b"B\xe4rk")), "not UTF-8 text"),
    "ragged": (with_table(GOOD_TABLE + b"\nf.wav,Bark"), "2 values where the header names 5"),
    "empty": (with_table(b""), "there is nothing in it"),
    "no rows": (with_table(GOOD_TABLE.partition(b"\n")[0]), "names no clips"),
    "open quote": (with_table(GOOD_TABLE + b'\n"f.wav,Bark'), "unexpected end of data"),
    "other columns": (with_table(GOOD_TABLE.replace(b"fname", b"file")), "no column fname"),
    "a folder": (with_table(b"", "train_post_competition.csv/x"), "Is a directory"),
}


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_download_names_a_bad_table_and_the_next_good_one_replaces_it(site: Site, tmp_path: Path, kind: str) -> None:
    site.files[META], why = BAD_TABLES[kind]
    with pytest.raises(AudiotagError, match=why) as caught:
        get(site, tmp_path)
    assert META in str(caught.value)
    assert "train_post_competition.csv" in str(caught.value)
    assert not list(tmp_path.glob("*.meta"))
    site.files[META] = archives()[META]
    get(site, tmp_path)
    assert whole(tmp_path)


@pytest.mark.parametrize("kind", BAD_TABLES)
def test_download_fetches_an_unreadable_table_again_and_keeps_it_beside(site: Site, tmp_path: Path, kind: str) -> None:
    get(site, tmp_path)
    with zipfile.ZipFile(io.BytesIO(BAD_TABLES[kind][0])) as bad:
        shutil.rmtree(tmp_path / "FSDKaggle2018.meta")
        bad.extractall(tmp_path)
    assert not is_present(tmp_path)
    get(site, tmp_path)
    (aside,) = (tmp_path / "FSDKaggle2018.meta").glob("*.unreadable")
    assert aside.name == "train_post_competition.csv.unreadable"
    shutil.rmtree(aside) if aside.is_dir() else aside.unlink()
    assert whole(tmp_path)


def test_download_names_a_bad_table_of_a_folder_by_hand_and_fetches_nothing(tmp_path: Path) -> None:
    root = kaggle_layout(tmp_path)
    (root / "train.csv").write_bytes(b"fname,label\na.wav,B\xe4rk\n")
    for ask in (is_present, lambda root: fetch(root, "http://127.0.0.1:1/nowhere", progress=False)):
        with pytest.raises(AudiotagError, match=r"train\.csv:2: this is not UTF-8 text"):
            ask(root)


def test_download_names_a_file_in_the_place_of_a_folder_of_clips(tmp_path: Path) -> None:
    root = kaggle_layout(tmp_path)
    shutil.rmtree(root / "audio_train")
    (root / "audio_train").write_text("no folder")
    with pytest.raises(AudiotagError, match=r"audio_train is not a folder"):
        is_present(root)


def test_archives_that_are_encrypted_are_named_and_fetched_again(site: Site, tmp_path: Path) -> None:
    encrypted = bytearray(site.files[TRAIN])
    for header, flags in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        at = -1
        while (at := encrypted.find(header, at + 1)) >= 0:
            encrypted[at + flags] |= 1
    site.files[TRAIN] = bytes(encrypted)
    with pytest.raises(AudiotagError, match=r"audio_train\.zip cannot be used: it is encrypted") as caught:
        get(site, tmp_path)
    assert RECORD_PAGE in str(caught.value)
    assert not (tmp_path / "FSDKaggle2018.audio_train").exists()
    site.files[TRAIN] = archives()[TRAIN]
    get(site, tmp_path)
    assert whole(tmp_path)


def redirect(place: str | None) -> Callable[[Handler], None]:
    def answer(handler: Handler) -> None:
        handler.send_response(302)
        if place is not None:
            handler.send_header("Location", place)
        handler.send_header("Content-Length", "0")
        handler.end_headers()

    return answer


REDIRECTS = [
    None,
    "",
    "http://[::1",
    "ftp://127.0.0.1/x",
    "http://",
    "file:///etc/passwd",
    "http://\xe4:99999999/",
    META,
]


@pytest.mark.parametrize("place", REDIRECTS)
def test_download_names_a_redirect_that_leads_nowhere(site: Site, tmp_path: Path, place: str | None) -> None:
    site.odd[META] = redirect(place)
    with pytest.raises(AudiotagError, match="could not be downloaded") as caught:
        get(site, tmp_path)
    assert f"{site.url}/{META}" in str(caught.value)
    assert "checksum" not in str(caught.value)
    site.odd.clear()
    get(site, tmp_path)
    assert whole(tmp_path)


def with_length(site: Site, length: str | None) -> Callable[[Handler], None]:
    """Answer with a Content-Length of any kind, and close the connection after the content."""

    def answer(handler: Handler) -> None:
        handler.send_response(200)
        if length is not None:
            handler.send_header("Content-Length", length)
        handler.end_headers()
        if handler.command == "GET":
            handler.wfile.write(site.files[handler.path.rsplit("/", 1)[-1]])

    return answer


LENGTHS = ["many", "-5", "", "1e9", "\xb2", "9" * 5000, "0x10"]


@pytest.mark.parametrize("length", [None, *LENGTHS])
def test_download_needs_no_length(site: Site, tmp_path: Path, length: str | None) -> None:
    site.odd[META] = with_length(site, length)
    get(site, tmp_path)
    assert whole(tmp_path)


@pytest.mark.parametrize(("length", "said"), [("5, 7", "5, 7"), ("123456789", r"has 123\.5 MB, more than")])
def test_download_names_a_length_that_cannot_be(site: Site, tmp_path: Path, length: str, said: str) -> None:
    site.odd[META] = with_length(site, length)
    with pytest.raises(AudiotagError, match=said) as caught:
        get(site, tmp_path)
    assert f"{site.url}/{META}" in str(caught.value)
    assert "checksum" not in str(caught.value)


def test_download_without_a_length_has_an_end(site: Site, tmp_path: Path) -> None:
    sent = 0

    def endless(handler: Handler) -> None:
        nonlocal sent
        handler.send_response(200)
        handler.end_headers()
        while handler.command == "GET" and sent < 200_000_000:
            handler.wfile.write(bytes(1 << 20))
            sent += 1 << 20

    site.odd[META] = endless
    with pytest.raises(AudiotagError, match=r"is longer than 20\.0 MB") as caught:
        get(site, tmp_path)
    assert f"{site.url}/{META}" in str(caught.value)
    assert sent < 60_000_000
    assert not list((tmp_path / ".download").iterdir()), "nothing of another file is gone on from"


@pytest.mark.parametrize("where", ["in the content", "in the headers"])
def test_download_gives_up_a_server_that_sends_next_to_nothing_and_keeps_what_arrived(
    site: Site, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, where: str
) -> None:
    monkeypatch.setattr(download, "SLOW_S", 0.3)
    ended = threading.Event()

    def drop_by_drop(handler: Handler) -> None:
        content, start = site.files[TRAIN], 0
        if handler.headers["Range"]:
            start = int(handler.headers["Range"].removeprefix("bytes=").removesuffix("-"))
        head = f"HTTP/1.0 206 Partial Content\r\nContent-Length: {len(content) - start}\r\n"
        head += f"Content-Range: bytes {start}-{len(content) - 1}/{len(content)}\r\n\r\n"
        at_once = 200_000 if start == 0 and where == "in the content" else 0
        slowly = content[start + at_once :] if where == "in the content" else head.encode()
        if where == "in the content":
            handler.wfile.write(head.encode() + content[start : start + at_once])
        for byte in slowly:
            if ended.wait(0.02):
                return
            handler.wfile.write(bytes([byte]))

    site.odd[TRAIN] = drop_by_drop
    try:
        with pytest.raises(AudiotagError, match=r"fewer than .* in 0\.3 s") as caught:
            get(site, tmp_path)
    finally:
        ended.set()
    assert f"{site.url}/{TRAIN}" in str(caught.value)
    if where == "in the content":
        kept = (tmp_path / ".download" / f"{TRAIN}.part").stat().st_size
        assert 150_000 < kept < 210_000
        assert f"{kept} bytes are kept; the same command goes on from there" in str(caught.value)
    site.odd.clear()
    site.log.clear()
    monkeypatch.undo()
    get(site, tmp_path)
    assert whole(tmp_path)
    if where == "in the content":
        assert site.gets(TRAIN)[0].range == f"bytes={kept}-"


def test_download_names_an_answer_to_a_range_that_says_no_place(site: Site, tmp_path: Path) -> None:
    part = tmp_path / ".download" / f"{TRAIN}.part"
    part.parent.mkdir()
    part.write_bytes(site.files[TRAIN][:1000])

    def no_place(handler: Handler) -> None:
        handler.send_response(206)
        handler.send_header("Content-Range", "bytes some-more/all")
        handler.end_headers()

    site.odd[TRAIN] = no_place
    with pytest.raises(AudiotagError, match="Content-Range: bytes some-more/all") as caught:
        get(site, tmp_path)
    assert str(part) in str(caught.value)
    assert part.stat().st_size == 1000

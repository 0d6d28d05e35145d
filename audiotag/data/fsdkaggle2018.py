"""FSDKaggle2018 (Fonseca et al. 2018): fetched from Zenodo, or found where somebody has put it."""

from __future__ import annotations

import errno
import os
import re
import shutil
import time
import zipfile
import zlib
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from urllib.parse import urlsplit

import pandas as pd
import pooch
import requests
from rich.console import Console
from rich.progress import (
    BarColumn,
    DownloadColumn,
    Progress,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
    TransferSpeedColumn,
)

from audiotag.errors import AudiotagError
from audiotag.files import FileLock

RECORD_PAGE = "https://zenodo.org/records/2552860"
ZENODO_URL = f"{RECORD_PAGE}/files"
META, TEST, TRAIN, DOC = (f"FSDKaggle2018.{part}" for part in ("meta", "audio_test", "audio_train", "doc"))
# The record's checksums as another project that reads it lists them: embeddings-benchmark/mteb,
# scripts/data/fsdkaggle2018/create_data.py, commit 27f1337.
REGISTRY = {
    f"{META}.zip": "md5:f16828ac8be0e5285b9175a12f90d784",
    f"{TEST}.zip": "md5:f85c8665c3fc39311ea1b748e194a81d",
    f"{TRAIN}.zip": "md5:a8b47ff4b52022c178f88fa5c6f080d0",
    f"{DOC}.zip": "md5:4f2d1ac88f33a62f9db3108b269ee1b7",
}

# Where each part may lie: Zenodo's layout first, then Kaggle's.
PLACES = {
    "training table": (f"{META}/train_post_competition.csv", "train_post_competition.csv", "train.csv"),
    "test table": (
        f"{META}/test_post_competition_scoring_clips.csv",
        f"{META}/test_post_competition.csv",
        "test_post_competition_scoring_clips.csv",
        "test_post_competition.csv",
    ),
    "training clips": (TRAIN, "audio_train"),
    "test clips": (TEST, "audio_test"),
}

CHUNK_BYTES = 1 << 16
TIMEOUT_S = (10, 60)  # to connect; between two packets
BROKEN_CONNECTION = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
ATTEMPTS = 3  # in a row without a single new byte
# Room asked for before a download: the archive, and its WAV files, which zip makes smaller by a quarter to a third.
ROOM_PER_ARCHIVE_BYTE = 2.5


def tables(root: Path) -> tuple[Path, Path, Path, Path]:
    """Return (training table, test table, training clips' folder, test clips' folder), in Zenodo's or Kaggle's layout.

    Raises AudiotagError naming what is missing and where it was looked for.
    """
    found = _find(root)
    missing = [f"{part} ({' or '.join(PLACES[part])})" for part, path in found.items() if path is None]
    if missing:
        raise AudiotagError(f"{root} does not hold FSDKaggle2018: no {', no '.join(missing)}.")
    train, test, train_clips, test_clips = (path for path in found.values() if path is not None)
    return train, test, train_clips, test_clips


def table_files(root: Path) -> tuple[Path | None, Path | None]:
    """Return the training and the test table, in Zenodo's or Kaggle's layout; None for what is not there."""
    found = _find(root)
    return found["training table"], found["test table"]


def is_present(root: Path) -> bool:
    """Say whether nothing has to be fetched: both tables are there, and every clip they name.

    Raises AudiotagError where a table cannot be read.
    """
    return not _wanted(root)


def fetch(
    root: Path,
    base_url: str = ZENODO_URL,
    registry: Mapping[str, str] | None = None,
    *,
    keep_archives: bool = False,
    doc: bool = False,
    progress: bool = True,
    console: Console | None = None,
    pause_s: float = 1.0,
) -> Path:
    """Bring what is missing of FSDKaggle2018 to `root`, in Zenodo's layout, and return `root`.

    Whatever ends the process, the next call goes on where this one stopped: half a download is continued, extracted
    files are not extracted again. Archives that somebody has put into `root` by hand are checked, used, and left there;
    downloaded ones are removed once extracted, unless `keep_archives`. `doc` asks for the documentation as well.
    `registry` replaces checksums ("md5:..." or "sha256:...") by archive name; `pause_s` is the wait in seconds before
    the first new attempt after a failure.

    Raises AudiotagError where the network, the server, the disk, a checksum or an archive fails, with what to do.
    """
    console = console or Console(stderr=True, emoji=False)
    job = _Fetch(
        root, base_url.rstrip("/"), {**REGISTRY, **(registry or {})}, keep_archives, progress, console, pause_s
    )
    try:
        if not _wanted(root, doc):
            return root
        root.mkdir(parents=True, exist_ok=True)
        with FileLock(root / ".fetch.lock"):  # a second process waits here, then finds nothing to do
            job.run(doc)
    except OSError as error:
        full = " Make room and run it again: what has arrived is kept." if error.errno == errno.ENOSPC else ""
        raise AudiotagError(f"FSDKaggle2018 could not be written to {root}: {error}.{full}") from error
    return root


# ---- what is there, what is wanted


def _find(root: Path) -> dict[str, Path | None]:
    return {
        part: next((root / place for place in places if (root / place).exists()), None)
        for part, places in PLACES.items()
    }


def _absent(table: Path, folder: Path | None) -> set[str]:
    """Name the clips of a table that its folder lacks; clips nobody scores (usage Ignored) are not asked for."""
    rows = pd.read_csv(table, dtype=str, keep_default_na=False)
    if "fname" not in rows:
        raise AudiotagError(f"{table} has no column fname: it is not a table of FSDKaggle2018.")
    if "usage" in rows:
        rows = rows[rows["usage"] != "Ignored"]
    return set(rows["fname"]) - set(os.listdir(folder) if folder else ())


def _wanted(root: Path, doc: bool = False) -> list[str]:
    """Name the parts still needed, small ones first. Without a table, a folder that exists counts as whole for now."""
    train, test, train_clips, test_clips = _find(root).values()
    needed = {
        META: train is None or test is None,
        TEST: bool(_absent(test, test_clips)) if test else test_clips is None,
        TRAIN: bool(_absent(train, train_clips)) if train else train_clips is None,
        DOC: doc and not (root / DOC).exists(),
    }
    return [part for part, is_needed in needed.items() if is_needed]


# ---- fetching


@dataclass(frozen=True)
class _Fetch:
    """One call of `fetch`, with the lock held. Everything unfinished lives in `root`/.download."""

    root: Path
    base_url: str
    registry: dict[str, str]
    keep_archives: bool
    progress: bool
    console: Console
    pause_s: float

    @property
    def staging(self) -> Path:
        return self.root / ".download"

    def run(self, doc: bool) -> None:
        self.staging.mkdir(exist_ok=True)
        for orphan in self.staging.glob("tmp*"):  # pooch's temporary name for a file, left by a killed process
            orphan.unlink()
        self._check_room(_wanted(self.root, doc))
        while wanted := _wanted(self.root, doc):
            part = wanted[0]
            archive = self._archive(f"{part}.zip")
            self._extract(archive, part)
            if part in _wanted(self.root, doc):
                raise AudiotagError(
                    f"{archive} was extracted, yet files that the tables name are missing in {self.root}."
                )
            if archive.parent == self.staging:
                if self.keep_archives:
                    archive.replace(self.root / archive.name)
                else:
                    archive.unlink()
        shutil.rmtree(self.staging)

    def _bar(self) -> Progress:
        columns = (TextColumn("{task.description}"), BarColumn(), DownloadColumn(), TransferSpeedColumn())
        return Progress(*columns, TimeRemainingColumn(), console=self.console, disable=not self.progress)

    def _check_room(self, parts: list[str]) -> None:
        """Compare the free space with what the archives need, as far as the server tells their sizes."""
        needed = 0.0
        for name in (f"{part}.zip" for part in parts):
            if (self.root / name).exists() or (self.staging / name).exists():
                continue  # only its extraction is left, and that knows the exact size
            size = _size_on_server(f"{self.base_url}/{name}")
            if size is None:
                break  # either untold, or the server is out of reach: then the download says so, with advice
            needed += ROOM_PER_ARCHIVE_BYTE * size - _size(self.staging / f"{name}.part")
        self._require(needed, "to be downloaded and extracted")

    def _require(self, needed: float, purpose: str) -> None:
        free = shutil.disk_usage(self.root).free
        if needed > free:
            raise AudiotagError(
                f"FSDKaggle2018 needs {needed / 1e9:.1f} GB {purpose}, and {self.root} has {free / 1e9:.1f} GB free. "
                "Make room, or choose a folder on another disk."
            )

    def _archive(self, name: str) -> Path:
        """Return a whole, checked archive: the one in `root` if somebody put it there, else downloaded."""
        known_hash = self.registry[name]
        by_hand = self.root / name
        if by_hand.exists():
            kind, _, expected = known_hash.rpartition(":")
            if (got := pooch.file_hash(str(by_hand), alg=kind or "sha256")) != expected:
                raise AudiotagError(
                    f"{by_hand} is not the published file: its {kind} is {got}, not {expected}. Remove it to have it "
                    f"downloaded, or get it again from {RECORD_PAGE}."
                )
            return by_hand
        part = self.staging / f"{name}.part"
        url = f"{self.base_url}/{name}"
        downloader = ResumingDownloader(part, self._bar(), self.root, self.pause_s)
        try:
            pooch.retrieve(url, known_hash, fname=name, path=self.staging, downloader=downloader)
        except ValueError as error:  # how pooch reports a wrong checksum
            part.unlink(missing_ok=True)
            raise AudiotagError(
                f"{url} arrived with a wrong checksum, and was deleted. Run it again; if that does not help, the "
                f"server has another file than the one of {RECORD_PAGE}. {error}"
            ) from error
        part.unlink(missing_ok=True)
        return self.staging / name

    def _extract(self, archive: Path, part: str) -> None:
        """Extract beside the final place, each file whole or not at all, skip what is there, then move it in."""
        beside = self.staging / part
        beside.mkdir(exist_ok=True)
        try:
            with zipfile.ZipFile(archive) as zipped, self._bar() as bar:
                members = {path: info for info in zipped.infolist() if (path := _inside(info, part, archive))}
                missing = {path: info for path, info in members.items() if _size(beside / path) != info.file_size}
                self._require(sum(info.file_size for info in missing.values()), f"to extract {archive.name}")
                whole = sum(info.file_size for info in members.values())
                left = sum(info.file_size for info in missing.values())
                task = bar.add_task(f"extract {archive.name}", total=whole, completed=whole - left)
                for path, info in missing.items():
                    half = beside / ".half"
                    with zipped.open(info) as source, open(half, "wb") as sink:
                        shutil.copyfileobj(source, sink, CHUNK_BYTES)  # reading to the end checks the CRC
                    (beside / path).parent.mkdir(parents=True, exist_ok=True)
                    half.replace(beside / path)
                    bar.advance(task, info.file_size)
        except (zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError) as error:
            raise AudiotagError(
                f"{archive} is not a whole zip archive ({error}). Remove it and run it again."
            ) from error
        _move_into(beside, self.root / part)


def _inside(info: zipfile.ZipInfo, part: str, archive: Path) -> PurePosixPath | None:
    """Return a member's path under its part's folder; None for folders and for what file managers add."""
    path = PurePosixPath(info.filename)
    if path.is_absolute() or ".." in path.parts:
        raise AudiotagError(f"{archive} holds a file that points out of its folder: {info.filename}. Do not use it.")
    if info.is_dir() or path.parts[0] == "__MACOSX" or path.name.startswith("."):
        return None
    return PurePosixPath(*path.parts[1:]) if path.parts[0] == part else path


def _move_into(source: Path, target: Path) -> None:
    if not target.exists():
        source.replace(target)
        return
    for path in [path for path in source.rglob("*") if path.is_file()]:  # the folder is there, files of it were not
        (target / path.relative_to(source)).parent.mkdir(parents=True, exist_ok=True)
        path.replace(target / path.relative_to(source))
    shutil.rmtree(source)


# ---- downloading


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0


def _size_on_server(url: str) -> int | None:
    """Return the size of a file in bytes, or None where the server does not tell it."""
    try:
        answer = requests.head(url, allow_redirects=True, timeout=TIMEOUT_S, headers={"Accept-Encoding": "identity"})
    except requests.RequestException:
        return None
    length = answer.headers.get("Content-Length", "") if answer.ok else ""
    return int(length) if length.isdigit() else None


class _BrokenOffError(Exception):
    """A download ended early, or the server asks to come back later: worth another attempt."""


@dataclass(frozen=True)
class ResumingDownloader:
    """A downloader for pooch that keeps what has arrived in `part` and asks the server for the rest only.

    Raises AudiotagError where the server cannot be reached, refuses, or sends nothing new `ATTEMPTS` times in a row.
    """

    part: Path
    bar: Progress
    root: Path
    pause_s: float

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download `url` to `output_file`, as pooch calls it."""
        failures, most = 0, _size(self.part)
        with self.bar:
            task = self.bar.add_task(self.part.stem, total=None)
            while True:
                try:
                    self._receive(url, task)
                    break
                except (_BrokenOffError, *BROKEN_CONNECTION) as error:
                    failures = 1 if _size(self.part) > most else failures + 1
                    most = max(most, _size(self.part))
                    if failures == ATTEMPTS:
                        raise self._give_up(url, error) from error
                except requests.RequestException as error:
                    raise self._give_up(url, error) from error
                time.sleep(self.pause_s * 2 ** (failures - 1))
        os.unlink(output_file)
        try:
            # Two names for one file: pooch deletes its own if it is interrupted while it checks, ours stays.
            os.link(self.part, output_file)
        except OSError:  # a file system without hard links
            self.part.replace(output_file)

    def _receive(self, url: str, task: TaskID) -> None:
        """Ask for the bytes from the end of `part` on, and append them."""
        have = _size(self.part)
        headers = {"Accept-Encoding": "identity"} | ({"Range": f"bytes={have}-"} if have else {})
        with requests.get(url, headers=headers, stream=True, timeout=TIMEOUT_S) as answer:
            told = re.fullmatch(r"bytes (?:(\d+)-\d+|\*)/(\d+|\*)", answer.headers.get("Content-Range", ""))
            if answer.status_code == requests.codes.requested_range_not_satisfiable:
                if told is None or told[2] != str(have):  # longer than the file: not the same one
                    self.part.unlink()
                    raise _BrokenOffError("what was kept of it is longer than the file")
                return  # all of it was there
            if answer.status_code == 429 or answer.status_code >= 500:
                raise _BrokenOffError(f"the server answered {answer.status_code} {answer.reason}")
            answer.raise_for_status()
            # A server that knows no ranges answers 200 and sends it all: then from the start.
            start = int(told[1]) if answer.status_code == 206 and told and told[1] else 0
            if start > have:
                raise _BrokenOffError(f"the server sent bytes from {start}, asked for from {have}")
            length = int(answer.headers.get("Content-Length", -1))
            whole = start + length if length >= 0 else None
            self.bar.reset(task, total=whole, completed=start)
            with open(self.part, "r+b" if have else "wb") as sink:
                sink.seek(start)
                sink.truncate()
                for chunk in answer.iter_content(CHUNK_BYTES):
                    sink.write(chunk)
                    self.bar.advance(task, len(chunk))
            if whole is not None and _size(self.part) < whole:
                raise _BrokenOffError(f"the connection ended after {_size(self.part)} of {whole} bytes")

    def _give_up(self, url: str, error: Exception) -> AudiotagError:
        why = str(error)
        if isinstance(error, BROKEN_CONNECTION):  # what lies under the library's own wrapping
            cause = error.args[0] if error.args else error
            why = f"the connection to {urlsplit(url).netloc} failed: {getattr(cause, 'reason', cause)}"
        kept = f" {_size(self.part)} bytes are kept; the same command goes on from there." if _size(self.part) else ""
        return AudiotagError(
            f"{url} could not be downloaded: {why}.{kept} Without a network: get the zip files from {RECORD_PAGE} and "
            f"put them into {self.root}, then run it again."
        )

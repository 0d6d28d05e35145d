"""Downloading one large file: gone on from where it stopped, bounded in its size and in how slowly it may come."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Generator
from dataclasses import dataclass
from pathlib import Path
from queue import Empty, Full, Queue
from threading import Event, Thread
from typing import Any
from urllib.parse import urlsplit

import requests
from rich.filesize import decimal
from rich.progress import Progress, TaskID

from audiotag.errors import AudiotagError

CHUNK_BYTES = 1 << 14
TIMEOUT_S = (10, 60)  # to connect; between two packets
SLOW_S, SLOW_BYTES = 60.0, 600_000  # fewer bytes in that time spent waiting are as good as none
BROKEN_CONNECTION = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
ATTEMPTS = 3  # in a row without a single new byte, or too slow
NUMBER = r"[0-9]{1,18}"  # what int() takes of a header


class _BrokenOffError(Exception):
    """A download ended early, or the server asks to come back later: worth another attempt."""


class _SlowError(_BrokenOffError):
    """A server sends next to nothing, however it does that."""


class _UnusableError(Exception):
    """What a server answers makes no sense, or is another file: no attempt will change that."""


@dataclass(frozen=True)
class ResumingDownloader:
    """A downloader for pooch that keeps what has arrived in `part` and asks the server for the rest only.

    Raises AudiotagError where the server cannot be reached, refuses, sends nothing new or too slowly `ATTEMPTS` times
    in a row, or more than `most_bytes`. `otherwise` says what to do without it.
    """

    part: Path
    bar: Progress
    most_bytes: int
    pause_s: float
    otherwise: str

    def __call__(self, url: str, output_file: str, pooch: object) -> None:
        """Download `url` to `output_file`, as pooch calls it."""
        failures, most = 0, size(self.part)
        with self.bar:
            task = self.bar.add_task(self.part.stem, total=None)
            while True:
                try:
                    self._receive(url, task)
                    break
                except (_BrokenOffError, *BROKEN_CONNECTION) as error:
                    enough = SLOW_BYTES if isinstance(error, _SlowError) else 0
                    failures = 1 if size(self.part) - most > enough else failures + 1
                    most = max(most, size(self.part))
                    if failures == ATTEMPTS:
                        raise self._give_up(url, error) from error
                # What requests makes nothing of in a redirect, such as http://[, is a ValueError of Python's own.
                except (_UnusableError, requests.RequestException, ValueError) as error:
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
        have = size(self.part)
        with contextlib.closing(_transfer("GET", url, {"Range": f"bytes={have}-"} if have else {})) as transfer:
            answer = next(transfer)
            assert isinstance(answer, requests.Response)  # it comes first
            start = self._start(answer, have)
            if start is None:
                return  # all of it was there
            length = _length(answer)
            whole = None if length is None else start + length
            if whole is not None and whole > self.most_bytes:
                raise _UnusableError(f"it has {decimal(whole)}, more than the {self._most} that it can have")
            self.bar.reset(task, total=whole, completed=start)
            with open(self.part, "r+b" if have else "wb") as sink:
                sink.seek(start)
                sink.truncate()
                for chunk in transfer:
                    assert isinstance(chunk, bytes)  # nothing else follows
                    sink.write(chunk)
                    self.bar.advance(task, len(chunk))
                    if sink.tell() > self.most_bytes:
                        self.part.unlink()
                        raise _UnusableError(f"it is longer than {self._most}, which it cannot be")
        if whole is not None and size(self.part) < whole:
            raise _BrokenOffError(f"the connection ended after {size(self.part)} of {whole} bytes")

    @property
    def _most(self) -> str:
        return decimal(self.most_bytes)

    def _start(self, answer: requests.Response, have: int) -> int | None:
        """Return where in the file an answer begins, None where nothing is left to be sent."""
        header = answer.headers.get("Content-Range", "")
        told = re.fullmatch(rf"bytes (?:({NUMBER})-{NUMBER}|\*)/({NUMBER}|\*)", header)
        status = answer.status_code
        if status == requests.codes.requested_range_not_satisfiable:
            if told is None or told[2] != str(have):  # longer than the file: not the same one
                self.part.unlink(missing_ok=True)
                raise _BrokenOffError("what was kept of it is longer than the file")
            return None
        if status == 429 or status >= 500:
            raise _BrokenOffError(f"the server answered {status} {answer.reason}")
        answer.raise_for_status()
        if status == 206:
            if told is None or told[1] is None:
                raise _UnusableError(
                    f"the server answered with Content-Range: {header[:80]}, which cannot be used; delete {self.part} "
                    "to have the file sent whole"
                )
            if int(told[1]) > have:
                raise _BrokenOffError(f"the server sent bytes from {told[1]}, asked for from {have}")
            return int(told[1])
        if status != 200:
            raise _UnusableError(f"the server answered {status} {answer.reason}, without the file or another place")
        return 0  # a server that knows no ranges sends it all

    def _give_up(self, url: str, error: Exception) -> AudiotagError:
        why = str(error)
        if isinstance(error, BROKEN_CONNECTION):  # what lies under the library's own wrapping
            cause = error.args[0] if error.args else error
            why = f"the connection to {urlsplit(url).netloc} failed: {getattr(cause, 'reason', cause)}"
        kept = f" {size(self.part)} bytes are kept; the same command goes on from there." if size(self.part) else ""
        return AudiotagError(f"{url} could not be downloaded: {why}.{kept} {self.otherwise}")


def size(path: Path) -> int:
    """Return the size of a file in bytes, 0 where there is none."""
    return path.stat().st_size if path.exists() else 0


def size_on_server(url: str) -> int | None:
    """Return the size of a file in bytes, or None where the server does not tell it."""
    with contextlib.closing(_transfer("HEAD", url, {})) as transfer:
        try:
            answer = next(transfer)
        except (requests.RequestException, _SlowError, ValueError):
            return None
    assert isinstance(answer, requests.Response)
    return _length(answer) if answer.ok else None


def _length(answer: requests.Response) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if re.fullmatch(NUMBER, length) else None


def _transfer(method: str, url: str, headers: dict[str, str]) -> Generator[requests.Response | bytes, None, None]:
    """Yield a server's answer as soon as its headers are there, then what it sends.

    Read by a thread: a server that sends its headers or content byte by byte would hold up this one, for each of them
    comes in time. Raises what requests raises, and _SlowError.
    """
    arrived: Queue[requests.Response | bytes | Exception | None] = Queue(maxsize=64)
    given_up = Event()
    Thread(target=_read, args=(method, url, headers, arrived, given_up), daemon=True).start()
    waited_s, got = 0.0, 0
    try:
        while True:
            asked_s = time.monotonic()
            try:
                item = arrived.get(timeout=max(SLOW_S - waited_s, 0))
            except Empty:
                item = b""
            waited_s += time.monotonic() - asked_s  # time that the disk takes is not the server's
            if item is None:
                return
            if isinstance(item, Exception):
                raise item
            if item != b"":
                yield item
            got += len(item) if isinstance(item, bytes) else 0
            if waited_s >= SLOW_S:
                if got < SLOW_BYTES:
                    least = decimal(SLOW_BYTES)
                    raise _SlowError(f"the server sent fewer than {least} in {SLOW_S:g} s ({got} bytes)")
                waited_s, got = 0.0, 0
    finally:
        given_up.set()


def _read(
    method: str,
    url: str,
    headers: dict[str, str],
    arrived: Queue[requests.Response | bytes | Exception | None],
    given_up: Event,
) -> None:
    """Put into a queue an answer, its content, and None or the error it ended with, until nobody wants it any more."""

    def is_put(item: requests.Response | bytes | Exception | None) -> bool:
        while not given_up.is_set():
            with contextlib.suppress(Full):
                arrived.put(item, timeout=0.2)
                return True
        return False

    headers = {"Accept-Encoding": "identity", **headers}
    more: dict[str, Any] = {"timeout": TIMEOUT_S, "allow_redirects": True, "stream": True}
    try:
        with requests.request(method, url, headers=headers, **more) as answer:
            if not is_put(answer):
                return
            for chunk in answer.iter_content(CHUNK_BYTES):
                if not is_put(chunk):
                    return
        is_put(None)
    except Exception as error:  # noqa: BLE001 - raised where it is waited for
        is_put(error)

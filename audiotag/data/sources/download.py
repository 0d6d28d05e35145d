"""Downloading one large file: gone on from where it stopped, bounded in its size and in how slowly it may come."""

from __future__ import annotations

import contextlib
import os
import re
import time
from collections.abc import Callable
from concurrent.futures import Future
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from threading import Lock, Thread
from typing import TypeVar
from urllib.parse import urlsplit

import requests
from rich.filesize import decimal
from rich.progress import Progress, TaskID

from audiotag.errors import AudiotagError

CHUNK_BYTES = 1 << 14
TIMEOUT_S = (10, 60)  # to connect; between two packets
SLOW_S, SLOW_BYTES = 60.0, 600_000  # fewer bytes in that time are as good as none
BROKEN_CONNECTION = (requests.ConnectionError, requests.Timeout, requests.exceptions.ChunkedEncodingError)
ATTEMPTS = 3  # in a row without a single new byte, or too slow
NUMBER = r"[0-9]{1,18}"  # what int() takes of a header

Result = TypeVar("Result")


class _BrokenOffError(Exception):
    """A download ended early, or the server asks to come back later: worth another attempt."""


class _SlowError(_BrokenOffError):
    """A server sends next to nothing, however it does that."""


class _UnusableError(Exception):
    """What a server answers makes no sense, or is another file: no attempt will change that."""


class _Receiver:
    """Counts what a thread receives; `with` it, the thread writes, and ends there if nobody wants that any more."""

    def __init__(self) -> None:
        self.bytes, self.is_wanted, self._lock = 0, True, Lock()

    def __enter__(self) -> None:
        self._lock.acquire()
        if not self.is_wanted:
            self._lock.release()
            raise SystemExit

    def __exit__(self, *error: object) -> None:
        self._lock.release()

    def run(self, work: Callable[[], Result]) -> Result:
        """Return work(), done by a thread; raises what it raises, and _SlowError if it receives next to nothing.

        A server that sends its headers or content byte by byte would hold up the caller: each of them comes in time.
        """
        future: Future[Result] = Future()

        def do() -> None:
            try:
                future.set_result(work())
            except Exception as error:  # noqa: BLE001 - raised where it is waited for
                future.set_exception(error)

        Thread(target=do, daemon=True).start()
        before = 0
        while True:
            with contextlib.suppress(TimeoutError):
                return future.result(SLOW_S)
            if future.done():
                return future.result()  # a TimeoutError of its own
            if self.bytes - before < SLOW_BYTES:
                with self:
                    self.is_wanted = False
                least, got = decimal(SLOW_BYTES), self.bytes - before
                raise _SlowError(f"the server sent fewer than {least} in {SLOW_S:g} s ({got} bytes)")
            before = self.bytes


@dataclass(frozen=True)
class Download:
    """A downloader for pooch that keeps in `part` what has arrived, and asks the server for the rest only.

    Raises AudiotagError if the server cannot be reached, refuses, sends nothing new or too slowly `ATTEMPTS` times in a
    row, or more than `most_bytes`. `pause_s` is the wait before the second attempt, `otherwise` says what else to do.
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
                receiver = _Receiver()
                try:
                    receiver.run(partial(self._receive, url, task, receiver))
                    break
                except (_BrokenOffError, *BROKEN_CONNECTION) as error:
                    enough = SLOW_BYTES if isinstance(error, _SlowError) else 0
                    failures = 1 if size(self.part) - most > enough else failures + 1
                    most = max(most, size(self.part))
                    if failures == ATTEMPTS:
                        raise self._given_up(url, error) from error
                # What requests makes nothing of in a redirect, such as http://[, is a ValueError of Python's own.
                except (_UnusableError, requests.RequestException, ValueError) as error:
                    raise self._given_up(url, error) from error
                time.sleep(self.pause_s * 2 ** (failures - 1))
        os.unlink(output_file)
        try:
            # Two names for one file: pooch deletes its own if it is interrupted while it checks, ours stays.
            os.link(self.part, output_file)
        except OSError:  # a file system without hard links
            self.part.replace(output_file)

    def _given_up(self, url: str, error: Exception) -> AudiotagError:
        why = str(error)
        if isinstance(error, BROKEN_CONNECTION):  # what lies under the library's own wrapping
            cause = error.args[0] if error.args else error
            why = f"the connection to {urlsplit(url).netloc} failed: {getattr(cause, 'reason', cause)}"
        kept = f" {size(self.part)} bytes are kept; the same command goes on from there." if size(self.part) else ""
        return AudiotagError(f"{url} could not be downloaded: {why}.{kept} {self.otherwise}")

    def _receive(self, url: str, task: TaskID, receiver: _Receiver) -> None:
        """Ask for the bytes from the end of `part` on, and append them."""
        have, most = size(self.part), decimal(self.most_bytes)
        with _request("GET", url, {"Range": f"bytes={have}-"} if have else {}) as answer:
            start = self._start(answer, have)
            if start is None:
                return  # all of it was there
            length = _length(answer)
            whole = None if length is None else start + length
            if whole is not None and whole > self.most_bytes:
                raise _UnusableError(f"it has {decimal(whole)}, more than the {most} that it can have")
            self.bar.reset(task, total=whole, completed=start)
            with contextlib.ExitStack() as stack:
                with receiver:
                    sink = stack.enter_context(open(self.part, "r+b" if have else "wb", buffering=0))
                    sink.seek(start)
                    sink.truncate()
                for chunk in answer.iter_content(CHUNK_BYTES):
                    with receiver:
                        sink.write(chunk)
                        receiver.bytes += len(chunk)
                    self.bar.advance(task, len(chunk))
                    if sink.tell() > self.most_bytes:
                        self.part.unlink()
                        raise _UnusableError(f"it is longer than {most}, which it cannot be")
        if whole is not None and size(self.part) < whole:
            raise _BrokenOffError(f"the connection ended after {size(self.part)} of {whole} bytes")

    def _start(self, answer: requests.Response, have: int) -> int | None:
        """Return where in the file an answer begins, None if nothing is left to be sent."""
        header = answer.headers.get("Content-Range", "")
        place = re.fullmatch(rf"bytes (?:({NUMBER})-{NUMBER}|\*)/({NUMBER}|\*)", header)
        status = answer.status_code
        if status == requests.codes.requested_range_not_satisfiable:
            if place is None or place[2] != str(have):  # longer than the file: not the same one
                self.part.unlink(missing_ok=True)
                raise _BrokenOffError("what was kept of it is longer than the file")
            return None
        if status == 429 or status >= 500:
            raise _BrokenOffError(f"the server answered {status} {answer.reason}")
        answer.raise_for_status()
        if status == 206:
            if place is None or place[1] is None:
                raise _UnusableError(
                    f"the server answered with Content-Range: {header[:80]}, which cannot be used; delete {self.part} "
                    "to have the file sent whole"
                )
            if int(place[1]) > have:
                raise _BrokenOffError(f"the server sent bytes from {place[1]}, asked for from {have}")
            return int(place[1])
        if status != 200:
            raise _UnusableError(f"the server answered {status} {answer.reason}, without the file or another place")
        return 0  # a server that knows no ranges sends it all


def size(path: Path) -> int:
    """Return the size of a file in bytes, 0 if there is none."""
    return path.stat().st_size if path.exists() else 0


def size_on_server(url: str) -> int | None:
    """Return the size of a file in bytes, or None if the server does not tell it."""
    try:
        answer = _Receiver().run(lambda: _request("HEAD", url, {}))
    except (requests.RequestException, _SlowError, ValueError):
        return None
    return _length(answer) if answer.ok else None


def _length(answer: requests.Response) -> int | None:
    length = answer.headers.get("Content-Length", "")
    return int(length) if re.fullmatch(NUMBER, length) else None


def _request(method: str, url: str, headers: dict[str, str]) -> requests.Response:
    headers = {"Accept-Encoding": "identity", **headers}
    return requests.request(method, url, headers=headers, timeout=TIMEOUT_S, allow_redirects=True, stream=True)

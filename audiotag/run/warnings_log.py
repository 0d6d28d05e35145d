"""Warnings of the libraries below us go to a file of the run: kept, counted, and out of a person's way."""

from __future__ import annotations

import contextlib
import re
import time
import warnings
from collections.abc import Iterator
from pathlib import Path
from typing import TextIO

import audiotag
from audiotag.console import console

OURS = str(Path(audiotag.__file__).parent)
# What is to change in a later version. Where another library is the one to change its calls, its makers are meant.
TO_CHANGE = (DeprecationWarning, PendingDeprecationWarning, FutureWarning)
FOR_MAKERS = "between libraries: "
BEGINNING = re.compile(rf"^\d{{4}}-\d\d-\d\d \d\d:\d\d:\d\d (?!{FOR_MAKERS})", re.MULTILINE)


@contextlib.contextmanager
def warnings_to(path: Path) -> Iterator[None]:
    """Append warnings raised inside the block to `path`, and say at its end how many of them concern the run."""
    counted = 0

    def keep(
        message: Warning | str,
        category: type[Warning],
        filename: str,
        lineno: int,
        file: TextIO | None = None,
        line: str | None = None,
    ) -> None:
        nonlocal counted
        between = issubclass(category, TO_CHANGE) and not filename.startswith(OURS)
        counted += not between
        told = f"{FOR_MAKERS if between else ''}{filename}:{lineno}: {category.__name__}: {message}"
        with path.open("a", encoding="utf-8") as log:
            log.write(f"{time.strftime('%Y-%m-%d %H:%M:%S')} {told}\n")

    with warnings.catch_warnings():
        warnings.showwarning = keep
        yield
    if counted:
        console.print(f"{counted} warnings of libraries: {path}", style="dim", soft_wrap=True)


def warnings_kept(path: Path) -> int:
    """Return how many warnings that concern the run a file of them holds."""
    return len(BEGINNING.findall(path.read_text(encoding="utf-8"))) if path.is_file() else 0

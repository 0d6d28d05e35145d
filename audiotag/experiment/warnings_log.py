"""Warnings of the libraries below us go to a file of the run: kept, counted, and out of a person's way."""

from __future__ import annotations

import contextlib
import logging
from collections.abc import Iterator
from pathlib import Path

from audiotag.console import console


@contextlib.contextmanager
def warnings_to(path: Path) -> Iterator[None]:
    """Append warnings raised inside the block to `path`, and say how many there were at its end."""
    logger = logging.getLogger("py.warnings")
    handler = _Counting(path, delay=True, encoding="utf-8")
    handler.setFormatter(logging.Formatter("%(asctime)s %(message)s"))
    propagated = logger.propagate
    logger.addHandler(handler)
    logger.propagate = False
    logging.captureWarnings(True)
    try:
        yield
    finally:
        logging.captureWarnings(False)
        logger.propagate = propagated
        logger.removeHandler(handler)
        handler.close()
        if handler.count:
            console.print(f"{handler.count} warnings of libraries: {path}", style="dim", soft_wrap=True)


class _Counting(logging.FileHandler):
    count = 0

    def emit(self, record: logging.LogRecord) -> None:
        self.count += 1
        super().emit(record)

"""Reads what W&B writes without a network: records of its protocol in LevelDB's log format, in blocks of 32 KiB."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from wandb.proto import wandb_internal_pb2 as protocol

FILE_HEADER_BYTES, BLOCK_BYTES, HEADER = 7, 32768, struct.Struct("<IHB")
WHOLE, LAST = 1, 4  # kinds of pieces that end a record


def records(path: Path) -> Iterator[Any]:
    """Yield the records of a .wandb file."""
    data = path.read_bytes()
    assert data.startswith(b":W&B")
    at, record = FILE_HEADER_BYTES, b""
    while at + HEADER.size <= len(data):
        left = BLOCK_BYTES - at % BLOCK_BYTES
        if left < HEADER.size:  # what is too short for a header is filled up
            at += left
            continue
        _, length, kind = HEADER.unpack_from(data, at)
        piece = data[at + HEADER.size : at + HEADER.size + length]
        assert len(piece) == length, "the file breaks off"
        at, record = at + HEADER.size + length, record + piece
        if kind in (WHOLE, LAST):
            parsed = protocol.Record()
            parsed.ParseFromString(record)
            yield parsed
            record = b""


class OfflineRun:
    """One folder of a run that was kept offline."""

    def __init__(self, folder: Path) -> None:
        (file,) = folder.glob("run-*.wandb")
        found = [(record.WhichOneof("record_type"), record) for record in records(file)]
        self.folder = folder
        (self.run,) = (record.run for kind, record in found if kind == "run")
        self.exit_codes = [record.exit.exit_code for kind, record in found if kind == "exit"]
        self.artifacts = {r.artifact.name: r.artifact for kind, r in found if kind == "artifact"}
        self.rows = [
            {"/".join(i.nested_key) or i.key: json.loads(i.value_json) for i in record.history.item}
            for kind, record in found
            if kind == "history"
        ]
        self.config = {entry.key: json.loads(entry.value_json) for entry in self.run.config.update}

    def logged(self, key: str) -> Path:
        """Return the one file that was logged under a key, a table or an image."""
        (path,) = (row[f"{key}/path"] for row in self.rows if f"{key}/path" in row)
        return self.folder / "files" / str(path)


def offline_runs(run: Path) -> dict[str, list[OfflineRun]]:
    """Return a run folder's offline runs by the name shown, in the order in which they were begun."""
    found: dict[str, list[OfflineRun]] = {}
    for folder in sorted(run.glob("wandb/offline-run-*")):
        offline = OfflineRun(folder)
        found.setdefault(offline.run.display_name, []).append(offline)
    return found

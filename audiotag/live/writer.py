"""What is heard live, written down window by window: every line is whole, whatever ends the program."""

from __future__ import annotations

import csv
import errno
import io
import json
import os
from collections.abc import Sequence
from pathlib import Path

from audiotag.config import PredictConfig
from audiotag.evaluation.metrics import ranking
from audiotag.files import check_output, full_disk_reported
from audiotag.inference.window import Window

OWN = {".csv": "begin_s,end_s,dropped_s,label_1,probability_1", ".jsonl": '{"begin_s": '}


def live_output(config: PredictConfig, inputs: Sequence[Path]) -> Path | None:
    """Return the file that `out` names, if it does; raises AudiotagError if it cannot be written, or is another's."""
    if config.out is None:
        return None
    out = Path(config.out).expanduser().absolute()
    check_output(out, OWN[out.suffix.lower()], inputs=inputs)
    return out


class Writer:
    """Writes a line for each window: its times, seconds of sound dropped before it, and its `top` labels."""

    def __init__(self, path: Path, top: int) -> None:
        self._path, self._top = path, top
        self._is_csv = path.suffix.lower() == ".csv"
        with full_disk_reported(path):
            path.parent.mkdir(parents=True, exist_ok=True)
            # Unbuffered: a line is one write, so a killed program leaves no half of one behind.
            self._file = open(path, "wb", buffering=0)  # noqa: SIM115 - as long as this is
        if self._is_csv:
            names = [name for k in range(1, top + 1) for name in (f"label_{k}", f"probability_{k}")]
            self._write(",".join(["begin_s", "end_s", "dropped_s", *names]) + "\n")

    def add(self, windows: Sequence[Window], dropped_s: float) -> None:
        """Write windows; `dropped_s` counts what was dropped since the ones before."""
        for number, window in enumerate(windows):
            dropped = dropped_s if number == 0 else 0.0
            found = top_labels(window, self._top)
            if self._is_csv:
                cells = [f"{value:.6f}" for value in (window.begin_s, window.end_s, dropped)]
                cells += [text for label, p in found for text in (label, f"{p:.6f}")]
                line = io.StringIO()
                csv.writer(line, lineterminator="\n").writerow(cells)
                self._write(line.getvalue())
                continue
            row = {"begin_s": window.begin_s, "end_s": window.end_s, "dropped_s": dropped}
            labels = [{"label": label, "probability": round(p, 6)} for label, p in found]
            rounded = {name: round(value, 6) for name, value in row.items()}
            self._write(json.dumps({**rounded, "labels": labels}, ensure_ascii=False) + "\n")

    def close(self) -> None:
        """Have the file on the disk."""
        with full_disk_reported(self._path):
            os.fsync(self._file.fileno())
            self._file.close()

    def _write(self, line: str) -> None:
        data, before = line.encode(), self._file.tell()
        with full_disk_reported(self._path):
            if self._file.write(data) < len(data):
                self._file.truncate(before)
                raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))


def top_labels(window: Window, top: int) -> list[tuple[str, float]]:
    """Return the `top` most probable labels of a window, and their probabilities."""
    order = ranking(window.posteriors[None], top)[0]
    return [(window.classes[i], float(window.posteriors[i])) for i in order]

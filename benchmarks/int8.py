"""Two exported files, of the same run, beside each other: `python -m benchmarks.int8 NAME.onnx NAME-int8.onnx`.

Each labels the same noise, of SECONDS, from samples to posteriors, on one thread; the two in turn, in the processor's
time, as other programs may use the core too.
"""

from __future__ import annotations

import sys
import time
from pathlib import Path

import numpy as np
from rich.console import Console

from audiotag.inference.onnx_file import open_session, read_about
from benchmarks.timing import measure, report

SECONDS = 2.0
RUNS = 21


def main(files: list[Path]) -> None:
    """Time both, and print their sizes."""
    ways = {}
    for file in files:
        session = open_session(file, threads=1)
        about = read_about(file, session.get_modelmeta().custom_metadata_map)
        noise = np.random.default_rng(0).standard_normal((1, round(SECONDS * about.sample_rate_hz)))
        wave = (0.1 * noise).astype(np.float32)
        ways[file.name] = lambda session=session, wave=wave: session.run(["posteriors"], {"wave": wave})
        Console().print(f"{file.name}: {file.stat().st_size / 1e6:.2f} MB")
    report(f"{SECONDS:g} s of sound, one thread, processor's time", measure(ways, RUNS, time.process_time))


if __name__ == "__main__":
    main([Path(name) for name in sys.argv[1:]])

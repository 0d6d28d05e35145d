"""Times several ways of doing one thing, interleaved; prints medians, ranges and ratios, and writes them as JSON.

The tables of a script go to `build/benchmarks/SCRIPT.json`, with the processor that they were measured on.
"""

from __future__ import annotations

import os
import platform
import resource
import statistics
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from audiotag.files import write_json

FOLDER = Path("build/benchmarks")
Seconds = dict[str, list[float]]

_tables: list[dict[str, Any]] = []  # of this process, which is one script


def compare(title: str, ways: dict[str, Callable[[], object]], runs: int = 7) -> Seconds:
    """Time all ways as `measure` does, and `report` them against the first."""
    seconds = measure(ways, runs)
    report(title, seconds)
    return seconds


def measure(
    ways: dict[str, Callable[[], object]], runs: int = 7, clock: Callable[[], float] = time.perf_counter
) -> Seconds:
    """Run every way once to warm up, then `runs` times in turn; return the seconds of each by the clock."""
    for way in ways.values():
        way()
    seconds: Seconds = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            begun = clock()
            way()
            seconds[name].append(clock() - begun)
    return seconds


def report(title: str, seconds: Seconds) -> None:
    """Print seconds and the ratio of the first way's to them, run by run, and add them to the script's JSON."""
    first = seconds[next(iter(seconds))]
    table = Table("way", "median s", "range s", "speed against the first", title=f"{title}\n{processor()}")
    rows = []
    for name, taken in seconds.items():
        speeds = [a / b for a, b in zip(first, taken, strict=True)]
        table.add_row(
            name,
            f"{statistics.median(taken):.4f}",
            f"{min(taken):.4f} to {max(taken):.4f}",
            f"{statistics.median(speeds):.2f} ({min(speeds):.2f} to {max(speeds):.2f})",
        )
        rows.append({"way": name, "seconds": _spread(taken), "speed": _spread(speeds)})
    Console().print(table)
    _tables.append({"title": title, "runs": len(first), "ways": rows})
    FOLDER.mkdir(parents=True, exist_ok=True)
    write_json(FOLDER / f"{Path(sys.argv[0]).stem}.json", {"processor": processor(), "tables": _tables})


def processor_seconds() -> float:
    """Return the processor's time that this process and the ended ones that it started took, whatever else runs."""
    used = [resource.getrusage(whose) for whose in (resource.RUSAGE_SELF, resource.RUSAGE_CHILDREN)]
    return sum(usage.ru_utime + usage.ru_stime for usage in used)


def processor() -> str:
    """Return the processor's name, and how many cores this process may use."""
    info = Path("/proc/cpuinfo")
    lines = info.read_text(encoding="utf-8").splitlines() if info.is_file() else []
    names = [line.split(":", 1)[1].strip() for line in lines if line.startswith("model name")]
    return f"{names[0] if names else platform.machine()}, {len(os.sched_getaffinity(0))} cores"


def _spread(values: list[float]) -> dict[str, float]:
    return {"median": statistics.median(values), "lowest": min(values), "highest": max(values)}

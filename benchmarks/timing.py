"""Times several ways of doing one thing, interleaved, and prints medians, ranges and ratios to the first."""

from __future__ import annotations

import statistics
import time
from collections.abc import Callable

from rich.console import Console
from rich.table import Table


def compare(title: str, ways: dict[str, Callable[[], object]], runs: int = 7) -> None:
    """Run every way once to warm up, then `runs` times in turn; print seconds and the ratio to the first way."""
    for way in ways.values():
        way()
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for _ in range(runs):
        for name, way in ways.items():
            begun = time.perf_counter()
            way()
            seconds[name].append(time.perf_counter() - begun)
    first = seconds[next(iter(ways))]
    table = Table("way", "median s", "range s", "speed against the first", title=title)
    for name, taken in seconds.items():
        ratios = [a / b for a, b in zip(first, taken, strict=True)]
        table.add_row(
            name,
            f"{statistics.median(taken):.4f}",
            f"{min(taken):.4f} to {max(taken):.4f}",
            f"{statistics.median(ratios):.2f} ({min(ratios):.2f} to {max(ratios):.2f})",
        )
    Console().print(table)

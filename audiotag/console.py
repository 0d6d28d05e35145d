"""What a person sees while the program works."""

from __future__ import annotations

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

# Without markup: names of clips, labels, runs and folders may look like it. What is styled is a rich.text.Text.
console = Console(highlight=False, markup=False, emoji=False)


def progress(unit: str = "") -> Progress:
    """Return a progress bar with counts of `unit`, time spent and left; silent where the output is not a terminal."""
    return Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn(unit, markup=False),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

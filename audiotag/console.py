"""What a person sees while the program works."""

from __future__ import annotations

import os
import re
import sys
from pathlib import Path
from typing import Any

from rich import box
from rich.cells import cell_len
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn
from rich.table import Table
from rich.text import Text

CALLED = "AUDIOTAG_CALLED"  # the environment's: how the installed command was called, for the processes it starts too
INSTALLED = (Path(__file__).parent / "conf").is_dir()  # of a checkout, it stands beside the package
# As the package speaks of its commands: `python train.py`, `train.py`, `python -m audiotag.report`, `audiotag.report`.
PROGRAM = r"(?:python )?\b(?P<program>train|verify|predict)\.py\b"
MODULE = r"(?:python -m )?\baudiotag\.(?P<module>report|review|audit|export|compare|doctor|plan|show)\b"


def as_called(text: str) -> str:
    """Return a text with its commands as the user calls them: those of a checkout, or `audiotag train` and so on."""
    command = os.environ.get(CALLED, "audiotag" if INSTALLED else None)
    if command is None:
        return text
    text = re.sub(r"pip install -e '\.(\[\w+\])'", r"pip install 'audiotag\1'", text)
    return re.sub(f"{PROGRAM}|{MODULE}", lambda found: f"{command} {found['program'] or found['module']}", text)


class Screen(Console):
    """A console whose `soft_wrap` breaks lines between words at a terminal; a path or name longer than it stays whole.

    Rich itself would leave that to the terminal, which breaks words, or break names, which could not be copied then.
    """

    def print(self, *objects: Any, soft_wrap: bool | None = None, **options: Any) -> None:
        """Print as rich does."""
        if soft_wrap and self.is_terminal:
            # Highlighting and emojis are off in all of them.
            parts = [one if isinstance(one, Text) else self.render_str(str(one), emoji=False) for one in objects]
            objects = (_wrapped(Text(" ").join(parts), self.width),)
        super().print(*objects, soft_wrap=soft_wrap, **options)


def _wrapped(text: Text, width: int) -> Text:
    return Text("\n").join(piece for line in text.split("\n", allow_blank=True) for piece in _pieces(line, width))


def _pieces(line: Text, width: int) -> list[Text]:
    """Return a line in pieces that fit; those after the first are indented as it is, items of a list by two more."""
    begin = re.match(r" *(- )?", line.plain)
    indent = " " * (begin.end() if begin else 0)
    breaks: list[int] = []
    used = 0
    for word in re.finditer(r"\s*\S+", line.plain):
        more = cell_len(word.group())
        if used > len(indent) and used + more > width:
            breaks.append(word.start())
            used, more = len(indent), cell_len(word.group().lstrip())
        used += more
    first, *others = line.divide(breaks)
    return [first, *(Text(indent) + other[len(other.plain) - len(other.plain.lstrip()) :] for other in others)]


# Without markup: names of clips, labels, runs and folders may look like it. What is styled is a rich.text.Text.
console = Screen(highlight=False, markup=False, emoji=False)


def note(head: str, text: str) -> None:
    """Print what a person should notice, its first words in yellow."""
    console.print(Text(head, "yellow"), text, soft_wrap=True)


def print_columns(cells: dict[str, list[str]], left: tuple[str, ...] = ()) -> None:
    """Print columns that hold something, in as many tables as fit the screen, the first in each; `left` are of words.

    If the output is not a terminal, one table is wide enough.
    """
    screen = console if console.is_terminal else Console(width=max(console.width, 140), markup=False, emoji=False)
    (first, named), *others = ((head, values) for head, values in cells.items() if any(values))
    parts: list[dict[str, list[str]]] = [{first: named}]
    for head, values in others:
        widths = [_width(*column) + 2 for column in (*parts[-1].items(), (head, values))]
        if len(widths) > 2 and sum(widths) > screen.width:
            parts.append({first: named})
        parts[-1][head] = values
    for part in parts:
        table = Table(box=box.SIMPLE_HEAD, pad_edge=False, padding=(0, 1, 0, 0))
        for head, values in part.items():
            table.add_column(head, justify="left" if head in left else "right", min_width=_width(head, values))
        for row in zip(*part.values(), strict=True):
            table.add_row(*row)
        screen.print(table)


def _width(head: str, values: list[str]) -> int:
    """Return how wide a column must be that its figures stand in one line, and words of its head are whole."""
    return max(map(cell_len, [*head.split(), *values]))


class Bar(Progress):
    """A progress bar that `breakpoint()` ends: it would be drawn over the debugger's prompt."""

    def start(self) -> None:
        """Show it."""
        super().start()
        if not self.disable:
            sys.breakpointhook = self._debug

    def stop(self) -> None:
        """Show it no more."""
        sys.breakpointhook = sys.__breakpointhook__
        super().stop()

    def _debug(self) -> None:
        import pdb  # here: seldom needed

        self.stop()
        pdb.Pdb().set_trace(sys._getframe(1))


def progress(unit: str) -> Progress:
    """Return a progress bar with counts of `unit` (%: shares alone), time spent and left; silent beside a terminal."""
    counts = [MofNCompleteColumn(), TextColumn(unit, markup=False)]
    share = [TextColumn("{task.percentage:3.0f} %", markup=False)]
    return Bar(
        TextColumn("{task.description}", markup=False),
        BarColumn(bar_width=None if console.width < 120 else 40),
        *(share if unit == "%" else counts),
        TimeElapsedColumn(),
        TextColumn("left"),
        TimeRemainingColumn(),
        console=console,
        transient=True,
        disable=not console.is_terminal,
    )

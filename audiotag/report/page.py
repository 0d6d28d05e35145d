"""The page itself: parts with text, pictures and tables, put into one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
import io
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from matplotlib.figure import Figure

CSS_PER_INCH = 96
ENLARGED = 1.25  # on a wide screen, of a figure's own size
BESIDE_INCHES = 7.0
LEAST = 0.66  # of a figure's own size; a phone scrolls within what does not fit so


@dataclass(frozen=True)
class Table:
    """Numbers, on the page and as `report/NAME.csv`; `alone` is shown open, others fold away below their picture."""

    name: str
    title: str
    frame: pd.DataFrame
    alone: bool = False

    @property
    def columns(self) -> list[str]:
        """The header, for people."""
        return [str(name).replace("_", " ") for name in self.frame.columns]

    @property
    def numeric(self) -> list[bool]:
        """Which columns hold numbers."""
        return [pd.api.types.is_numeric_dtype(of) for of in self.frame.dtypes]

    @property
    def rows(self) -> list[list[str]]:
        """The cells as text."""
        return [[shown(value) for value in row] for row in self.frame.itertuples(index=False, name=None)]


@dataclass(frozen=True)
class Picture:
    """A figure as PNG, on the page and as `report/NAME.png`; `alt` says in words what it shows."""

    name: str
    alt: str
    png: bytes
    width_inches: float

    @property
    def data_uri(self) -> str:
        """The picture itself, to stand in the page."""
        return "data:image/png;base64," + base64.b64encode(self.png).decode()

    @property
    def most_px(self) -> int:
        """Widest it is shown."""
        return round(self.width_inches * CSS_PER_INCH * ENLARGED)

    @property
    def least_px(self) -> int:
        """Narrowest it is shown."""
        return round(self.width_inches * CSS_PER_INCH * LEAST)


@dataclass(frozen=True)
class Part:
    """A chapter: `text`, a paragraph each, beside its pictures; tables below."""

    key: str
    title: str
    text: list[str]
    pictures: list[Picture] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    @property
    def beside(self) -> bool:
        """Whether the pictures are narrow enough to stand beside the text."""
        return bool(self.pictures) and all(one.width_inches <= BESIDE_INCHES for one in self.pictures)


@dataclass(frozen=True)
class Contradiction:
    """A clip whose label the networks contradict; `silence` says why there is no player."""

    title: str
    facts: list[tuple[str, str]]
    picture: Picture | None = None
    sound: str | None = None
    note: str | None = None
    silence: str | None = None


def picture(name: str, figure: Figure, alt: str) -> Picture:
    """Render a figure."""
    file = io.BytesIO()
    figure.savefig(file, format="png")
    return Picture(name, alt, file.getvalue(), float(figure.get_figwidth()))


def shown(value: Any) -> str:
    """Write a cell as people read it: 4 digits, a dash where there is nothing."""
    if value is None or (isinstance(value, float) and pd.isna(value)):
        return "-"
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def render(**content: Any) -> str:
    """Return the page."""
    # Names of classes and files are other people's: everything is escaped.
    loader = jinja2.FileSystemLoader(Path(__file__).parent)
    environment = jinja2.Environment(
        loader=loader, autoescape=True, undefined=jinja2.StrictUndefined, trim_blocks=True, lstrip_blocks=True
    )
    return environment.get_template("report.html").render(**content) + "\n"

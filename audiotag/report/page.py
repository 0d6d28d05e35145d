"""The page itself: sections with text, charts and tables, put into one HTML file that asks for nothing else."""

from __future__ import annotations

import base64
import functools
import hashlib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import jinja2
import pandas as pd
from markupsafe import Markup
from matplotlib.figure import Figure

from audiotag.report.svg import inline, svg_file

CSS_PER_INCH = 96
BESIDE_INCHES = 7.0
COUNTS = re.compile(r"-|\d+ of \d+.*")


@dataclass(frozen=True)
class Table:
    """Numbers, on the page and as `report/NAME.csv`; `alone` is shown open, others fold away below their picture.

    The page shows floats with so many `decimals`, or all of `shown` in place of the file's numbers.
    """

    name: str
    title: str
    frame: pd.DataFrame
    decimals: int
    alone: bool = False
    shown: pd.DataFrame | None = None

    @property
    def _page(self) -> pd.DataFrame:
        return self.frame if self.shown is None else self.shown

    @property
    def columns(self) -> list[str]:
        """The header, for people."""
        return [str(name).replace("_", " ") for name in self._page.columns]

    @functools.cached_property  # asked about every cell
    def numeric(self) -> list[bool]:
        """Which columns hold numbers, or counts such as "3 of 4"."""
        return [
            pd.api.types.is_numeric_dtype(values) or all(COUNTS.fullmatch(str(value)) for value in values)
            for _, values in self._page.items()
        ]

    @property
    def rows(self) -> list[list[str]]:
        """The cells as text."""
        return [[self._text(value) for value in row] for row in self._page.itertuples(index=False, name=None)]

    def _text(self, value: Any) -> str:
        if value is None or (isinstance(value, float) and pd.isna(value)):
            return "-"
        return f"{value:.{self.decimals}f}" if isinstance(value, float) else str(value)


@dataclass(frozen=True)
class Chart:
    """A figure as SVG, on the page and as `report/NAME.svg`; `alt` says in words what it shows."""

    name: str
    alt: str
    svg: str
    width_inches: float

    @property
    def inline(self) -> Markup:
        """The picture itself, to stand in the page."""
        return Markup(inline(self.name, self.svg, self.alt))

    def width_px(self, scale: float) -> int:
        """Return how wide it is in the page, of its own size times `scale`."""
        return round(self.width_inches * CSS_PER_INCH * scale)


@dataclass(frozen=True)
class Section:
    """`text`, a paragraph each, beside its charts; tables below."""

    key: str
    title: str
    text: list[str]
    charts: list[Chart] = field(default_factory=list)
    tables: list[Table] = field(default_factory=list)

    @property
    def beside(self) -> bool:
        """Whether the charts are narrow enough to stand beside the text."""
        return bool(self.charts) and all(one.width_inches <= BESIDE_INCHES for one in self.charts)


def chart(name: str, figure: Figure, alt: str) -> Chart:
    """Render a figure."""
    return Chart(name, alt, svg_file(name, figure), float(figure.get_figwidth()))


def render(**content: Any) -> str:
    """Return the page."""
    here = Path(__file__).parent
    # Names of classes and files are other people's: everything is escaped.
    environment = jinja2.Environment(
        loader=jinja2.FileSystemLoader(here),
        autoescape=True,
        undefined=jinja2.StrictUndefined,
        trim_blocks=True,
        lstrip_blocks=True,
    )
    style, script = (Markup((here / name).read_text(encoding="utf-8")) for name in ("report.css", "report.js"))
    digest = base64.b64encode(hashlib.sha256(script.encode()).digest()).decode()  # the browser runs no other script
    template = environment.get_template("report.html")
    return template.render(style=style, script=script, script_digest=digest, **content) + "\n"

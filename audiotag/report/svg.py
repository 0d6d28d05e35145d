"""Figures as SVG: as a file for anybody, and inside a page, whose colours and fonts they then have."""

from __future__ import annotations

import io
import re
from xml.etree import ElementTree

import matplotlib
from matplotlib.figure import Figure

from audiotag.plots.figures import BLUE, GREEN, GREY, ORANGE

# What the page defines for light and dark (report.css). Other colours, those of cells in a matrix too, stay.
COLOURS = {
    "#000000": "currentColor",
    "#ffffff": "var(--page)",
    "#b0b0b0": "var(--grid)",
    BLUE.lower(): "var(--blue)",
    ORANGE.lower(): "var(--orange)",
    GREEN.lower(): "var(--green)",
    GREY.lower(): "var(--grey)",
    "#cccccc": "var(--pale)",
}
COLOUR = re.compile("|".join(COLOURS))
LONG_NUMBER = re.compile(r"-?\d+\.\d{3,}")
REFERENCE = re.compile(r"url\(#([^)]+)\)")
HREF = "{http://www.w3.org/1999/xlink}href"
LEFT_OUT = {"metadata", "style"}  # a style sheet in one figure would hold for the whole page


def svg_file(name: str, figure: Figure) -> str:
    """Return a figure as a file of its own: the same for the same figure; letters stay letters."""
    file = io.StringIO()
    with matplotlib.rc_context({"svg.fonttype": "none", "svg.hashsalt": name}):
        figure.savefig(file, format="svg", metadata={"Date": None})
    return file.getvalue()


def inline(name: str, svg: str, alt: str) -> str:
    """Return a figure's file as an element to stand in a page, read aloud as `alt`; ids begin with `name`."""
    root = ElementTree.fromstring(svg)
    used = {match for one in root.iter() for text in one.attrib.values() for match in REFERENCE.findall(text)}
    used |= {one.attrib[HREF][1:] for one in root.iter() if one.attrib.get(HREF, "").startswith("#")}
    for one in root.iter():
        for child in list(one):
            child.tail = None
            if _tag(child) in LEFT_OUT:
                one.remove(child)
        one.tag = _tag(one)  # within HTML the namespace is known
        one.text = one.text if one.tag == "text" else None
        one.attrib = {
            "href" if key == HREF else key: _value(key, text, name)
            for key, text in one.attrib.items()
            if key != "id" or text in used
        }
        if "fill" in one.attrib:  # of hatching: only a declaration can refer to the page's colours
            one.attrib["style"] = f"fill: {one.attrib.pop('fill')}"
    root.attrib = {"viewBox": root.attrib["viewBox"], "role": "img", "aria-label": alt}
    return ElementTree.tostring(root, encoding="unicode")


def _tag(element: ElementTree.Element) -> str:
    return element.tag.rpartition("}")[2]


def _value(key: str, text: str, name: str) -> str:
    """Return an attribute's value in the page's colours and font, its references by their ids in the page."""
    text = REFERENCE.sub(rf"url(#{name}-\1)", text)
    if key == "id":
        return f"{name}-{text}"
    if key == HREF:
        return f"#{name}-{text[1:]}" if text.startswith("#") else re.sub(r"\s", "", text)
    if key == "d":
        return LONG_NUMBER.sub(lambda number: f"{float(number[0]):.2f}", " ".join(text.split()))
    if key == "style":
        declarations = (one.strip() for one in text.split(";"))
        text = "; ".join(one for one in declarations if one and not one.startswith("font-family"))
    if key in ("style", "fill"):
        return COLOUR.sub(lambda colour: COLOURS[colour[0]], text)
    return text

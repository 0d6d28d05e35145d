"""A run's report: `report.html`, the figures and their numbers in `report/`, and `review.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from rich.text import Text

import audiotag
from audiotag.console import console
from audiotag.files import check_folder, csv_text, replacing, write_text
from audiotag.report import review
from audiotag.report.clips import cards, for_script, media, review_rows
from audiotag.report.data import PAGE, ReportData, read_report_data, state
from audiotag.report.page import Section, render
from audiotag.report.reproduce import command, program
from audiotag.report.rounding import counted, decimals, percent
from audiotag.report.sections import sections
from audiotag.report.verdict import other_rules_hint, steps, verdict
from audiotag.run.folder import RunFolder
from audiotag.run.summary import valid_map3

FOLDER = "report"
FIRST = 10  # clips that are shown without being asked for
SURE = 0.9  # a network that contradicts a checked label with more is called sure
LARGEST_BYTES = 20e6  # of a page; beyond it pictures and sounds of clips are files beside it


def write_report(folder: RunFolder, root: Path | None = None, largest_bytes: float = LARGEST_BYTES) -> Path:
    """Write the report of a run as far as it is complete and return the page; `root` is where the data set lies now.

    Raises RunError if there is nothing to report yet.
    """
    check_folder("run", folder.path / FOLDER, "the report is written into the run: set run= to a copy of it")
    data = read_report_data(folder)
    made = sections(data)
    rows = review_rows(data)
    kept = folder.path / review.FILE if rows is None else review.write_review(folder.path, rows)
    if kept.name != review.FILE:
        console.print(Text("kept:", "yellow"), f"decisions in {review.FILE}; the new ranking is {kept.name}")
    clips = [] if rows is None else cards(data, rows, root or Path(data.config.data.root or "."))
    sources, files = media(clips, largest_bytes - sum(len(one.svg) for section in made for one in section.charts))
    text = render(
        data=data,
        verdict=verdict(data, rows),
        hint=other_rules_hint(data),
        steps=steps(data, rows),
        key_figures=_key_figures(data),
        sections=made,
        unchecked=[clip for clip in clips if not clip.checked],
        checked=[clip for clip in clips if clip.checked],
        sure=0 if rows is None else int((rows["posterior_predicted"][rows["reason"] == review.CHECKED] > SURE).sum()),
        sources=sources,
        files="'self' file:" if files else "",
        first=FIRST,
        script_data=for_script(data, rows, kept) if rows is not None and clips else None,
        review=kept.name,
        moved=program("python -m audiotag.report", folder, root="DIR"),
        command=command(data.config),
        versions={"audiotag": audiotag.__version__, "PyTorch": torch.__version__},
        state=state(folder),
    )
    _write_files(folder.path / FOLDER, made, files)
    write_text(folder.path / PAGE, text)  # last: with it the report is complete
    console.print(f"Report: {folder.path / PAGE}", soft_wrap=True)
    return folder.path / PAGE


def _key_figures(data: ReportData) -> list[tuple[str, str]]:
    best, clips = data.of_best, data.checked
    if data.best is None:
        return []
    figures = [
        (
            "Validation accuracy",
            f"{percent(best['valid_accuracy'], clips)} ± {percent(best['valid_accuracy_std'], clips)}",
        ),
        ("Validation loss", f"{best['valid_loss']:.{decimals(clips)}f}"),
        ("Validation MAP@3", f"{valid_map3(data.folder, data.best):.{decimals(clips)}f}"),
        ("Labels accepted", f"{best['accepted']} of {best['considered']}"),
    ]
    if data.truth is not None and best["precision"] is not None:
        figures.append(("Accepted that are right", counted(*data.right_accepted(data.best))))
    return figures


def _write_files(folder: Path, written: list[Section], files: Mapping[str, bytes]) -> None:
    """Write charts, numbers and sounds as files, and remove those that only an earlier report had."""
    content = dict(files)
    for section in written:
        content |= {f"{chart.name}.svg": chart.svg.encode() for chart in section.charts}
        content |= {f"{table.name}.csv": csv_text(table.frame).encode() for table in section.tables}
    for name, value in content.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(value)
    for pattern in ("*.svg", "*.png", "*.csv", "clips/*.webp", "clips/*.mp3"):
        for file in set(folder.glob(pattern)) - {folder / name for name in content}:
            file.unlink()

"""A run's report: `report.html`, the figures and their numbers in `report/`, and `review.csv`."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

import torch
from rich.text import Text

import audiotag
from audiotag.console import console
from audiotag.files import check_folder, replacing, write_csv, write_text
from audiotag.report import parts, review
from audiotag.report.clips import cards, for_script, review_rows, sources
from audiotag.report.data import ReportData, read_report_data
from audiotag.report.finished import PAGE, state
from audiotag.report.page import Section, render
from audiotag.report.reproduce import command, program
from audiotag.report.rounding import counted, decimals, percent
from audiotag.report.verdict import few, steps, verdict
from audiotag.run.folder import RunFolder
from audiotag.run.naming import run_named

FOLDER = "report"
FIRST = 10  # clips that are shown without being asked for
SURE = 0.9  # a network that contradicts a checked label with more is told to be sure
LARGEST_BYTES = 20e6  # of a page; beyond it pictures and sounds of clips are files beside it
CHAPTERS = (parts.curves, parts.acceptance, parts.consensus, parts.calibration, parts.confusion, parts.per_class)


def write_report(folder: RunFolder, root: Path | None = None, largest_bytes: float = LARGEST_BYTES) -> Path:
    """Write the report of a run as far as it is complete and return the page; `root` is where the data set lies now.

    Raises RunError where there is nothing to report yet.
    """
    check_folder("run", folder.path / FOLDER, "the report is written into the run: set run= to a copy of it")
    facts = read_report_data(folder)
    chapters = [chapter(facts) for chapter in CHAPTERS]
    rows = review_rows(facts)
    kept = folder.path / review.FILE if rows is None else review.write_review(folder.path, rows)
    if kept.name != review.FILE:
        console.print(Text("kept:", "yellow"), f"decisions in {review.FILE}; the new ranking is {kept.name}")
    clips = [] if rows is None else cards(facts, rows, root or Path(facts.config.data.root or "."))
    places, files = sources(clips, largest_bytes - sum(len(one.svg) for part in chapters for one in part.pictures))
    text = render(
        facts=facts,
        verdict=verdict(facts, rows),
        few=few(facts),
        steps=steps(facts, rows),
        key_figures=_key_figures(facts),
        parts=chapters,
        unchecked=[clip for clip in clips if not clip.checked],
        checked=[clip for clip in clips if clip.checked],
        sure=0 if rows is None else int((rows["posterior_predicted"][rows["reason"] == review.CHECKED] > SURE).sum()),
        sources=places,
        files="'self' file:" if files else "",
        first=FIRST,
        script_data=for_script(facts, rows, kept) if rows is not None and clips else None,
        review=kept.name,
        moved=program("-m", "audiotag.report", run=run_named(folder.path), root="DIR"),
        command=command(facts.config),
        versions={"audiotag": audiotag.__version__, "PyTorch": torch.__version__},
        state=state(folder),
    )
    _write_files(folder.path / FOLDER, chapters, files)
    write_text(folder.path / PAGE, text)  # last: with it the report is complete
    console.print(f"Report: {folder.path / PAGE}", soft_wrap=True)
    return folder.path / PAGE


def _key_figures(facts: ReportData) -> list[tuple[str, str]]:
    best, clips = facts.of_best, facts.checked
    if not best:
        return []
    figures = [
        (
            "Validation accuracy",
            f"{percent(best['valid_accuracy'], clips)} ± {percent(best['valid_accuracy_std'], clips)}",
        ),
        ("Validation loss", f"{best['valid_loss']:.{decimals(clips)}f}"),
        ("Validation MAP@3", f"{facts.valid_map3:.{decimals(clips)}f}"),
        ("Labels accepted", f"{best['accepted']} of {best['considered']}"),
    ]
    if facts.truth is not None and best["precision"] is not None:
        figures.append(("Accepted that are right", counted(*facts.right_accepted(facts.best))))
    return figures


def _write_files(folder: Path, chapters: list[Section], files: Mapping[str, bytes]) -> None:
    """Write figures, numbers and sounds as files, and remove what only an earlier report had."""
    content = {f"{one.name}.svg": one.svg.encode() for part in chapters for one in part.pictures} | dict(files)
    for name, value in content.items():
        with replacing(folder / name) as temporary:
            temporary.write_bytes(value)
    tables = [table for part in chapters for table in part.tables]
    for table in tables:
        write_csv(folder / f"{table.name}.csv", table.frame)
    written = {folder / name for name in [*content, *(f"{table.name}.csv" for table in tables)]}
    for pattern in ("*.svg", "*.png", "*.csv", "clips/*.webp", "clips/*.mp3"):
        for file in set(folder.glob(pattern)) - written:
            file.unlink()

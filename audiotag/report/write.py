"""A run's report: `report.html`, the figures and their numbers in `report/`, and `review.csv`."""

from __future__ import annotations

from collections.abc import Hashable
from pathlib import Path
from typing import Any

import pandas as pd
import torch
from rich.text import Text

import audiotag
from audiotag.console import console
from audiotag.experiment.run_folder import RunFolder
from audiotag.files import replacing, write_csv, write_text
from audiotag.report import parts, review
from audiotag.report.facts import Facts, read_facts
from audiotag.report.finished import PAGE, state
from audiotag.report.page import Contradiction, Part, Picture, Table, picture, render, shown
from audiotag.report.reproduce import command
from audiotag.report.sounds import hear

FOLDER = "report"
HEARD = 10  # disagreements with picture and player
CHAPTERS = (parts.curves, parts.acceptance, parts.consensus, parts.calibration, parts.confusion, parts.per_class)


def write_report(folder: RunFolder, root: Path | None = None) -> Path:
    """Write the report of a run as far as it is complete and return the page; `root` is where the data set lies now.

    Raises RunError where there is nothing to report yet.
    """
    facts = read_facts(folder)
    chapters = [chapter(facts) for chapter in CHAPTERS]
    ranked = _ranked(facts)
    kept = None if ranked is None else review.write_review(folder.path, ranked)
    if kept is not None and kept.name != review.FILE:
        console.print(Text("kept:", "yellow"), f"decisions in {review.FILE}; the new ranking is {kept.name}")
    sounds = [] if ranked is None else _contradictions(facts, ranked, root or Path(facts.config.data.root or "."))
    text = render(
        facts=facts,
        key_figures=_key_figures(facts),
        parts=chapters,
        contradictions=sounds,
        ranked=ranked,
        review=kept.name if kept is not None else review.FILE,
        command=command(facts.config),
        versions={"audiotag": audiotag.__version__, "PyTorch": torch.__version__},
        state=state(folder),
    )
    _write_files(folder.path / FOLDER, chapters, sounds)
    write_text(folder.path / PAGE, text)  # last: with it the report is complete
    console.print(f"Report: {folder.path / PAGE}", soft_wrap=True)
    return folder.path / PAGE


def _ranked(facts: Facts) -> pd.DataFrame | None:
    """Return the contradicted labels, ranked; None where nothing was voted on."""
    if facts.decided.empty:
        return None
    return review.disagreements(facts.decided, facts.posteriors, facts.folder.train)


def _key_figures(facts: Facts) -> list[tuple[str, str]]:
    best = facts.of_best
    if not best:
        return []
    figures = [
        ("Validation accuracy", f"{best['valid_accuracy']:.4f} ± {best['valid_accuracy_std']:.4f}"),
        ("Validation loss", shown(best["valid_loss"])),
        ("Validation MAP@3", shown(facts.valid_map3)),
        ("Labels accepted", f"{best['accepted']} of {best['considered']}"),
    ]
    if facts.truth is not None:
        figures += [(f"{name.capitalize()} of accepted", shown(best[name])) for name in ("precision", "recall")]
    return figures


def _contradictions(facts: Facts, ranked: pd.DataFrame, root: Path) -> list[Contradiction]:
    return [_contradiction(facts, row, root) for row in ranked[:HEARD].to_dict("records")]


def _contradiction(facts: Facts, row: dict[Hashable, Any], root: Path) -> Contradiction:
    top = facts.posteriors.loc[row["clip_id"]].sort_values(ascending=False, kind="stable")[:3]
    said = [
        ("given label", f"{row['label']} ({row['posterior_label']:.4f})"),
        ("predicted", f"{row['predicted']} ({row['posterior_predicted']:.4f})"),
        ("top three", ", ".join(f"{name} {value:.4f}" for name, value in top.items())),
        ("file", row["path"]),
        ("voted by", f"round {row['round']}, fold {row['fold']}"),
    ]
    title = f"{row['rank']}. {row['clip_id']}"
    content_hash = str(facts.folder.train.at[row["clip_id"], "content_hash"])
    sound = hear(root / row["path"], content_hash, facts.config.features)
    if isinstance(sound, str):
        return Contradiction(title, said, silence=sound)
    alt = (
        f"Spectrogram of {row['clip_id']}, {sound.played_s:.2f} seconds: labelled {row['label']}, "
        f"taken for {row['predicted']}."
    )
    image = picture(f"disagreement-{row['rank']:02d}", sound.figure, alt)
    cut = sound.played_s < sound.duration_s
    note = f"the first {sound.played_s:.0f} of {sound.duration_s:.1f} seconds" if cut else None
    return Contradiction(title, said, image, sound.data_uri, note)


def _write_files(folder: Path, chapters: list[Part], sounds: list[Contradiction]) -> None:
    """Write figures and numbers as files, and remove those of an earlier report that are in this one no more."""
    pictures: list[Picture] = [one for part in chapters for one in part.pictures]
    pictures += [sound.picture for sound in sounds if sound.picture is not None]
    tables: list[Table] = [table for part in chapters for table in part.tables]
    for one in pictures:
        with replacing(folder / f"{one.name}.png") as temporary:
            temporary.write_bytes(one.png)
    for table in tables:
        write_csv(folder / f"{table.name}.csv", table.frame)
    written = {f"{one.name}.png" for one in pictures} | {f"{table.name}.csv" for table in tables}
    for file in [*folder.glob("*.png"), *folder.glob("*.csv")]:
        if file.name not in written:
            file.unlink()

"""The clips of a report that a person is to hear and judge, and what the page needs for that."""

from __future__ import annotations

import base64
import hashlib
import io
from collections.abc import Hashable, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pandas as pd

from audiotag.data.parallel import parallel_map
from audiotag.data.paths import leading_out
from audiotag.files import csv_text
from audiotag.report import review
from audiotag.report.data import ReportData
from audiotag.report.rounding import posterior
from audiotag.report.sounds import Request, Sound, hear

FOLDER = "clips"  # within report/, where the page would grow too large
MANY = 200  # recordings, from which on processes share the work: each takes seconds to start
PER_MILLE = 1000  # posteriors in the page's menus


@dataclass(frozen=True)
class Card:
    """A clip whose label the networks contradict; `silence` says why there is no sound, `note` that it is cut."""

    rank: int
    clip: str
    claim: list[tuple[str, str, str]]
    """What is said of it, which class, how sure: first by the label, then by the networks."""
    facts: list[tuple[str, str]]
    checked: bool
    sound: Sound | None
    silence: str

    @property
    def note(self) -> str:
        """Says how much of the recording can be heard, if not all."""
        if self.sound is None or self.sound.played_s >= self.sound.duration_s:
            return ""
        return f"the first {self.sound.played_s:.0f} of {self.sound.duration_s:.1f} seconds"

    @property
    def alt(self) -> str:
        """What the picture shows, in words."""
        assert self.sound is not None
        (_, label, _), (_, predicted, _) = self.claim
        return (
            f"Spectrogram of {self.clip}, {self.sound.played_s:.2f} seconds: labelled {label}, taken for {predicted}."
        )


def review_rows(facts: ReportData) -> pd.DataFrame | None:
    """Return what `review.csv` lists: contradicted labels, unverified and verified, and what was decided earlier.

    None where nothing was held out to vote on.
    """
    if facts.held_out is None or facts.best is None:
        return None
    train, corrections = facts.folder.train, facts.folder.corrections
    parts = [
        review.disagreements(facts.decided, facts.posteriors, train),
        review.checked_disagreements(facts.checked_posteriors, train, set(corrections["clip_id"]), facts.best),
        review.earlier_decisions(corrections),
    ]
    return review.review_table(parts)


def cards(facts: ReportData, rows: pd.DataFrame, root: Path) -> list[Card]:
    """Return a card for every contradicted clip, in the order of `rows`; `root` is where the data set lies."""
    rows = rows[rows["reason"] != review.EARLIER]
    paths = [root / path for path in rows["path"]]
    outside = set() if facts.config.data.allow_outside else leading_out(paths, root)
    hashes, features = facts.folder.train["content_hash"], facts.config.features
    requests = [
        Request(path, str(hashes[clip]), features)
        for path, clip in zip(paths, rows["clip_id"], strict=True)
        if path not in outside
    ]
    workers = facts.config.hardware.workers if len(requests) >= MANY else 0
    heard = parallel_map(hear, requests, workers, "Sounds of the report", "clips")
    made = []
    for path, row in zip(paths, rows.to_dict("records"), strict=True):
        sound = f"its file is not below {root} (data.allow_outside)" if path in outside else next(heard)
        made.append(_card(facts, row, sound))
    return made


def _card(facts: ReportData, row: dict[Hashable, Any], sound: Sound | str) -> Card:
    checked = row["reason"] == review.CHECKED
    of_clip = (facts.checked_posteriors if checked else facts.posteriors).loc[row["clip_id"]]
    top = of_clip.sort_values(ascending=False, kind="stable")[:3]
    claim = [
        ("checked label" if checked else "label", row["label"], posterior(row["posterior_label"])),
        ("heard as", row["predicted"], posterior(row["posterior_predicted"])),
    ]
    said = [
        ("most probable", ", ".join(f"{name} {posterior(value)}" for name, value in top.items())),
        ("file", row["path"]),
        ("judged by", f"round {row['round']}, fold {row['fold']}"),
    ]
    heard, silence = (sound, "") if isinstance(sound, Sound) else (None, sound)
    return Card(row["rank"], row["clip_id"], claim, said, checked, heard, silence)


def for_script(facts: ReportData, rows: pd.DataFrame, file: Path) -> dict[str, Any]:
    """Return what the page's script works on: the rows of the file that it offers, decisions in files, and menus.

    `file` is the review file of these rows. Decisions of an older `review.csv` hold too, and none of them is lost: rows
    that are not on the page are added.
    """
    corrections = facts.folder.corrections
    labels = {str(clip): str(label) for clip, label in facts.folder.train["label"].items()}
    labels |= dict(zip(corrections["clip_id"], corrections["label"], strict=True))
    decided = dict(zip(corrections["clip_id"], corrections["decision"], strict=True))
    decided |= review.decisions(file.with_name(review.FILE), labels) | review.decisions(file, labels)
    others = [clip for clip in decided if clip not in set(rows["clip_id"])]
    more = pd.DataFrame({"clip_id": others, "label": [labels[clip] for clip in others]}).reindex(columns=rows.columns)
    table = review.review_table([rows, more]) if others else rows
    text = pd.read_csv(io.StringIO(csv_text(table)), dtype=str, keep_default_na=False)
    posteriors = pd.concat([facts.posteriors, facts.checked_posteriors])
    return {
        "key": f"audiotag-review-{_identity(facts)}",
        "columns": list(text.columns),
        "rows": text.to_numpy().tolist(),
        "decisions": decided,
        "classes": facts.classes,
        "menus": [_menu(posteriors.loc[clip]) for clip in rows["clip_id"][rows["reason"] != review.EARLIER]],
    }


def _identity(facts: ReportData) -> str:
    """Return what tells this run's clips and labels from others', also where both are looked at in one browser."""
    folder = facts.folder
    return hashlib.sha256(folder.path.name.encode() + folder.manifest_file.read_bytes()).hexdigest()[:16]


def _menu(posteriors: pd.Series) -> list[tuple[int, int]]:
    """Return all classes (indices), the most probable first, with their posteriors in thousandths."""
    order = (-posteriors.to_numpy()).argsort(kind="stable")
    return [(int(i), round(PER_MILLE * float(posteriors.iloc[i]))) for i in order]


@dataclass(frozen=True)
class Source:
    """Where the page finds a clip's picture and sound: in itself, or in a file beside it."""

    picture: str
    mp3: str


def sources(made: Sequence[Card], largest_bytes: float) -> tuple[dict[int, Source], dict[str, bytes]]:
    """Return the sources of each card by rank, and the files to write, by name below the report's folder.

    There are none as long as pictures and sounds within the page take no more than `largest_bytes`.
    """
    heard = [(card.rank, card.sound) for card in made if card.sound is not None]
    # Base64 writes three bytes as four letters.
    if sum(len(sound.picture) + len(sound.mp3) for _, sound in heard) * 4 / 3 <= largest_bytes:
        within = {rank: Source(_uri("image/webp", one.picture), _uri("audio/mpeg", one.mp3)) for rank, one in heard}
        return within, {}
    files: dict[str, bytes] = {}
    beside: dict[int, Source] = {}
    for rank, sound in heard:
        name = f"{FOLDER}/{rank:04d}"
        files |= {f"{name}.webp": sound.picture, f"{name}.mp3": sound.mp3}
        beside[rank] = Source(f"report/{name}.webp", f"report/{name}.mp3")
    return beside, files


def _uri(kind: str, content: bytes) -> str:
    return f"data:{kind};base64,{base64.b64encode(content).decode()}"

"""The clips of a report that a person is to listen to and judge, and what the page needs for that."""

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
from audiotag.report.sounds import Sound, SoundRequest, render_sound

FOLDER = "clips"  # within report/, where the page would grow too large
MANY = 200  # recordings, from which on processes share the work: each takes seconds to start
PER_MILLE = 1000  # posteriors in the page's menus
MEDIA_TYPES = {".webp": "image/webp", ".mp3": "audio/mpeg"}


@dataclass(frozen=True)
class Card:
    """A clip whose label the networks contradict; `silence` is the reason why there is no sound."""

    rank: int
    clip: str
    claim: list[tuple[str, str, str]]
    """By whom, which class, and how sure: first the label, then the networks."""
    details: list[tuple[str, str]]
    checked: bool
    sound: Sound | None
    silence: str

    @property
    def file(self) -> str:
        """Where its picture and sound lie below the report's folder, without suffix."""
        return f"{FOLDER}/{self.rank:04d}"

    @property
    def note(self) -> str:
        """How much of the recording can be played, if not all."""
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


def review_rows(data: ReportData) -> pd.DataFrame | None:
    """Return what `review.csv` lists: contradicted labels, unverified and verified, and what was decided earlier.

    None where nothing was held out to vote on.
    """
    if data.best is None or data.config.data.train_on_all:
        return None
    train, corrections = data.folder.train, data.folder.corrections
    parts = [
        review.disagreements(data.decided, data.posteriors, train),
        review.checked_disagreements(data.checked_posteriors, train, set(corrections["clip_id"]), data.best),
        review.earlier_decisions(corrections),
    ]
    return review.review_table(parts)


def cards(data: ReportData, rows: pd.DataFrame, root: Path) -> list[Card]:
    """Return a card for every contradicted clip, in the order of `rows`; `root` is where the data set lies."""
    rows = rows[rows["reason"] != review.EARLIER]
    paths = [root / path for path in rows["path"]]
    outside = set() if data.config.data.allow_outside else leading_out(paths, root)
    hashes, features = data.folder.train["content_hash"], data.config.features
    requests = [
        SoundRequest(path, str(hashes[clip]), features)
        for path, clip in zip(paths, rows["clip_id"], strict=True)
        if path not in outside
    ]
    workers = data.config.hardware.workers if len(requests) >= MANY else 0
    sounds = parallel_map(render_sound, requests, workers, "Sounds of the report", "clips")
    missing = f"its file is not below {root} (data.allow_outside)"
    return [
        _card(data, row, missing if path in outside else next(sounds))
        for path, row in zip(paths, rows.to_dict("records"), strict=True)
    ]


def _card(data: ReportData, row: dict[Hashable, Any], sound: Sound | str) -> Card:
    checked = row["reason"] == review.CHECKED
    of_clip = (data.checked_posteriors if checked else data.posteriors).loc[row["clip_id"]]
    top = of_clip.sort_values(ascending=False, kind="stable")[:3]
    claim = [
        ("checked label" if checked else "label", row["label"], posterior(row["posterior_label"])),
        ("heard as", row["predicted"], posterior(row["posterior_predicted"])),
    ]
    details = [
        *([] if pd.isna(row["p_right"]) else [("label right", f"{row['p_right']:.0%} probable")]),
        ("most probable", ", ".join(f"{name} {posterior(value)}" for name, value in top.items())),
        ("file", row["path"]),
        ("judged by", f"round {row['round']}, fold {row['fold']}"),
    ]
    playable, silence = (sound, "") if isinstance(sound, Sound) else (None, sound)
    return Card(row["rank"], row["clip_id"], claim, details, checked, playable, silence)


def for_script(data: ReportData, rows: pd.DataFrame, file: Path) -> dict[str, Any]:
    """Return what the page's script works on: the rows of the file that it offers, decisions in files, and menus.

    `file` is the review file of these rows. Decisions of an older `review.csv` and of the desk hold too, and none is
    lost: rows that are not on the page are added.
    """
    corrections = data.folder.corrections
    labels = {str(clip): str(label) for clip, label in data.folder.train["label"].items()}
    labels |= dict(zip(corrections["clip_id"], corrections["label"], strict=True))
    decided = dict(zip(corrections["clip_id"], corrections["decision"], strict=True))
    for name in dict.fromkeys([review.FILE, file.name, review.DESK_FILE]):
        decided |= review.decisions(file.parent / name, labels)
    others = [clip for clip in decided if clip not in set(rows["clip_id"])]
    more = pd.DataFrame({"clip_id": others, "label": [labels[clip] for clip in others]}).reindex(columns=rows.columns)
    table = review.review_table([rows, more]) if others else rows
    text = pd.read_csv(io.StringIO(csv_text(table)), dtype=str, keep_default_na=False)
    posteriors = pd.concat([data.posteriors, data.checked_posteriors])
    return {
        "key": f"audiotag-review-{_identity(data)}",
        "columns": list(text.columns),
        "rows": text.to_numpy().tolist(),
        "decisions": decided,
        "classes": data.classes,
        "menus": [_menu(posteriors.loc[clip]) for clip in rows["clip_id"][rows["reason"] != review.EARLIER]],
    }


def _identity(data: ReportData) -> str:
    """Return what tells this run's clips and labels from others', also where both are looked at in one browser."""
    folder = data.folder
    return hashlib.sha256(folder.path.name.encode() + folder.manifest_file.read_bytes()).hexdigest()[:16]


def _menu(posteriors: pd.Series) -> list[tuple[int, int]]:
    """Return all classes (indices), the most probable first, with their posteriors in thousandths."""
    order = (-posteriors.to_numpy()).argsort(kind="stable")
    return [(int(i), round(PER_MILLE * float(posteriors.iloc[i]))) for i in order]


def media(made: Sequence[Card], largest_bytes: float) -> tuple[dict[str, str], dict[str, bytes]]:
    """Return where the page finds each picture and sound, and the files to write, both by name below the report.

    There are no files as long as pictures and sounds within the page take no more than `largest_bytes`.
    """
    files: dict[str, bytes] = {}
    for card in made:
        if card.sound is not None:
            files |= {f"{card.file}.webp": card.sound.picture, f"{card.file}.mp3": card.sound.mp3}
    # Base64 writes three bytes as four letters.
    if sum(map(len, files.values())) * 4 / 3 > largest_bytes:
        return {name: f"report/{name}" for name in files}, files
    return {name: _data_uri(Path(name).suffix, content) for name, content in files.items()}, {}


def _data_uri(suffix: str, content: bytes) -> str:
    return f"data:{MEDIA_TYPES[suffix]};base64,{base64.b64encode(content).decode()}"

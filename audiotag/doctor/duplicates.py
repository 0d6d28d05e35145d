"""Which recordings of a data set are the same sound: to the sample, or nearly (see `fingerprint`)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path

from audiotag.data.parallel import in_order
from audiotag.doctor.examine import Examined
from audiotag.doctor.fingerprint import SAME, candidates, heard, similarity
from audiotag.features.audio import AudioStream


@dataclass(frozen=True)
class Duplicates:
    """Two recordings, by their places in a list, the earlier first; `similarity` is 1 where all samples are equal."""

    one: int
    other: int
    exact: bool
    similarity: float


def find_duplicates(examined: Sequence[Examined], workers: int | None) -> list[Duplicates]:
    """Return pairs of recordings that are the same sound, in order.

    Of several equal to the sample, each is paired with the first, and only that one is compared with others. What is
    silent or cannot be used is nobody's twin.
    """
    first: dict[str, int] = {}
    found = []
    for at, file in enumerate(examined):
        if file.scan.problem or not len(file.patches):
            continue
        if (earlier := first.setdefault(file.sound, at)) != at:
            found.append(Duplicates(earlier, at, True, 1.0))
    places = sorted(first.values())
    paths = [Path(examined[at].scan.path) for at in places]
    near = [(one, [j for _, j in pairs]) for one, pairs in groupby(
        candidates([examined[at].patches for at in places]), key=lambda pair: pair[0])]  # fmt: skip
    items = [(paths[one], [paths[j] for j in others]) for one, others in near]
    compared = in_order(_compare, items, workers, "Comparing recordings", "recordings")
    for (one, others), alike in zip(near, compared, strict=True):
        found += [
            Duplicates(places[one], places[j], False, value)
            for j, value in zip(others, alike, strict=True)
            if value >= SAME
        ]
    return sorted(found, key=lambda twins: (twins.one, twins.other))


def _compare(item: tuple[Path, list[Path]]) -> list[float]:
    """Return how alike a recording is to each of others."""
    path, others = item
    wave = heard(AudioStream(path))
    return [similarity(wave, heard(AudioStream(other))) for other in others]

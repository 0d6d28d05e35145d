"""Which recordings of a data set are the same sound: to the sample, or nearly (see `fingerprint`)."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from audiotag.data.parallel import parallel_map
from audiotag.doctor.examine import Examined
from audiotag.doctor.fingerprint import SAME, candidates, compared, similarity
from audiotag.features.audio import AudioStream


@dataclass(frozen=True, order=True)
class Duplicates:
    """Two recordings, by their places in a list, the earlier first; `similarity` is 1 where all samples are equal."""

    one: int
    other: int
    exact: bool
    similarity: float


def find_duplicates(examined: Sequence[Examined], workers: int | None) -> list[Duplicates]:
    """Return pairs of recordings that are the same sound, in order.

    Of several equal to the sample, each is paired with the first, and only that one is compared with others. What is
    silent or cannot be used is a duplicate of nothing.
    """
    first: dict[str, int] = {}
    found = []
    for at, file in enumerate(examined):
        if file.scan.problem or not len(file.fingerprint.patches):
            continue
        if (earlier := first.setdefault(file.sound, at)) != at:
            found.append(Duplicates(earlier, at, True, 1.0))
    distinct = sorted(first.values())
    near: dict[int, list[int]] = defaultdict(list)
    for i, j in candidates([examined[at].fingerprint for at in distinct]):
        near[distinct[i]].append(distinct[j])
    items = [(examined[one].scan.path, [examined[at].scan.path for at in others]) for one, others in near.items()]
    similarities = parallel_map(_compare, items, workers, "Comparing recordings", "recordings")
    for (one, others), values in zip(near.items(), similarities, strict=True):
        pairs = zip(others, values, strict=True)
        found += [Duplicates(one, other, False, value) for other, value in pairs if value >= SAME]
    return sorted(found)


def _compare(item: tuple[str, list[str]]) -> list[float]:
    """Return how alike a recording is to each of others."""
    one, *others = (compared(AudioStream(Path(path))) for path in (item[0], *item[1]))
    return [similarity(one, other) for other in others]

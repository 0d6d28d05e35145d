"""What a listener has said, entry by entry, and what follows from it: decisions, what comes next, how sure they are.

Nothing here knows of files or pages. A journal of entries is all there is: whatever is known is made from it.
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol

from audiotag.data.corrections import DROP, KEEP, RELABEL
from audiotag.randomness import generator
from audiotag.run.audit import CONFIDENCE, lower_bound

UNCERTAIN, NOT_PREDOMINANT = "uncertain", "not predominant"
WORDS = (KEEP, RELABEL, DROP, UNCERTAIN, NOT_PREDOMINANT)
APART = 8  # verdicts, at least, between a clip's first and its second


class UnfitError(ValueError):
    """A verdict that does not fit its clip, or a clip that is not there."""


class Labelled(Protocol):
    """A clip that is to be decided."""

    @property
    def clip(self) -> str:
        """Its id."""

    @property
    def label(self) -> str:
        """Its given label."""


@dataclass(frozen=True)
class Entry:
    """A line of the journal: a verdict on a clip, or that of the entry `undo` taken back."""

    n: int
    """Its number, from 1; those from other files than the journal have 0."""
    clip: str = ""
    word: str = ""
    label: str = ""
    """With relabel: the class that it is."""
    again: bool = False
    """Whether the clip was decided before and came again, unannounced."""
    undo: int = 0
    tab: str = ""
    """The window in which it was said."""
    key: str = ""
    """Made by the window: what is sent twice is written once."""
    at: str = ""
    """When, UTC."""

    @property
    def text(self) -> str:
        """The verdict as people read it."""
        return f"{self.word} {self.label}".strip()


@dataclass(frozen=True)
class State:
    """What holds after a journal: entries that were not taken back, the last one by clip, pairs of blind repeats."""

    live: list[Entry] = field(default_factory=list)
    decided: dict[str, Entry] = field(default_factory=dict)
    repeats: list[tuple[Entry, Entry]] = field(default_factory=list)


def replay(entries: Sequence[Entry]) -> State:
    """Return what holds after these entries; the last verdict on a clip wins, second ones of repeats aside."""
    taken_back = {entry.undo for entry in entries if entry.undo}
    state = State([entry for entry in entries if not entry.undo and (entry.n == 0 or entry.n not in taken_back)])
    for entry in state.live:
        if not entry.again:
            state.decided.pop(entry.clip, None)  # so that they stand in the order of their verdicts
            state.decided[entry.clip] = entry
        elif entry.clip in state.decided:
            state.repeats.append((state.decided[entry.clip], entry))
    return state


def last_of(state: State, tab: str, before: int) -> Entry | None:
    """Return the entry that a window would take back: its own last one, else the last up to the number `before`."""
    mine = (entry for entry in reversed(state.live) if entry.tab == tab or 0 < entry.n <= before)
    return next(mine, None)


def decision_of(entry: Entry, not_predominant: str) -> str:
    """Return a verdict as `data.corrections` reads it, "" where nothing is to be done with the clip."""
    if entry.word == NOT_PREDOMINANT:
        return "" if not_predominant == "leave" else not_predominant
    return "" if entry.word == UNCERTAIN else entry.text


@dataclass(frozen=True)
class Turn:
    """A clip to be heard: where it stands in the queue, and whether it is a blind repeat."""

    index: int
    again: bool = False


def next_turn(
    queue: Sequence[Labelled],
    state: State,
    *,
    at: int = -1,
    only: str | None = None,
    later: int = 0,
    repeats: float = 0.0,
    seed: int = 0,
) -> Turn | None:
    """Return what comes after the clip at `at`, None at the end.

    That is the next undecided one, in the queue's order and from its end back to its beginning; `only` of one label.
    With `later` it is the next that was uncertain when the journal had so many entries. A share `repeats` of verdicts
    is asked for again, at keyed random places (0: not here).
    """
    if repeats and (index := _repeat(queue, state, repeats, seed, only)) is not None:
        return Turn(index, again=True)
    waiting = list(_waiting(queue, state, only, later))
    return Turn(next((i for i in waiting if i > at), waiting[0])) if waiting else None


def _waiting(queue: Sequence[Labelled], state: State, only: str | None, later: int) -> Iterator[int]:
    for i, clip in enumerate(queue):
        entry = state.decided.get(clip.clip)
        uncertain = entry is not None and entry.word == UNCERTAIN and entry.n <= later
        if (uncertain if later else entry is None) and only in (None, clip.label):
            yield i


def _repeat(queue: Sequence[Labelled], state: State, share: float, seed: int, only: str | None) -> int | None:
    """Return the clip to ask for again, if one is owed: the r-th at a random verdict of the r-th `1 / share` ones."""
    own = [entry for entry in state.decided.values() if entry.n]
    r = len(state.repeats)
    random = generator(seed, "repeat", r)
    if len(own) * share < r + random.random():
        return None
    heard = {first.clip for first, _ in state.repeats}
    recent = {entry.clip for entry in state.live[-APART:]}
    old = {e.clip for e in own if e.word != UNCERTAIN and e.clip not in heard and e.clip not in recent}
    candidates = [i for i, clip in enumerate(queue) if clip.clip in old and only in (None, clip.label)]
    return int(random.choice(candidates)) if candidates else None


def progress(queue: Sequence[Labelled], state: State) -> dict[str, Any]:
    """Return how much is decided: in total, by word, and what is left of each label, most first."""
    words = Counter(state.decided[clip.clip].word for clip in queue if clip.clip in state.decided)
    total = Counter(clip.label for clip in queue)
    left = Counter(clip.label for clip in queue if clip.clip not in state.decided)
    return {
        "total": len(queue),
        "left": left.total(),
        "uncertain": words[UNCERTAIN],
        "words": {word: words[word] for word in WORDS},
        "classes": [[name, left[name], n] for name, n in sorted(total.items(), key=lambda one: (-left[one[0]], one))],
    }


def agreement(state: State) -> dict[str, Any]:
    """Return how often a blind repeat got the same verdict, what that bounds, and which clips are still in dispute."""
    differ = [
        [first.clip, first.text, second.text]
        for first, second in state.repeats
        if first.text != second.text and state.decided[first.clip].n < second.n  # decided openly since: settled
    ]
    heard = len(state.repeats)
    same = sum(first.text == second.text for first, second in state.repeats)
    bound = round(lower_bound(same, heard), 6) if heard else None
    return {"heard": heard, "same": same, "at_least": bound, "confidence": CONFIDENCE, "differ": differ}


def earlier_entries(decisions: Mapping[str, str]) -> list[Entry]:
    """Return decisions of other files by clip id, each `keep`, `relabel X` or `drop`, as entries."""
    parts = {clip: text.partition(" ") for clip, text in decisions.items()}
    return [Entry(0, clip, word, label) for clip, (word, _, label) in parts.items()]

"""The desk without a page: what follows from verdicts, what comes next, and a journal that loses nothing."""

from __future__ import annotations

import itertools
from dataclasses import dataclass, replace
from pathlib import Path

import pytest

from audiotag.errors import RunError
from audiotag.review.journal import Journal
from audiotag.review.verdicts import (
    APART,
    NOT_PREDOMINANT,
    UNCERTAIN,
    Entry,
    State,
    Turn,
    agreement,
    decision_of,
    earlier_entries,
    last_of,
    next_turn,
    progress,
    replay,
)
from audiotag.run.audit import lower_bound


@dataclass(frozen=True)
class Clip:
    clip: str
    label: str = "Bark"


QUEUE = [Clip(f"c{i}", "Bark" if i % 2 else "Meow") for i in range(6)]


def keep(n: int, clip: str, word: str = "keep", **more) -> Entry:
    return Entry(n, clip, word, **more)


def test_desk_holds_the_last_verdict_on_a_clip():
    state = replay([keep(1, "c0"), keep(2, "c1"), keep(3, "c0", "drop")])
    assert {clip: entry.text for clip, entry in state.decided.items()} == {"c1": "keep", "c0": "drop"}


def test_undo_brings_the_earlier_verdict_back():
    entries = [keep(1, "c0"), keep(2, "c0", "relabel", label="Meow"), Entry(3, undo=2)]
    assert replay(entries).decided["c0"].text == "keep"
    assert replay([*entries, Entry(4, undo=1)]).decided == {}
    assert replay(entries[:2]).decided["c0"].text == "relabel Meow"


def test_undo_takes_back_what_its_own_window_has_said():
    state = replay([keep(1, "c0", tab="old"), keep(2, "c1", tab="a"), keep(3, "c2", tab="b")])
    assert last_of(state, "a", before=1).n == 2
    assert last_of(state, "b", before=1).n == 3
    assert last_of(state, "new", before=1).n == 1, "those of an earlier session belong to all"
    assert last_of(state, "new", before=0) is None


def test_decisions_of_other_files_hold_until_the_desk_decides():
    earlier = earlier_entries({"c0": "keep", "c1": "relabel Big dog"})
    state = replay([*earlier, keep(1, "c0", "drop")])
    assert [state.decided[clip].text for clip in ("c0", "c1")] == ["drop", "relabel Big dog"]
    assert last_of(state, "a", before=5).n == 1, "they are not the desk's to take back"


def test_desk_tells_training_decisions_alone():
    assert decision_of(keep(1, "c0", "relabel", label="Big dog"), "leave") == "relabel Big dog"
    assert decision_of(keep(1, "c0", UNCERTAIN), "keep") == ""
    assert [decision_of(keep(1, "c0", NOT_PREDOMINANT), to) for to in ("leave", "keep", "drop")] == ["", "keep", "drop"]


def test_queue_goes_on_in_its_order_and_comes_back_to_what_was_skipped():
    state = replay([keep(1, "c0"), keep(2, "c3")])
    assert next_turn(QUEUE, State()) == Turn(0)
    assert next_turn(QUEUE, state) == Turn(1)
    assert next_turn(QUEUE, state, at=2) == Turn(4)
    assert next_turn(QUEUE, state, at=5) == Turn(1)
    assert next_turn(QUEUE, state, only="Meow") == Turn(2)
    assert next_turn(QUEUE, replay([keep(i + 1, f"c{i}") for i in range(6)])) is None


def test_queue_brings_uncertain_clips_later_and_each_once():
    entries = [keep(i + 1, f"c{i}", UNCERTAIN if i in (1, 4) else "keep") for i in range(6)]
    assert next_turn(QUEUE, replay(entries)) is None
    assert next_turn(QUEUE, replay(entries), later=6) == Turn(1)
    entries.append(keep(7, "c1", UNCERTAIN))
    assert next_turn(QUEUE, replay(entries), later=6, at=1) == Turn(4)
    entries.append(keep(8, "c4", "drop"))
    assert next_turn(QUEUE, replay(entries), later=6, at=4) is None


@pytest.mark.parametrize("share", [0.05, 0.2, 0.5])
def test_blind_repeats_are_a_share_of_verdicts_each_of_another_clip_and_not_of_the_last_ones(share):
    queue = [Clip(f"c{i}") for i in range(200)]
    entries: list[Entry] = []
    at, places = -1, []
    while (turn := next_turn(queue, replay(entries), at=at, repeats=share, seed=1)) is not None:
        clip = queue[turn.index].clip
        if turn.again:
            assert clip not in {entry.clip for entry in entries[-APART:]}
            places.append(len(entries))
        else:
            at = turn.index
        entries.append(keep(len(entries) + 1, clip, again=turn.again))
    twice = [entry.clip for entry in entries if entry.again]
    assert len(set(twice)) == len(twice)
    assert len(twice) == pytest.approx(200 * share, abs=2)
    assert len({b - a for a, b in itertools.pairwise(places)}) > 1, "they come at no fixed distance"


def test_blind_repeats_come_only_where_they_are_wanted():
    state = replay([keep(i + 1, f"c{i}") for i in range(6)])
    assert next_turn(QUEUE, state, repeats=0) is None


def test_agreement_with_oneself():
    entries = [keep(1, "c0"), keep(2, "c1"), keep(3, "c0", again=True), keep(4, "c1", "drop", again=True)]
    found = agreement(replay(entries))
    assert (found["heard"], found["same"]) == (2, 1)
    assert found["at_least"] == pytest.approx(lower_bound(1, 2), abs=1e-6)
    assert found["differ"] == [["c1", "keep", "drop"]]
    assert replay(entries).decided["c1"].text == "keep", "the second hearing measures, it does not decide"
    assert agreement(replay([*entries, Entry(5, undo=4)]))["heard"] == 1
    settled = agreement(replay([*entries, keep(5, "c1", "drop")]))
    assert (settled["heard"], settled["same"], settled["differ"]) == (2, 1, [])
    assert agreement(State())["at_least"] is None


def test_progress_in_total_and_of_each_label():
    found = progress(QUEUE, replay([keep(1, "c0"), keep(2, "c2", UNCERTAIN), keep(3, "other")]))
    assert (found["total"], found["left"], found["uncertain"]) == (6, 4, 1)
    assert found["classes"] == [["Bark", 3, 3], ["Meow", 1, 3]]
    assert found["words"]["keep"] == 1


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "desk" / "verdicts.jsonl"


def kept(file: Path) -> list[Entry]:
    journal = Journal(file)
    journal.close()
    return journal.entries


def test_journal_keeps_what_it_is_given(file):
    journal = Journal(file)
    written = [journal.append(clip='ä,\n"<b>', word="relabel", label="Käuzchen"), journal.append(undo=1, tab="a")]
    journal.close()
    assert [entry.n for entry in written] == [1, 2]
    assert kept(file) == written


def test_journal_is_open_once(file):
    journal = Journal(file)
    with pytest.raises(RunError, match="open already"):
        Journal(file)
    journal.close()
    kept(file)


def test_journal_drops_a_line_that_was_not_finished(file):
    journal = Journal(file)
    first = journal.append(clip="c0", word="keep")
    journal.close()
    for part in (b"{", b'{"n": 2, "clip": "c1", "word": "drop"}', b"\xff\0"):
        with open(file, "ab") as torn:
            torn.write(part)
        assert kept(file) == [first]
    journal = Journal(file)
    assert journal.append(clip="c1", word="drop").n == 2
    journal.close()
    assert [entry.clip for entry in kept(file)] == ["c0", "c1"]


@pytest.mark.parametrize(
    "line", ["{}", "[]", "x", '{"n": 2, "clip": "c0", "word": "eat"}', '{"n": 1, "undo": 1}', '{"n": 1, "no": 1}', ""]
)
def test_journal_that_is_damaged_is_refused_by_line(file, line):
    file.parent.mkdir()
    file.write_text(f'{line}\n{{"n": 2, "clip": "c1", "word": "keep"}}\n', encoding="utf-8")
    before = file.read_bytes()
    with pytest.raises(RunError, match=r"verdicts\.jsonl:1: not what was written there"):
        Journal(file)
    assert file.read_bytes() == before


def test_journal_has_few_fields_on_the_disk(file):
    journal = Journal(file)
    entry = journal.append(clip="c0", word="keep")
    journal.close()
    assert file.read_text(encoding="utf-8") == '{"n": 1, "clip": "c0", "word": "keep"}\n'
    assert replace(entry, n=1) == kept(file)[0]

"""Errors: all that matters is said, and no more than a person reads."""

from __future__ import annotations

from audiotag import errors
from audiotag.errors import DataError, Nearest


def test_problem_list_without_end_is_shortened_in_the_middle():
    problems = [f"row {i}" for i in range(100_000)]
    error = DataError("Bad rows:", problems, "Mend them.")
    lines = str(error).splitlines()
    assert len(lines) < 60
    assert (lines[0], lines[1], lines[-2], lines[-1]) == ("Bad rows:", "  - row 0", "  - row 99999", "Mend them.")
    assert "  ... 99,950 more ..." in lines
    assert error.problems == problems


def test_problem_list_that_a_person_reads_is_whole():
    assert len(str(DataError("Bad rows:", [f"row {i}" for i in range(50)])).splitlines()) == 51


def test_nearest_names_are_looked_up_for_few_of_many(looked_up, monkeypatch):
    monkeypatch.setattr(errors, "COMPARISONS", 10_000)
    near = Nearest(f"clip{i:06d}.wav" for i in range(3_000))
    said = [near(f"clop{i:06d}.wav") for i in range(3_000)]
    assert len(looked_up) == 3
    assert (said[0], said[-1]) == (" (did you mean clip000000.wav?)", "")


def test_nearest_name_of_what_is_like_nothing_is_none():
    near = Nearest(["Bark", "Meow"])
    assert [near("Glockenspiel"), near("Brak")] == ["", " (did you mean Bark?)"]

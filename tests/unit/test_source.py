"""A data source of one's own: what it may leave out, and what is said of one that breaks its contract."""

from __future__ import annotations

from pathlib import Path

import pandas as pd
import pytest

from audiotag.config import Data
from audiotag.data.clips import check_clips
from audiotag.data.source import ROW, Source, complete_rows
from audiotag.errors import DataError


class Rows(Source):
    """Returns what it was made with."""

    def __init__(self, made: object) -> None:
        self.made = made

    def rows(self, root: Path, data: Data) -> pd.DataFrame:
        return self.made  # type: ignore[return-value]


def rows_of(made: object, root: Path = Path("/set")) -> pd.DataFrame:
    return complete_rows(Rows(made).rows(root, Data()), root, Rows(made))


def test_source_gives_files_and_labels_and_the_rest_has_defaults():
    rows = rows_of(pd.DataFrame({"path": [Path("/set/a/1.wav"), Path("b/./2.wav")], "label": ["A", None]}))
    assert list(rows.columns) == ROW
    assert rows.drop(columns=["verified", "where"]).values.tolist() == [
        ["a/1.wav", "a/1.wav", "A", "train", "", "", ""],
        ["b/2.wav", "b/2.wav", "", "train", "", "", ""],
    ]
    assert rows["where"].tolist() == ["/set/a", "/set/b"]
    clips, classes = check_clips(rows, Path("/set"), None, unlabelled=True)
    assert classes == ["A"]
    assert clips.usable[["split", "verified"]].values.tolist() == [["train", True], ["unlabelled", False]]


@pytest.mark.parametrize("flags", [[True, False], [1, 0], ["1", "0"], [1.0, 0.0], ["yes", ""]])
def test_source_says_who_is_verified_by_bools_numbers_or_words(flags):
    rows = rows_of(pd.DataFrame({"path": ["1.wav", "2.wav"], "label": "A", "verified": flags}))
    clips, _ = check_clips(rows, Path("/set"), ["A", "B"])
    assert clips.usable["verified"].tolist() == [True, False]


def test_source_names_a_problem_of_a_row():
    rows = rows_of(pd.DataFrame({"path": ["1.wav", "2.wav"], "label": "A", "problem": ["", "too old"]}))
    clips, _ = check_clips(rows, Path("/set"), None)
    assert [str(problem) for problem in clips.problems] == ["/set: 2.wav: too old"]


@pytest.mark.parametrize(
    ("made", "message"),
    [
        (["1.wav"], r"test_source\.Rows\.rows returned list, not a DataFrame"),
        (pd.DataFrame({"path": ["1.wav"]}), r"Rows\.rows: there is no column label"),
        (
            pd.DataFrame({"path": ["1.wav"], "label": "A", "verifed": 1}),
            r"unknown column verifed \(did you mean verified\?\)",
        ),
    ],
)
def test_source_that_breaks_its_contract_is_named(made, message):
    with pytest.raises(DataError, match=message):
        rows_of(made)

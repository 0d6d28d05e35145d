"""From the posteriors of windows to parts of a recording, and what other programs read of them."""

from __future__ import annotations

import csv
import io
import itertools

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiotag.config import Segmentation
from audiotag.inference.segment_files import RAVEN, audacity_labels, raven_selections
from audiotag.inference.segments import Segment, find_segments


def parts(rows: list[tuple[float, ...]], **settings: float) -> list[Segment]:
    """Return the parts of stretches of a second each, whose posteriors are given without the last class's."""
    full = [np.array([*row, 1 - sum(row)]) for row in rows]
    given_settings = Segmentation(**{"on": 0.6, "off": 0.4, "shortest_s": 0, "gap_s": 0, **settings})
    return list(find_segments([(k, k + 1, row) for k, row in enumerate(full)], given_settings))


def spans(found: list[Segment]) -> list[tuple[float, float, int]]:
    return [(one.start_s, one.end_s, one.label) for one in found]


def test_part_begins_above_on_and_ends_below_off():
    found = parts([(0.5, 0.1), (0.7, 0.1), (0.5, 0.1), (0.41, 0.2), (0.39, 0.2), (0.5, 0.1)])
    assert spans(found) == [(1, 4, 0)]
    assert found[0].probability == pytest.approx((0.7 + 0.5 + 0.41) / 3)


def test_another_label_that_begins_ends_a_part():
    assert spans(parts([(0.7, 0.1), (0.45, 0.5), (0.1, 0.8), (0.05, 0.9)])) == [(0, 2, 0), (2, 4, 1)]
    assert spans(parts([(0.3, 0.1), (0.9, 0.05), (0.9, 0.1)])) == [(0, 1, 2), (1, 3, 0)]


def test_parts_of_a_label_with_a_short_gap_are_one_and_short_ones_are_left_out():
    rows = [(0.9, 0.0), (0.35, 0.3), (0.8, 0.1), (0.2, 0.4), (0.2, 0.4), (0.7, 0.1), (0.35, 0.3), (0.3, 0.65)]
    assert spans(parts(rows)) == [(0, 1, 0), (2, 3, 0), (5, 6, 0), (7, 8, 1)]
    joined = parts(rows, gap_s=1)
    assert spans(joined) == [(0, 3, 0), (5, 6, 0), (7, 8, 1)]
    assert joined[0].probability == pytest.approx((0.9 + 0.8) / 2)  # the gap is left out
    assert spans(parts(rows, gap_s=1, shortest_s=2)) == [(0, 3, 0)]
    assert spans(parts(rows, gap_s=2)) == [(0, 6, 0), (7, 8, 1)]
    # Between them another label was heard.
    assert spans(parts([(0.9, 0.0), (0.05, 0.9), (0.9, 0.0)], gap_s=5)) == [(0, 1, 0), (1, 2, 1), (2, 3, 0)]


def test_parts_are_none_where_nothing_is_heard():
    assert parts([]) == []
    assert parts([(0.4, 0.3), (0.35, 0.3)]) == []


@given(
    st.lists(st.lists(st.floats(0.01, 1), min_size=3, max_size=3), max_size=40),
    st.floats(0.1, 0.9), st.floats(0, 1), st.sampled_from([0, 1, 2.5]), st.sampled_from([0, 1, 3]),
)  # fmt: skip
def test_parts_are_in_order_apart_and_probable(rows, on, share, gap_s, shortest_s):
    posteriors = [np.array(row) / sum(row) for row in rows]
    settings = Segmentation(on=on, off=share * on, gap_s=gap_s, shortest_s=shortest_s)
    found = list(find_segments([(k, k + 1, p) for k, p in enumerate(posteriors)], settings))
    for before, after in itertools.pairwise(found):
        assert before.end_s <= after.start_s
        # What stood between two parts of a label may have been too short to stay.
        assert before.label != after.label or after.start_s - before.end_s > gap_s or shortest_s > 1
    for one in found:
        assert one.end_s - one.start_s >= shortest_s
        inside = [p[one.label] for p in posteriors[int(one.start_s) : int(one.end_s)]]
        assert max(inside) >= on
        assert share * on - 1e-9 <= one.probability <= max(inside) + 1e-9


TABLE = pd.DataFrame(
    {"start_s": [0.5, 2.0], "end_s": [1.25, 3.0], "label": ["Bark", "A\tB\nC"], "probability": [0.75, 0.5]}
)


def test_audacity_reads_a_label_track():
    assert audacity_labels(TABLE) == "0.500000\t1.250000\tBark\n2.000000\t3.000000\tA B C\n"
    assert audacity_labels(TABLE[:0]) == ""


def test_raven_reads_a_selection_table():
    rows = list(csv.DictReader(io.StringIO(raven_selections(TABLE, 22_050)), delimiter="\t"))
    assert [*rows[0]] == RAVEN
    assert RAVEN[:7] == [
        "Selection", "View", "Channel", "Begin Time (s)", "End Time (s)", "Low Freq (Hz)", "High Freq (Hz)",
    ]  # fmt: skip
    assert [row["Selection"] for row in rows] == ["1", "2"]
    assert [*rows[0].values()][1:] == [
        "Spectrogram 1", "1", "0.500000", "1.250000", "0.0", "22050.0", "Bark", "0.750000",
    ]  # fmt: skip
    assert rows[1]["Label"] == "A B C"

"""Keyed random numbers, and files that are whole or absent."""

from __future__ import annotations

import json
import threading
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
from hypothesis import given
from hypothesis import strategies as st

from audiotag.files import replacing, write_csv, write_json, write_parquet, write_text
from audiotag.randomness import generator, key
from tests.clips import EXAMPLES

PARTS = st.lists(st.integers(-5, 5) | st.sampled_from(["epoch", "a.wav", "", "Müller"]), min_size=1, max_size=4)


@EXAMPLES
@given(PARTS, PARTS)
def test_seed_key_differs_by_its_parts(one, other):
    same = [str(part) for part in one] == [str(part) for part in other]
    assert (key(*one) == key(*other)) == same
    assert 0 <= key(*one) < 2**63, "torch.manual_seed takes no more"


def test_seed_key_keeps_its_parts_apart():
    assert len({key(1, 23), key(12, 3), key(123), key(1, 2, 3)}) == 4


def test_generators_of_neighbouring_keys_are_unlike():
    draws = np.stack([generator("epoch", 0, 0, 0, epoch).random(200) for epoch in range(20)])
    correlations = np.corrcoef(draws) - np.eye(20)
    assert np.abs(correlations).max() < 0.4  # 1/sqrt(200) is 0.07


def test_file_that_fails_to_be_written_stays_as_before_and_alone(tmp_path):
    path = tmp_path / "a" / "file.txt"
    write_text(path, "before")

    def fail() -> None:
        with replacing(path) as temporary:
            temporary.write_text("half")
            raise RuntimeError("broken off")

    with pytest.raises(RuntimeError, match="broken off"):
        fail()
    assert path.read_text() == "before"
    assert list(path.parent.iterdir()) == [path]


def test_file_is_never_seen_half_while_several_write_it(tmp_path):
    path = tmp_path / "file.json"
    write_json(path, {"values": [0] * 5000})
    ended = time.monotonic() + 0.5
    failures: list[BaseException] = []

    def write(number: int) -> None:
        try:
            while time.monotonic() < ended:
                write_json(path, {"values": [number] * 5000})
        except BaseException as error:  # noqa: BLE001 - whatever it is, the test must know
            failures.append(error)

    writers = [threading.Thread(target=write, args=(number,)) for number in (1, 2, 3)]
    for writer in writers:
        writer.start()
    seen = set()
    while time.monotonic() < ended:
        values = json.loads(path.read_text())["values"]
        assert len(values) == 5000
        assert len(set(values)) == 1
        seen.add(values[0])
    for writer in writers:
        writer.join()
    assert failures == []
    assert len(seen) > 1
    assert [p.name for p in tmp_path.iterdir()] == ["file.json"]


def test_file_of_a_table_is_utf8_with_six_digits(tmp_path):
    table = pd.DataFrame({"clip_id": ["Müller, Straße.wav", "b"], "value": [1 / 3, 2.0], "count": [1, 2]})
    write_csv(tmp_path / "t.csv", table)
    expected = 'clip_id,value,count\n"Müller, Straße.wav",0.333333,1\nb,2.000000,2\n'
    assert (tmp_path / "t.csv").read_bytes() == expected.encode()
    write_parquet(tmp_path / "t.parquet", table)
    pd.testing.assert_frame_equal(pd.read_parquet(tmp_path / "t.parquet"), table)


def test_file_of_json_is_readable_and_holds_no_nan(tmp_path):
    write_json(tmp_path / "a.json", {"name": "Müller", "none": None})
    assert (tmp_path / "a.json").read_text(encoding="utf-8") == '{\n  "name": "Müller",\n  "none": null\n}\n'
    with pytest.raises(ValueError, match="not JSON compliant"):
        write_json(tmp_path / "a.json", {"loss": float("nan")})
    assert "Müller" in (tmp_path / "a.json").read_text(encoding="utf-8")


def test_file_is_written_with_its_folders(tmp_path):
    write_text(tmp_path / "deep" / "er" / "file.txt", "x")
    assert Path(tmp_path / "deep" / "er" / "file.txt").read_text() == "x"

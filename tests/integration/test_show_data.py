"""Pictures of recordings and of a data set's lengths, drawn into files."""

from __future__ import annotations

import pandas as pd
import pytest
from matplotlib.image import imread

from audiotag import show
from audiotag.errors import DataError


def test_show_keeps_files_of_one_name_apart_and_names_unreadable_ones(folder, tmp_path, capsys):
    with pytest.raises(DataError, match=r"1 of 4 recordings cannot be read") as caught:
        show.main([str(folder), str(folder / "a.wav"), "--out", str(tmp_path)])
    assert "x/b.wav" in caught.value.problems[0]
    assert sorted(path.name for path in tmp_path.iterdir() if path.name.endswith("a.wav.png")) == [
        f"{folder.name}_a.wav.png", "x_a.wav.png"
    ]  # fmt: skip
    pictures = list(tmp_path.glob("*_a.*.png"))
    assert len(pictures) == 3
    assert all(imread(picture).std() > 0.05 for picture in pictures)
    lengths = pd.read_csv(tmp_path / "lengths.csv")
    assert lengths[["part", "clips", "median", "sum"]].values.tolist() == [["recordings", 3, 1.75, 5.25]]
    assert (tmp_path / "lengths.png").is_file()
    assert "Drawn: 3 of 4" in capsys.readouterr().out


def test_show_draws_the_lengths_of_a_data_set(tmp_path, monkeypatch, capsys):
    from tests.clips import make_folder

    make_folder(tmp_path / "set", lengths_s=(0.1, 0.4))
    monkeypatch.chdir(tmp_path)
    show.main(["data=kaggle", "data.root=set", "hardware.workers=0", "--out", "lengths"])
    table = pd.read_csv("lengths/lengths.csv").set_index("part")
    assert table.loc["train, verified", ["clips", "shortest", "longest", "sum"]].tolist() == [8, 0.1, 0.4, 2.0]
    assert imread("lengths/lengths.png").std() > 0.05
    assert "Longest: 0.400 s" in capsys.readouterr().out

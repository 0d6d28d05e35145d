"""Pictures of recordings: what stands in them, what they are called, and what is said of files that are none."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
from matplotlib.image import imread

from audiotag import show
from audiotag.config import Features
from audiotag.data.store import spectrogram
from audiotag.errors import ConfigError, DataError, RunError
from audiotag.features.audio import trim
from audiotag.inference import pictures
from audiotag.inference.recordings import Recording
from audiotag.plots.recording_plot import PosteriorTrack, draw_recording
from tests.clips import FRONT_ENDS

RATE = 24_000


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Three recordings of a tone between silences, two with the same name, and a file that is none."""
    place = tmp_path_factory.mktemp("show")
    t = np.arange(RATE) / RATE
    wave = np.concatenate([np.zeros(RATE // 2), 0.4 * np.sin(2 * np.pi * 1000 * t), np.zeros(RATE // 4)])
    for name in ("a.wav", "x/a.wav", "a.flac"):
        (place / name).parent.mkdir(exist_ok=True)
        soundfile.write(place / name, wave, RATE)
    (place / "x" / "b.wav").write_text("no sound")
    return place


@pytest.mark.parametrize(("front_end", "trimmed"), [("v1", True), ("v2", False)])
def test_show_draws_sound_spectrogram_and_labels(folder, front_end, trimmed):
    features = Features(front_end=FRONT_ENDS[front_end], trim=trimmed)
    picture, heard = pictures.picture_of(Recording("a.wav", folder / "a.wav", ()), features, None)
    assert heard is None
    wave, rate = soundfile.read(folder / "a.wav", dtype="float32")
    kept = trim(wave, rate)
    begin, end = (kept.start / rate, (kept.start + kept.n_kept) / rate) if trimmed else (0.0, 1.75)
    expected, _ = spectrogram(folder / "a.wav", features)
    np.testing.assert_allclose(picture.spectrogram, expected.T.astype(np.float32), atol=0.1)  # the store has 16 bits

    figure = draw_recording(picture)
    waveform, spectrum = figure.axes[:2]
    assert (waveform.get_ylabel(), spectrum.get_ylabel()) == ("amplitude", "frequency, Hz")
    assert spectrum.get_xlabel() == "time, s"
    assert waveform.get_xlim() == spectrum.get_xlim() == (0, 1.75)
    shaded = [(patch.get_x(), patch.get_x() + patch.get_width()) for patch in waveform.patches]
    assert shaded == ([pytest.approx((0, begin)), pytest.approx((end, 1.75))] if trimmed else [])
    (image,) = spectrum.get_images()
    left, right, _, _ = image.get_extent()
    assert left == pytest.approx(begin)
    assert right == pytest.approx(end, abs=0.05)  # the last frames reach beyond the end
    # The tone stands where the axis says 1,000 Hz.
    row = int(np.asarray(image.get_array())[:, 20:-20].mean(axis=1).argmax())
    ticks = dict(zip([t.get_text() for t in spectrum.get_yticklabels()], spectrum.get_yticks(), strict=True))
    assert ticks["1,000"] == pytest.approx(row, abs=1.5)


def test_show_draws_classes_along_time(folder):
    picture, _ = pictures.picture_of(Recording("a.wav", folder / "a.wav", ()), Features(), None)
    posteriors = np.array([[0.1, 0.7, 0.2], [0.5, 0.3, 0.2]])
    heard = PosteriorTrack(posteriors, np.array([0.5, 0.7]), np.array([1.1, 1.3]), ["Bark", "Meow", "Moo"], "mine")
    figure = draw_recording(picture, heard, top=2)
    along = figure.axes[2]
    assert [label.get_text() for label in along.get_yticklabels()] == ["Meow", "Bark"]
    mesh = along.collections[0]
    np.testing.assert_allclose(np.asarray(mesh.get_array()), [[0.7, 0.3], [0.1, 0.5]])
    np.testing.assert_allclose(np.asarray(mesh.get_coordinates())[0, :, 0], [0.5, 0.9, 1.3])
    assert along.get_xlim() == figure.axes[0].get_xlim()


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


@pytest.mark.parametrize(
    ("arguments", "error", "message"),
    [
        ([], ConfigError, "There is nothing to show"),
        (["{a}", "data=kaggle"], ConfigError, "and nothing else"),
        (["nowhere.wav", "nor_here.wav"], DataError, "nor_here.wav: there is no such file or folder"),
        (["{a}", "run=nobody"], RunError, "is not a run folder"),
        (["data=kagle"], ConfigError, "did you mean kaggle"),
    ],
)
def test_show_refuses_what_cannot_be_shown(folder, tmp_path, monkeypatch, arguments, error, message):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(error, match=message):
        show.main([text.format(a=folder / "a.wav") for text in arguments] + ["--out", "pictures"])
    assert not (tmp_path / "pictures").exists()


def test_show_draws_the_lengths_of_a_data_set(tmp_path, monkeypatch, capsys):
    from tests.clips import make_folder

    make_folder(tmp_path / "set", lengths_s=(0.1, 0.4))
    monkeypatch.chdir(tmp_path)
    show.main(["data=kaggle", "data.root=set", "hardware.workers=0", "--out", "lengths"])
    table = pd.read_csv("lengths/lengths.csv").set_index("part")
    assert table.loc["train, verified", ["clips", "shortest", "longest", "sum"]].tolist() == [8, 0.1, 0.4, 2.0]
    assert imread("lengths/lengths.png").std() > 0.05
    assert "Longest: 0.400 s" in capsys.readouterr().out

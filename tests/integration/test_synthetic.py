"""The embedded data set: same bytes every time, labels as promised, whole or absent."""

from __future__ import annotations

import hashlib
import json
from collections import Counter
from dataclasses import replace
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile

from audiotag.data.sources.synthetic import RATES_HZ, SyntheticSettings, make
from audiotag.data.sources.synthetic_sounds import SOUNDS
from audiotag.errors import AudiotagError
from audiotag.randomness import generator

SMALL = SyntheticSettings(
    seed=3, classes=5, verified_per_class=6, unverified_per_class=20, test_per_class=4, longest_s=1.5
)

TINY = replace(SMALL, verified_per_class=1, unverified_per_class=2, test_per_class=1, longest_s=0.3)


def digests(root: Path) -> dict[str, str]:
    return {
        str(path.relative_to(root)): hashlib.sha256(path.read_bytes()).hexdigest()
        for path in sorted(root.rglob("*"))
        if path.is_file()
    }


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make(tmp_path_factory.mktemp("synthetic") / "set", SMALL)


def train_with_truth(root: Path) -> pd.DataFrame:
    truth = pd.read_csv(root / "truth.csv").rename(columns={"label": "truth"})
    return pd.read_csv(root / "train.csv").merge(truth, on="fname", validate="one_to_one")


def test_synthetic_set_is_the_same_by_settings_and_another_by_seed(tmp_path: Path) -> None:
    first = digests(make(tmp_path / "first", TINY))
    assert digests(make(tmp_path / "again", TINY)) == first
    other = digests(make(tmp_path / "other", replace(TINY, seed=4)))
    shared = (set(other) & set(first)) - {"synthetic.json"}
    assert shared == {"train.csv", "test_post_competition.csv", "truth.csv"}
    assert not set(other.values()) & set(first.values())


def test_synthetic_tables_have_the_layout_and_counts(made: Path) -> None:
    train, test = pd.read_csv(made / "train.csv"), pd.read_csv(made / "test_post_competition.csv")
    assert list(train.columns) == ["fname", "label", "manually_verified"]
    assert list(test.columns) == ["fname", "label", "usage"]
    names = list(SOUNDS)[:5]
    assert Counter(zip(train["label"], train["manually_verified"], strict=True)) == {
        **{(name, 1): 6 for name in names},
        **{(name, 0): 20 for name in names},
    }
    assert Counter(zip(test["label"], test["usage"], strict=True)) == {
        **{(name, "Public"): 1 for name in names},
        **{(name, "Private"): 3 for name in names},
    }
    assert {path.name for path in (made / "audio_train").iterdir()} == set(train["fname"])
    assert {path.name for path in (made / "audio_test").iterdir()} == set(test["fname"])


@pytest.mark.parametrize(("share", "wrong"), [(0.3, 6), (0.0, 0), (0.33, 7)])
def test_synthetic_wrong_labels_are_exactly_as_many_as_promised(tmp_path: Path, share: float, wrong: int) -> None:
    settings = replace(TINY, unverified_per_class=20, test_per_class=0, wrong_share=share)
    table = train_with_truth(make(tmp_path / "set", settings))
    verified, unverified = table[table["manually_verified"] == 1], table[table["manually_verified"] == 0]
    assert (verified["label"] == verified["truth"]).all()
    mistaken = unverified[unverified["label"] != unverified["truth"]]
    names = list(SOUNDS)[:5]
    assert Counter(mistaken["truth"]) == {name: wrong for name in names if wrong}
    assert Counter(mistaken["label"]) == {name: wrong for name in names if wrong}


def test_synthetic_truth_covers_every_clip_and_test_labels_are_true(made: Path) -> None:
    truth = pd.read_csv(made / "truth.csv").set_index("fname")["label"]
    test = pd.read_csv(made / "test_post_competition.csv")
    train = pd.read_csv(made / "train.csv")
    assert sorted(truth.index) == sorted([*train["fname"], *test["fname"]])
    assert (truth.loc[test["fname"]].to_numpy() == test["label"].to_numpy()).all()


def test_synthetic_files_are_mixed_readable_and_within_the_lengths(made: Path) -> None:
    infos = [soundfile.info(path) for path in sorted(made.glob("audio_*/*"))]
    kinds = Counter((info.format, info.subtype) for info in infos)
    assert set(kinds) == {("WAV", "PCM_16"), ("FLAC", "PCM_16"), ("WAV", "FLOAT")}
    assert min(kinds.values()) >= 10
    assert {info.samplerate for info in infos} == set(RATES_HZ)
    assert {info.channels for info in infos} == {1, 2}
    seconds = [info.duration for info in infos]
    assert min(seconds) >= SMALL.shortest_s - 1e-3
    assert max(seconds) <= SMALL.longest_s
    assert min(seconds) < 0.4
    assert max(seconds) > 1.2


def test_synthetic_clips_are_sound_with_quiet_margins_at_mixed_levels(made: Path) -> None:
    peaks, margins = [], []
    for path in sorted(made.glob("audio_*/*")):
        samples, rate = soundfile.read(path, always_2d=True)
        assert np.isfinite(samples).all(), path.name
        peak = np.abs(samples).max()
        peaks.append(20 * np.log10(peak))
        # Silence as the original trims it: the root mean square of 1/50 s under 0.15 % of full scale at peak 1.
        loud = [np.sqrt(np.mean(samples[at : at + rate // 50] ** 2)) > 0.0015 * peak for at in (0, -(rate // 50) - 1)]
        margins.append(not all(loud))
    assert min(peaks) < -24
    assert max(peaks) > -4
    assert max(peaks) <= 0
    assert 0.6 < np.mean(margins) < 1


def test_synthetic_sounds_are_audible_at_every_length_and_rate() -> None:
    for name, sound in SOUNDS.items():
        for i in range(40):
            rng = generator("test", name, i)
            rate, seconds = int(rng.choice(RATES_HZ)), rng.uniform(0.02, 0.5)
            wave = sound(rng, int(rate * seconds), rate)
            assert wave.shape == (int(rate * seconds),), name
            assert np.isfinite(wave).all(), name
            assert np.abs(wave).max() > 0.05, (name, i)


def test_synthetic_set_that_is_whole_is_not_made_again(made: Path) -> None:
    before = {path: path.stat().st_mtime_ns for path in made.rglob("*")}
    calls: list[int] = []
    assert make(made, SMALL, calls.append) == made
    assert calls == []
    assert {path: path.stat().st_mtime_ns for path in made.rglob("*")} == before


def test_synthetic_set_fills_an_empty_folder_and_counts_every_clip(tmp_path: Path) -> None:
    (tmp_path / "set").mkdir()
    calls: list[int] = []
    root = make(tmp_path / "set", TINY, calls.append)
    assert sum(calls) == json.loads((root / "synthetic.json").read_text())["clips"] == 20


def test_synthetic_set_of_other_settings_is_refused_by_name(made: Path) -> None:
    with pytest.raises(AudiotagError, match=r"seed is 3 there, 9 asked; mixed_share is 0\.15 there, 0\.2 asked"):
        make(made, replace(SMALL, seed=9, mixed_share=0.2))


def test_synthetic_set_leaves_a_folder_with_something_else(tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("mine")
    with pytest.raises(AudiotagError, match="holds something else"):
        make(tmp_path, SMALL)
    assert (tmp_path / "notes.txt").read_text() == "mine"


def test_synthetic_set_that_lost_a_clip_is_refused(tmp_path: Path) -> None:
    root = make(tmp_path / "set", TINY)
    next((root / "audio_test").iterdir()).unlink()
    with pytest.raises(AudiotagError, match="19 of its 20 clips"):
        make(root, TINY)

"""predict.py on a real run: what it hears, what it writes, what it scores, and what it says when it cannot."""

from __future__ import annotations

import json
import re
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch
from omegaconf import OmegaConf
from rich.progress import Progress

from audiotag.config import Features, Hardware, PredictConfig
from audiotag.config.schema import validate
from audiotag.data import store
from audiotag.distributed.hardware import choose_precision
from audiotag.errors import AudiotagError, ConfigError, DataError, LeakError, RunError
from audiotag.features import audio, spectrogram
from audiotag.inference import spectrograms
from audiotag.inference.predict import predict
from audiotag.inference.recordings import Recording, check_no_leak, split_recordings
from audiotag.inference.spectrograms import SpectrogramStream, WindowSpec, cut_windows, place_windows
from audiotag.inference.tagging import Networks, label, load_networks
from audiotag.models.vgg_gap import VggGap
from audiotag.run.folder import RunFolder
from tests.conftest import copy_to_change
from tests.programs import run_program

HERE = Hardware(workers=0, threads=1)  # quick beside other work, and equal to the bit
FOLDS = (0, 1, 2, 3)
# In float32, PyTorch computes a window that has a pass to itself by other kernels.
ROUNDING = 0 if choose_precision(HERE) == "bf16-mixed" else 1e-5
pytestmark = pytest.mark.usefixtures("smoke_run", "in_work_folder")


@pytest.fixture(scope="module")
def folder(smoke_run: Path) -> RunFolder:
    return RunFolder(smoke_run)


@pytest.fixture(scope="module")
def networks(folder: RunFolder) -> Networks:
    return networks_of(folder, HERE)


@pytest.fixture
def copied(smoke_run: Path, tmp_path: Path) -> Path:
    """A run to change: 6 Public, 4 Private, 4 Ignored test clips, these without labels, and 2 marked as nothing."""
    copy = copy_to_change(smoke_run, tmp_path / "runs" / "copied")
    manifest = pd.read_csv(copy / "manifest.csv", dtype=str, keep_default_na=False)
    test = manifest.index[manifest["split"] == "test"]
    manifest.loc[test, "usage"] = ["Public"] * 6 + ["Private"] * 4 + ["Ignored"] * 4 + [""] * 2
    manifest.loc[test[10:14], "label"] = ""
    manifest.to_csv(copy / "manifest.csv", index=False)
    return copy


def best(folder: RunFolder) -> int:
    return int(json.loads(folder.summary_file.read_text())["best_round"])


def networks_of(folder: RunFolder, hardware: Hardware, round_: int | None = None) -> Networks:
    return Networks(load_networks(folder, best(folder) if round_ is None else round_, FOLDS), hardware)


def manifest_of(run: Path) -> pd.DataFrame:
    return pd.read_csv(run / "manifest.csv", dtype=str, keep_default_na=False).set_index("clip_id")


def run_predict(run: Path, **settings: Any) -> pd.DataFrame:
    return pd.read_csv(predict(PredictConfig(run=str(run), hardware=HERE, **settings)))


def sound(path: Path, seconds: float, rate_hz: int = 44_100, level: float = 0.5, seed: int = 0) -> Path:
    """Write a sound that changes: a chirp in noise, loud throughout."""
    path.parent.mkdir(parents=True, exist_ok=True)
    t = np.arange(round(seconds * rate_hz)) / rate_hz
    wave = np.sin(2 * np.pi * (300 + 200 * np.sin(0.7 * t)) * t) + np.random.default_rng(seed).uniform(-1, 1, len(t))
    soundfile.write(path, level / 2 * wave, rate_hz)
    return path


def ask(networks: Networks, path: Path, spec: WindowSpec) -> np.ndarray:
    labelled = label([Recording(path.name, path, FOLDS)], [(spec, networks)])
    assert labelled.problems == []
    return np.mean(list(labelled.posteriors[0].values()), axis=0)


def reference(folder: RunFolder, fold: int, windows: torch.Tensor, precision: str = "") -> np.ndarray:
    """Posteriors (B, C) of one fold's network for windows (B, 1, F, T), loaded and asked as the Trainer does."""
    network = VggGap(len(folder.classes), folder.config.model.network["width"]).to(memory_format=torch.channels_last)
    file = folder.path / f"round{best(folder):02d}" / f"fold{fold}" / "best.ckpt"
    state = torch.load(file, weights_only=True)["state_dict"]
    network.load_state_dict({name.split(".", 1)[1]: value for name, value in state.items()})
    is_mixed = (precision or choose_precision(HERE)) == "bf16-mixed"
    with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, is_mixed):
        return network.eval()(windows).softmax(dim=1).double().numpy()


# What is heard


def test_predict_gives_exactly_what_validation_computes_from_the_store(
    folder: RunFolder, networks: Networks, work_folder: Path
) -> None:
    features = folder.config.features
    named = (work_folder / "cache" / "stores").glob(f"{features.title}-*")
    held = [f for f in named if (f / "store.json").is_file()]
    stores = [store.Store(f) for f in held]
    clips = folder.train[folder.train["verified"]]
    whole = next(s for s in stores if set(clips["content_hash"]) <= set(s.index.index))
    lengths = whole.index["frames"].loc[clips["content_hash"]].to_numpy()
    assert (lengths < features.clip_frames).any()
    assert (lengths > features.clip_frames).any()
    some = clips.iloc[np.argsort(lengths)[[0, 1, len(clips) // 2, -2, -1]]]
    recordings = [r for r in split_recordings(folder, "valid", None, FOLDS, None).recordings if r.fname in some.index]
    labelled = label(recordings, [(WindowSpec(features, cut=True), networks)], lambda r, key: key[1] in r.folds)
    for recording, posteriors in zip(labelled.recordings, labelled.posteriors, strict=True):
        clip = some.loc[[recording.fname]]
        assert recording.folds == (int(clip["fold"].iloc[0]),)
        row = torch.from_numpy(whole.rows(clip).copy())
        x = whole.excerpts.crop(row, torch.zeros_like(row), features.clip_frames)
        found, expected = posteriors[0, recording.folds[0]], reference(folder, recording.folds[0], x)
        np.testing.assert_allclose([found], expected, rtol=0, atol=ROUNDING)


def test_predict_scores_validation_as_training_did(folder: RunFolder, tmp_path: Path) -> None:
    table = run_predict(folder.path, split="valid", out=str(tmp_path / "p.csv"), top=8)
    scores = json.loads((tmp_path / "scores.json").read_text())
    clips = folder.train[folder.train["verified"]]
    assert set(table["fname"]) == set(clips.index)
    assert scores["clips"] == len(clips)
    labels = table["fname"].map(clips["label"])
    right = table.filter(like="label_").eq(labels, axis=0).to_numpy()
    losses = -np.log(table.filter(like="probability_").to_numpy()[right])
    for fold in FOLDS:
        status = json.loads((folder.path / f"round{best(folder):02d}" / f"fold{fold}" / "status.json").read_text())
        own = table["fname"].map(clips["fold"]) == fold
        # Validation computes batches, in bfloat16 where there is one: a label may change, the loss hardly.
        assert losses[own].mean() == pytest.approx(status["valid_loss"], abs=5e-3)
        assert scores["folds"][fold]["accuracy"] == pytest.approx(status["valid_accuracy"], abs=1.5 / own.sum())


def test_predict_asks_no_fold_that_a_clip_was_trained_on(folder: RunFolder) -> None:
    recordings = split_recordings(folder, "valid", None, FOLDS, None).recordings
    check_no_leak(folder, recordings, round_=2)
    other = Recording(recordings[0].fname, recordings[0].path, ((recordings[0].folds[0] + 1) % 4,))
    with pytest.raises(LeakError, match="was trained on"):
        check_no_leak(folder, [*recordings, other], round_=2)


@pytest.mark.parametrize("n_frames", [1, 191, 192, 193, 383, 384, 400, 10_000])
def test_windows_count_every_frame_of_a_recording_once(n_frames: int) -> None:
    windows = place_windows(n_frames, WindowSpec(Features(excerpt_frames=64, clip_frames=192)))
    assert windows.length == 192
    assert windows.weights.sum() == pytest.approx(1)
    if n_frames <= 192:
        assert windows.starts.tolist() == [0]
    else:
        assert windows.starts[-1] + 192 == n_frames
        new = np.diff(np.append(np.minimum(windows.starts, n_frames) + 192, 0))[:-1]
        np.testing.assert_allclose(windows.weights, np.append(192, new) / n_frames)


def test_windows_are_evenly_spaced_from_the_first_frame_to_the_last() -> None:
    features = Features(excerpt_frames=64, clip_frames=192)
    assert place_windows(1000, WindowSpec(features, excerpts=3)).starts.tolist() == [0, 468, 936]
    assert place_windows(1000, WindowSpec(features, excerpts=3, cut=True)).starts.tolist() == [0, 64, 128]
    assert place_windows(50, WindowSpec(features, excerpts=3)).starts.tolist() == [0, 64, 128]
    assert place_windows(1000, WindowSpec(features, excerpts=1)).starts.tolist() == [468]
    assert place_windows(1000, WindowSpec(features, excerpts=3)).length == 64


@pytest.mark.parametrize("piece", [1, 7, 100, 5000])
@pytest.mark.parametrize("spec", [WindowSpec(Features(excerpt_frames=64, clip_frames=192), k) for k in (0, 1, 5, 40)])
@pytest.mark.parametrize("n_frames", [10, 192, 600, 1001])
def test_windows_are_cut_from_pieces_of_any_size(n_frames: int, spec: WindowSpec, piece: int) -> None:
    frames = np.arange(n_frames, dtype=np.float16)[:, None].repeat(2, axis=1)
    windows = place_windows(n_frames, spec)
    pieces = (frames[at : at + piece] for at in range(0, n_frames, piece))
    expected = [frames[np.arange(s, s + windows.length) % n_frames] for s in windows.starts]
    np.testing.assert_array_equal(list(cut_windows(pieces, n_frames, windows)), expected)


def test_predict_takes_the_mean_of_a_long_recordings_windows_by_frames(
    folder: RunFolder, networks: Networks, tmp_path: Path
) -> None:
    path, clip_frames = sound(tmp_path / "a.wav", 3), folder.config.features.clip_frames
    frames = torch.from_numpy(store.spectrogram(path, folder.config.features)[0]).float().T[None, None]  # (1, 1, F, T)
    n_frames = frames.shape[-1]
    rest = n_frames % clip_frames
    starts = [*range(0, n_frames - rest, clip_frames), n_frames - clip_frames]
    assert len(starts) == 3
    weights = [clip_frames, clip_frames, rest]
    total = np.sum(
        [
            w * reference(folder, f, frames[..., s : s + clip_frames])[0]
            for f in FOLDS
            for s, w in zip(starts, weights, strict=True)
        ],
        axis=0,
    )
    np.testing.assert_allclose(
        ask(networks, path, WindowSpec(folder.config.features)), total / n_frames / 4, atol=1e-12
    )
    first = np.mean([reference(folder, f, frames[..., :clip_frames])[0] for f in FOLDS], axis=0)
    np.testing.assert_allclose(ask(networks, path, WindowSpec(folder.config.features, cut=True)), first, atol=1e-12)


def test_predict_averages_excerpts(folder: RunFolder, tmp_path: Path) -> None:
    features = Features(excerpt_frames=192, clip_frames=400)  # two excerpts make a pass
    networks = networks_of(folder, Hardware(precision="32-true"))
    path = sound(tmp_path / "a.wav", 3)
    frames = torch.from_numpy(store.spectrogram(path, features)[0]).float().T[None, None]
    starts = np.rint(np.linspace(0, frames.shape[-1] - 192, 3)).astype(int)
    alone = [reference(folder, f, frames[..., s : s + 192], "32-true") for f in FOLDS for s in starts]
    np.testing.assert_allclose(
        ask(networks, path, WindowSpec(features, excerpts=3)), np.mean(alone, axis=0)[0], atol=1e-6
    )


@pytest.mark.parametrize("name", ["a.wav", "a.flac", "a.mp3"])
@pytest.mark.parametrize("settings", [{}, {"cut": True}, {"excerpts": 4}])
def test_predict_gives_in_pieces_what_it_gives_whole(
    folder: RunFolder, networks: Networks, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, settings: Any
) -> None:
    path, spec = sound(tmp_path / name, 14), WindowSpec(folder.config.features, **settings)
    assert not spectrograms.is_long(path)
    whole = ask(networks, path, spec)
    monkeypatch.setattr(spectrograms, "WHOLE_S", 1)
    monkeypatch.setattr(spectrogram, "WHOLE_S", 1)
    monkeypatch.setattr(audio, "HELD_SAMPLES", 0)  # nothing is decoded once, or computed, whole
    np.testing.assert_allclose(ask(networks, path, spec), whole, atol=1e-5)


def test_predict_says_of_a_recording_what_it_says_without_the_others(
    folder: RunFolder, networks: Networks, monkeypatch: pytest.MonkeyPatch
) -> None:
    def stream(n_frames: int, breaks_off: bool = False) -> SpectrogramStream:
        frames = np.random.default_rng(n_frames).normal(-20, 10, (n_frames, 128)).astype(np.float16)

        def pieces() -> Iterator[np.ndarray]:
            yield frames[: n_frames // 2]
            if breaks_off:
                raise audio.AudioError("it breaks off")
            yield frames[n_frames // 2 :]

        return SpectrogramStream(n_frames, pieces(), silent=n_frames == 30)

    passes: list[int] = []
    spec, keys, ask_one = WindowSpec(folder.config.features), list(networks.by_key), networks._posteriors
    monkeypatch.setattr(networks, "_posteriors", lambda one, x: passes.append(len(x)) or ask_one(one, x))
    lengths = [30, 500, 192 * 40 + 5, 100, 90]
    unreadable = audio.AudioError("it cannot be read")
    streams = [*map(stream, lengths[:2]), unreadable, stream(1000, breaks_off=True), *map(stream, lengths[2:])]
    heard = list(networks.hear(streams, spec, keys, lambda window, n_windows: None))
    assert sum(passes) == len(keys) * (1 + 3 + 2 + 41 + 1 + 1)
    assert len(passes) == len(keys) * 4  # 16 windows each, as many frames as PASS_FRAMES
    assert [str(one) for one in heard if isinstance(one, audio.AudioError)] == ["it cannot be read", "it breaks off"]
    assert heard[2] is unreadable
    assert [one[1] for one in heard if not isinstance(one, audio.AudioError)] == [True, False, False, False, False]
    for n_frames, (answers, _) in zip(lengths, heard[:2] + heard[4:], strict=True):
        alone = networks.posteriors(stream(n_frames), spec, keys)
        for key in keys:
            np.testing.assert_allclose(answers[key], alone[key], rtol=0, atol=ROUNDING)


MEASURE = """
import resource, sys, torch
from pathlib import Path
from audiotag.config import Hardware
from audiotag.run.folder import RunFolder
from audiotag.features import audio, spectrogram
from audiotag.inference import spectrograms
from audiotag.inference.recordings import Recording
from audiotag.inference.tagging import Networks, label, load_networks
from audiotag.inference.spectrograms import WindowSpec
folder = RunFolder(Path(sys.argv[1]))
networks = Networks(load_networks(folder, 0, [0]), Hardware(workers=0))
spectrograms.WHOLE_S = spectrogram.WHOLE_S = audio.HELD_SAMPLES = 0
torch.set_num_threads(1)
for path in sys.argv[2:]:
    labelled = label([Recording("", Path(path), (0,))], [(WindowSpec(folder.config.features), networks)])
    assert labelled.posteriors[0][0, 0].shape == (len(folder.classes),), labelled.problems
    print(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss // 1024)
"""


def test_predict_memory_does_not_grow_with_the_recording(smoke_run: Path, tmp_path: Path) -> None:
    paths = [str(sound(tmp_path / f"{seconds}.wav", seconds, rate_hz=8_000)) for seconds in (20, 200)]
    code, output = run_program(f"-c {MEASURE}", [str(smoke_run), *paths], tmp_path)
    assert code == 0, output
    short_mib, long_mib = map(int, output.split()[-2:])
    assert long_mib - short_mib < 30  # whole, the longer one takes about 500 more


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed", "bf16-true", "64-true"])
@pytest.mark.parametrize("channels_last", [None, False])
def test_predict_agrees_over_precisions_and_memory_layouts(
    folder: RunFolder, tmp_path: Path, precision: str, channels_last: bool | None
) -> None:
    path, spec = sound(tmp_path / "a.wav", 1), WindowSpec(folder.config.features)
    exact = ask(networks_of(folder, Hardware(precision="32-true"), 0), path, spec)
    hardware = Hardware(precision=precision, channels_last=channels_last)
    other = ask(networks_of(folder, hardware, 0), path, spec)
    np.testing.assert_allclose(other, exact, atol=0.02 if "bf16" in precision else 1e-5)


def test_predict_labels_silence_and_sounds_of_a_moment(
    folder: RunFolder, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    here = tmp_path / "in"
    sound(here / "moment.wav", 0.005)
    soundfile.write(here / "sample.wav", np.full(1, 0.5), 32_000)
    soundfile.write(here / "silent.wav", np.zeros(40_000), 22_050)
    soundfile.write(here / "stereo.flac", np.random.default_rng(0).uniform(-0.5, 0.5, (30_000, 2)), 48_000)
    table = run_predict(folder.path, source=str(here), out=str(tmp_path / "p.csv"), top=8)
    assert table["fname"].tolist() == ["moment.wav", "sample.wav", "silent.wav", "stereo.flac"]
    np.testing.assert_allclose(table.filter(like="probability_").sum(axis=1), 1, atol=1e-5)
    assert "too short a time: 3 of them, moment.wav, sample.wav, silent.wav\n" in capsys.readouterr().out


# Which networks are asked


def test_predict_averages_the_folds_of_the_best_round(folder: RunFolder, tmp_path: Path) -> None:
    def ordered(**settings: Any) -> pd.DataFrame:
        table = run_predict(folder.path, source=str(path), out=str(tmp_path / "p.csv"), top=8, **settings)
        values = {table[f"label_{k}"][0]: table[f"probability_{k}"][0] for k in range(1, 9)}
        return pd.Series(values)[folder.classes]

    path = sound(tmp_path / "a.wav", 1)
    together = ordered()
    assert ordered(round=str(best(folder))).equals(together)
    alone = [ordered(fold=fold) for fold in FOLDS]
    np.testing.assert_allclose(np.mean(alone, axis=0), together, atol=2e-6)
    assert not np.allclose(alone[0], alone[1], atol=1e-3)
    assert ordered(round="last").equals(ordered(round="2"))
    assert not ordered(round="0").equals(ordered(round="2"))


# What is written and scored


def test_predict_labels_and_scores_test_clips(copied: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Every figure of scores.json, counted again from predictions.csv and the manifest."""
    manifest = manifest_of(copied)
    test = manifest[manifest["split"] == "test"]
    expected_clips = {None: 12, "public": 6, "private": 4, "private_public": 10}
    tables = {}
    for usage, clips in expected_clips.items():
        table = run_predict(copied, split="test", usage=usage)
        where = copied / "predict" / ("test" if usage is None else f"test-{usage}")
        tables[usage] = (where / "predictions.csv").read_text(encoding="utf-8")
        scores = json.loads((where / "scores.json").read_text(encoding="utf-8"))
        assert (scores["usage"], scores["clips"]) == (usage, clips)
        in_usage = test["usage"].str.lower().isin(usage.split("_")) if usage else test["label"] != ""
        scored = table[table["fname"].isin(test.index[(test["label"] != "") & in_usage])]
        assert len(scored) == clips
        truth = scored["fname"].map(test["label"])
        ranks = sum((scored[f"label_{k}"] == truth) / k for k in (1, 2, 3))
        assert scores["map@3"] == pytest.approx(ranks.mean(), abs=1e-6)
        assert scores["accuracy"] == pytest.approx((scored["label_1"] == truth).mean(), abs=1e-6)
        for row in scores["per_class"]:
            own, said = truth == row["label"], scored["label_1"] == row["label"]
            assert row["count"] == own.sum()
            assert row["recall"] == pytest.approx((own & said).sum() / max(1, own.sum()), abs=1e-6)
            assert row["precision"] == pytest.approx((own & said).sum() / max(1, said.sum()), abs=1e-6)
        assert [row["label"] for row in scores["per_class"]] == sorted(set(manifest["label"]) - {""})
        assert len(pd.read_csv(where / "per_class.csv")) == 8
    assert len(set(tables.values())) == 1, "usage says what is scored, not what is predicted"
    lines = tables[None].splitlines()
    assert lines[0] == "fname,label_1,probability_1,label_2,probability_2,label_3,probability_3"
    assert [line.split(",")[0] for line in lines[1:]] == list(test.index)
    assert all(len(value.split(".")[1]) == 6 for line in lines[1:] for value in line.split(",")[2::2])
    shown = capsys.readouterr().out
    assert "LABEL" in shown
    assert "Overall accuracy" in shown


def test_predict_scores_a_split_with_a_worker_process(
    smoke_run: Path, program: Callable[..., str], tmp_path: Path
) -> None:
    beside = ("hardware.workers=1", "hardware.threads=1")
    output = program("predict.py", "run=smoke", "split=test", f"out={tmp_path}/two/p.csv", *beside, "top=2")
    assert "MAP@3" in output
    run_predict(smoke_run, split="test", out=str(tmp_path / "one" / "p.csv"), top=2)
    for name in ("p.csv", "scores.json", "per_class.csv"):
        assert (tmp_path / "one" / name).read_bytes() == (tmp_path / "two" / name).read_bytes()


def test_predict_finds_a_moved_data_set_where_root_says(copied: Path, work_folder: Path, tmp_path: Path) -> None:
    config = (copied / "config.yaml").read_text().partition("\n")[2]
    changed = re.sub(r"root: .*", "root: gone", config.replace("synthetic.Synthetic", "kaggle.Kaggle"))
    (copied / "config.yaml").write_text(changed)
    with pytest.raises(DataError, match="16 of 16 recordings of the split are missing") as caught:
        run_predict(copied, split="test")
    assert "root=DIR" in str(caught.value)
    data = next((work_folder / "cache").glob("synthetic-*/audio_test")).parent
    shutil.copytree(data / "audio_test", tmp_path / "moved" / "audio_test")
    assert len(run_predict(copied, split="test", root=str(tmp_path / "moved"))) == 16
    gone = sorted((tmp_path / "moved" / "audio_test").iterdir())[3:5]
    for path in gone:
        path.unlink()
    with pytest.raises(DataError) as caught:
        run_predict(copied, split="test", root=str(tmp_path / "moved"))
    assert caught.value.problems == [f"{path}: there is no such file" for path in gone]


def test_predict_scores_no_split_with_a_damaged_clip(copied: Path, work_folder: Path, tmp_path: Path) -> None:
    data = next((work_folder / "cache").glob("synthetic-*/audio_test")).parent
    shutil.copytree(data / "audio_test", tmp_path / "moved" / "audio_test")
    path = min((tmp_path / "moved" / "audio_test").iterdir())
    path.write_bytes(path.read_bytes()[:100])
    with pytest.raises(DataError, match=f"1 of 16 clips of the split cannot be read(.|\n)*{path.name}"):
        run_predict(copied, split="test", root=str(tmp_path / "moved"))
    assert not list((copied / "predict").rglob("*.*"))


# Files and folders


def test_predict_searches_a_folder_and_reports_its_bad_files(
    smoke_run: Path, program: Callable[..., str], tmp_path: Path
) -> None:
    here = tmp_path / "in"
    for name in ("b.wav", "sub/ä, [x].FLAC", "sub/deep/c.ogg", "d.mp3", "e.aiff", "f.au"):
        sound(here / name, 0.3)
    (here / "bad.wav").write_text("no audio")
    soundfile.write(here / "sub" / "nan.wav", np.array([0, np.nan]), 8_000, subtype="FLOAT")
    (here / "notes.txt").write_text("no audio either")
    (here / ".hidden.wav").write_text("of another system")
    (here / "sub" / "back").symlink_to(here)
    output = program("predict.py", "run=smoke", f"source={here}", f"out={tmp_path}/out/p.csv", expected=2)
    written = pd.read_csv(tmp_path / "out" / "p.csv")
    assert sorted(written["fname"]) == sorted(["b.wav", "d.mp3", "e.aiff", "f.au", "sub/deep/c.ogg", "sub/ä, [x].FLAC"])
    assert [path.name for path in (tmp_path / "out").iterdir()] == ["p.csv"]
    flat = " ".join(output.split())
    assert "passed over: 2" in flat
    assert "2 of 8 recordings cannot be read" in flat
    assert f"{here}/bad.wav: cannot be decoded" in flat
    assert f"{here}/sub/nan.wav: holds samples that are not finite" in flat
    assert "Traceback" not in output


def test_predict_names_files_by_their_names(folder: RunFolder, tmp_path: Path) -> None:
    paths = [sound(tmp_path / name, 0.3, seed=seed) for seed, name in enumerate(["x/b.wav", "y/a.wav", "z.bin.wav"])]
    out = str(tmp_path / "p.csv")
    table = run_predict(folder.path, source=[str(path) for path in paths], out=out, top=1)
    assert table["fname"].tolist() == ["b.wav", "a.wav", "z.bin.wav"]
    assert list(table.columns) == ["fname", "label_1", "probability_1"]
    with pytest.raises(DataError) as caught:
        run_predict(folder.path, source=[str(tmp_path / "x"), str(paths[0]), str(paths[1])], out=out)
    assert len(caught.value.problems) == 1
    assert caught.value.problems[0].startswith(f"{paths[0]} and {paths[0]}: all would be called b.wav")


def test_predict_puts_predictions_of_a_source_below_the_run(copied: Path, tmp_path: Path) -> None:
    run_predict(copied, source=str(sound(tmp_path / "a.wav", 0.3)))
    assert [path.name for path in (copied / "predict").iterdir()] == ["predictions.csv"]


# What cannot be done


def source_of(tmp_path: Path) -> dict[str, str]:
    return {"source": str(sound(tmp_path / "a.wav", 0.3)), "out": str(tmp_path / "out" / "p.csv")}


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({"round": "3"}, "round=3: .* has no such round.*complete are: 0, 1, 2"),
        ({"fold": 4}, "fold=4: .* has the folds 0 to 3"),
        ({"top": 9}, "top=9: .* knows 8 classes only"),
        ({"out": "."}, "out=. is a folder"),
        ({"hardware": Hardware(accelerator="gpu")}, "no GPU"),
    ],
)
def test_predict_refuses_settings_that_do_not_fit_the_run(
    folder: RunFolder, tmp_path: Path, settings: dict[str, Any], says: str
) -> None:
    if "hardware" in settings and torch.cuda.is_available():
        pytest.skip("there is a GPU")
    with pytest.raises(AudiotagError, match=says):
        predict(PredictConfig(run=str(folder.path), **source_of(tmp_path) | settings))
    assert not list((tmp_path / "out").glob("*"))


def test_predict_refuses_a_run_that_does_not_exist(smoke_run: Path, tmp_path: Path) -> None:
    with pytest.raises(RunError, match=r"there are: .*smoke"):
        run_predict(smoke_run.parent / "smokey", **source_of(tmp_path))


def test_predict_refuses_an_unfinished_run_or_asks_for_what_it_has(copied: Path, tmp_path: Path) -> None:
    (copied / "summary.json").unlink()
    with pytest.raises(RunError, match=r"no best round yet(.|\n)*complete are: 0, 1, 2"):
        run_predict(copied, **source_of(tmp_path))
    (copied / "round02" / "fold1" / "status.json").unlink()
    with pytest.raises(RunError, match=r"round=2: (.|\n)*complete are: 0, 1"):
        run_predict(copied, round="2", **source_of(tmp_path))
    last = run_predict(copied, round="last", **source_of(tmp_path))
    pd.testing.assert_frame_equal(last, run_predict(copied, round="1", **source_of(tmp_path)))
    assert len(run_predict(copied, round="2", fold=0, **source_of(tmp_path))) == 1
    for status in copied.rglob("status.json"):
        status.unlink()
    with pytest.raises(RunError, match="no round is complete yet"):
        run_predict(copied, round="last", **source_of(tmp_path))


def test_predict_names_missing_and_damaged_weights(copied: Path, tmp_path: Path) -> None:
    weights = copied / "round00" / "fold1" / "best.ckpt"
    weights.write_bytes(weights.read_bytes()[:1000])
    with pytest.raises(RunError, match=r"fold1/best\.ckpt: the weights cannot be read"):
        run_predict(copied, round="0", **source_of(tmp_path))
    weights.unlink()
    with pytest.raises(RunError, match=r"fold1/best\.ckpt is missing"):
        run_predict(copied, round="0", **source_of(tmp_path))


def test_predict_names_all_missing_sources_before_any_work(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "empty").mkdir()
    (tmp_path / "empty" / "notes.txt").write_text("")
    here = source_of(tmp_path)
    places = [str(tmp_path / "typo.wav"), here["source"], str(tmp_path / "empty"), str(tmp_path / "nowhere")]
    with pytest.raises(DataError) as caught:
        run_predict(folder.path, source=places, out=here["out"])
    assert caught.value.problems == [
        f"{places[0]}: there is no such file or folder",
        f"{places[2]}: there is no recording in this folder (1 other files)",
        f"{places[3]}: there is no such file or folder",
    ]
    assert not Path(here["out"]).exists()


def test_predict_refuses_a_named_file_that_is_not_a_recording(folder: RunFolder, tmp_path: Path) -> None:
    (tmp_path / "notes.txt").write_text("no audio")
    with pytest.raises(DataError, match=r"None of the recordings can be read(.|\n)*notes.txt"):
        run_predict(folder.path, source=str(tmp_path / "notes.txt"), out=str(tmp_path / "out" / "p.csv"))
    assert not (tmp_path / "out").exists()


def test_predict_refuses_parts_of_the_test_set_that_are_not_there(copied: Path) -> None:
    manifest = pd.read_csv(copied / "manifest.csv", dtype=str, keep_default_na=False)
    manifest.loc[manifest["usage"] == "Private", "usage"] = "Hidden"
    manifest.to_csv(copied / "manifest.csv", index=False)
    with pytest.raises(DataError, match=r"usage=private: (.|\n)*Public: 6 clips, Hidden: 4 clips"):
        run_predict(copied, split="test", usage="private")
    manifest[manifest["split"] == "train"].to_csv(copied / "manifest.csv", index=False)
    with pytest.raises(DataError, match="has no test clips"):
        run_predict(copied, split="test")


def test_predict_validates_no_networks_trained_on_everything(copied: Path) -> None:
    text = (copied / "config.yaml").read_text().partition("\n")[2]
    changed = text.replace("train_on_all: false", "train_on_all: true").replace(
        "\nfinetune_rounds: 2", "\nfinetune_rounds: 0"
    )
    (copied / "config.yaml").write_text(changed)
    with pytest.raises(RunError, match="train_on_all=true: no clip was held out"):
        run_predict(copied, split="valid")


@pytest.mark.parametrize(
    ("settings", "says"),
    [
        ({}, "either source=FILE_OR_FOLDER or split=test"),
        ({"source": "a", "split": "test"}, "either source"),
        ({"source": []}, "does not name a path"),
        ({"source": "a", "usage": "public"}, "usage= belongs to split=test"),
        ({"split": "valid", "usage": "public"}, "usage= belongs to split=test"),
        ({"source": "a", "root": "b"}, "root= belongs to split="),
        ({"split": "tset"}, "did you mean test"),
        ({"split": "test", "round": "-1"}, "round=-1 is not one of"),
        ({"split": "test", "top": 0}, "top=0 must be 1 or more"),
        ({"split": "test", "round": ["best", "x"]}, "round=x is not one of"),
        ({"split": "test", "round": []}, r"round=\[\] is not one of"),
        ({"split": "test", "bootstrap": -1}, "bootstrap=-1 must be 0 or more"),
        ({"split": "test", "data": {"name": "kaggle", "root": "d"}}, "data= belongs to submission="),
        ({"source": "a", "format": "submission"}, "set split=test"),
        ({"split": "test", "format": "submission", "top": 2}, "leave top= away"),
        ({"split": "test", "ensemble": {"mean": "harmonic"}}, "ensemble.mean=harmonic is not one of arithmetic"),
        ({"split": "valid", "ensemble": {"weights": "learned"}}, "the very clips that split=valid scores"),
        ({"split": "test", "fold": 0, "ensemble": {"weights": "learned"}}, "leave fold= away"),
        ({"submission": "a.csv", "data": {"name": "kaggle", "root": "d"}}, "run= has nothing to do with submission="),
    ],
)
def test_predict_refuses_settings_that_do_not_go_together(settings: dict[str, Any], says: str) -> None:
    with pytest.raises(ConfigError, match=says):
        validate(OmegaConf.create({"run": "x", **settings}), PredictConfig)


def test_progress_counts_a_long_recording_by_its_windows(
    networks: Networks, folder: RunFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """It never says that all is done while the networks are still listening."""
    seen: list[dict[str, Any]] = []
    update = Progress.update

    def watched(bar: Progress, task: Any, **what: Any) -> None:
        seen.append(what)
        update(bar, task, **what)

    monkeypatch.setattr(Progress, "update", watched)
    monkeypatch.setattr(Progress, "advance", lambda bar, task, by=1: seen.append({"completed": by}))
    paths = [sound(tmp_path / f"{seconds}.wav", seconds) for seconds in (0.2, 3)]
    spec = WindowSpec(folder.config.features, excerpts=0)
    label([Recording(path.name, path, FOLDS) for path in paths], [(spec, networks)])
    done = [(what["description"], what["completed"]) for what in seen]
    assert done == [
        ("Reading", 0), ("Labelling", 0), ("Reading", 1),
        ("Window 1 of 3", 1), ("Window 2 of 3", pytest.approx(1 + 1 / 3)), ("Window 3 of 3", pytest.approx(1 + 2 / 3)),
    ]  # fmt: skip


def test_predict_labels_an_instant_and_odd_rates_or_refuses_them_in_a_sentence(
    folder: RunFolder, tmp_path: Path
) -> None:
    refused = {"8_hz.wav": "said to be 8 Hz", "none.wav": "zero samples", "one_384k.wav": "less than one sample"}
    here = tmp_path / "in"
    here.mkdir()
    for name, samples, channels, rate_hz in (
        ("8_hz.wav", 100, 1, 8), ("none.wav", 0, 1, 44_100), ("one_384k.wav", 1, 1, 384_000),
        ("one.wav", 1, 1, 32_000), ("second_384k.wav", 384_000, 1, 384_000), ("64_channels.wav", 3_000, 64, 44_100),
    ):  # fmt: skip
        wave = np.random.default_rng(samples).uniform(-0.5, 0.5, (samples, channels))
        soundfile.write(here / name, wave, rate_hz)
    with pytest.raises(DataError, match="3 of 6 recordings cannot be read") as caught:
        run_predict(folder.path, source=str(here), out=str(tmp_path / "p.csv"))
    assert all(said in problem for said, problem in zip(refused.values(), caught.value.problems, strict=True))
    assert pd.read_csv(tmp_path / "p.csv")["fname"].tolist() == ["64_channels.wav", "one.wav", "second_384k.wav"]

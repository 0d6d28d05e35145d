"""audiotag as a library: what it returns is what the programs write, and bad calls are refused in a sentence."""

from __future__ import annotations

import json
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

import audiotag
from audiotag import api
from tests.conftest import SMALL, TOP
from tests.integration.test_predict import sound

pytestmark = pytest.mark.usefixtures("small_run", "in_work_folder")


@pytest.fixture(scope="module")
def run(small_run: Path) -> audiotag.Run:
    return audiotag.open_run(small_run)


@pytest.fixture
def clips(tmp_path: Path) -> Path:
    for number, (name, rate_hz) in enumerate((("a.wav", 44_100), ("b.flac", 22_050), ("long.wav", 32_000))):
        sound(tmp_path / "clips" / name, 0.4 + 2 * number, rate_hz, seed=number)
    return tmp_path / "clips"


def test_import_is_light():
    code = "import sys, audiotag; print([m for m in ('torch', 'numpy', 'pandas', 'hydra') if m in sys.modules])"
    environment = os.environ | {"PYTHONPATH": str(TOP)}
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, env=environment, check=True)
    assert done.stdout == "[]\n"


def test_names_are_those_of_the_api():
    assert audiotag.__all__ == api.__all__
    assert all(getattr(audiotag, name) is getattr(api, name) for name in api.__all__)
    assert all(getattr(api, name).__doc__ for name in api.__all__)
    with pytest.raises(AttributeError, match="no attribute 'laod'"):
        audiotag.laod  # noqa: B018 - raises


def test_predict_is_what_the_program_writes(tagger, clips, program, small_run, tmp_path):
    out = tmp_path / "p.csv"
    program("predict.py", f"run={small_run}", f"source={clips}", f"out={out}", "hardware.threads=1", "top=8")
    table, written = tagger.predict(clips, top=8), pd.read_csv(out)
    assert list(table.columns) == list(written.columns)
    assert table["fname"].tolist() == ["a.wav", "b.flac", "long.wav"]
    for name in table.columns:
        if name.startswith("probability"):
            np.testing.assert_allclose(table[name], written[name], atol=1e-6)
        else:
            assert table[name].tolist() == written[name].tolist()
    listed = tagger.predict([clips / "long.wav", str(clips / "a.wav")])
    assert listed["fname"].tolist() == ["long.wav", "a.wav"]
    assert listed.equals(tagger.predict(f"{clips}/*.wav").iloc[::-1].reset_index(drop=True))


@pytest.mark.parametrize("name", ["a.wav", "b.flac", "long.wav"])
def test_posteriors_of_a_wave_are_those_of_its_file(tagger, clips, name):
    wave, rate_hz = soundfile.read(clips / name)
    table = tagger.predict(clips / name, top=8).iloc[0]
    posteriors = tagger.posteriors(wave, rate_hz)
    assert posteriors.shape == (len(tagger.classes),)
    assert posteriors.dtype == np.float64
    by_class = {table[f"label_{k}"]: table[f"probability_{k}"] for k in range(1, 9)}
    assert dict(zip(tagger.classes, posteriors, strict=True)) == by_class  # to the bit
    in_memory = tagger.predict((wave, rate_hz), top=8)
    assert in_memory["fname"].tolist() == ["wave"]
    assert in_memory.iloc[0, 1:].tolist() == table.iloc[1:].tolist()
    stereo = np.stack((wave, wave), axis=1).astype(np.float32)
    np.testing.assert_array_equal(tagger.posteriors(stereo, rate_hz), posteriors)


def test_ensembles_rounds_and_folds_are_averaged(small_run, clips):
    wave, rate_hz = soundfile.read(clips / "a.wav")
    alone = [audiotag.load(small_run, round=r).posteriors(wave, rate_hz) for r in (0, 1)]
    together = audiotag.load(["small@0", audiotag.open_run("small")], round="last")
    assert together.runs == ["small@0", "small@1"]
    np.testing.assert_allclose(together.posteriors(wave, rate_hz), np.mean(alone, axis=0), atol=1e-12)
    folds = [audiotag.load("small", round=1, fold=f).posteriors(wave, rate_hz) for f in (0, 1)]
    np.testing.assert_allclose(np.mean(folds, axis=0), alone[1], atol=1e-12)
    geometric = audiotag.load("small", round=[0, 1], mean="geometric").posteriors(wave, rate_hz)
    assert geometric.sum() == pytest.approx(1)
    assert not np.allclose(geometric, np.mean(alone, axis=0), atol=1e-6)


@pytest.mark.parametrize("block", [100, 4_321, 100_000])
def test_stream_gives_the_posteriors_of_its_windows(tagger, clips, block):
    wave, rate_hz = soundfile.read(clips / "long.wav")
    blocks = [wave[at : at + block] for at in range(0, len(wave), block)]
    windows = list(tagger.stream(rate_hz, window_s=1.5, hop_s=1.0).over(blocks))
    assert [(w.begin_s, w.end_s) for w in windows] == [(0, 1.5), (1, 2.5), (2, 3.5), (3, 4.4)]
    for window in windows:
        own = wave[round(window.begin_s * rate_hz) : round(window.end_s * rate_hz)]
        np.testing.assert_array_equal(window.posteriors, tagger.posteriors(own, rate_hz))
        assert window.label == tagger.classes[int(window.posteriors.argmax())]
    with tagger.stream(rate_hz, window_s=len(wave) / rate_hz) as stream:
        (whole,) = [window for block in blocks for window in stream.push(block)]
    np.testing.assert_array_equal(whole.posteriors, tagger.posteriors(wave, rate_hz))
    assert stream.finish() == []


def test_stream_skips_what_lies_between_windows(tagger, clips):
    wave, rate_hz = soundfile.read(clips / "long.wav")
    windows = list(tagger.stream(rate_hz, window_s=0.5, hop_s=2.0).over(np.split(wave, 11)))
    assert [(w.begin_s, w.end_s) for w in windows] == [(0, 0.5), (2, 2.5), (4, 4.4)]


def test_networks_are_those_that_are_asked(tagger):
    network = tagger.network(fold=1)
    assert isinstance(network, torch.nn.Module)
    assert not network.training
    with torch.inference_mode():
        assert network(torch.zeros(2, 1, 128, 200)).shape == (2, len(tagger.classes))
    with pytest.raises(audiotag.RunError, match="fold 2 of member 0 was not loaded"):
        tagger.network(fold=2)


def test_run_tells_what_its_files_hold(run, small_run):
    summary = json.loads((small_run / "summary.json").read_text())
    written = pd.read_csv(small_run / "ledger.csv")
    assert (run.path, run.rounds, run.summary) == (small_run, [0, 1], summary)
    assert (run.best_round, run.classes) == (summary["best_round"], summary["classes"])
    assert run.config.folds == 2
    for round_ in (0, 1, "best"):
        ledger = run.ledger(round_)
        own = written[written["round"] == (run.best_round if round_ == "best" else round_)].reset_index(drop=True)
        pd.testing.assert_frame_equal(ledger, own, atol=1e-6, check_dtype=False)
        figures = next(r for r in summary["rounds"] if r["round"] == own["round"].iloc[0])
        assert run.measure(ledger) == pytest.approx({name: figures[name] for name in run.measure(ledger)}, abs=1e-6)
    posteriors = run.posteriors(1)
    assert list(posteriors.columns) == ["clip_id", "fold", "verified", *run.classes]
    assert posteriors["clip_id"].is_unique
    assert posteriors["verified"].sum() == 64
    np.testing.assert_allclose(posteriors[run.classes].sum(axis=1), 1, atol=1e-5)


def test_verify_decides_again_and_writes_only_where_told(run, tmp_path, work_folder):
    before = sorted(work_folder.rglob("*"))
    all_accepted = run.verify(["verification=accept_all"], round=1)
    assert (all_accepted["accepted"] == 1).all()
    strict = run.verify(threshold=0.99, cap=3, agreement=True, round=1)
    assert 0 <= strict["accepted"].sum() <= all_accepted["accepted"].sum()
    assert sorted(work_folder.rglob("*")) == before
    again = run.verify(threshold=0.99, cap=3, agreement=True, round=1, out=tmp_path)
    assert again.equals(strict)
    (file,) = tmp_path.glob("*/ledger.csv")
    pd.testing.assert_frame_equal(pd.read_csv(file), strict, atol=1e-6, check_dtype=False)


def test_training_goes_on_beside_another_hydra(small_run, work_folder, tmp_path):
    """Settings as on the command line, in a process where somebody has initialised a Hydra: a finished run again."""
    from hydra import compose, initialize_config_dir

    (tmp_path / "other.yaml").write_text("a: 1\n")
    with initialize_config_dir(str(tmp_path), version_base="1.3"):
        run = audiotag.train([*SMALL, "run=small", "report=false"])
        assert compose("other") == {"a": 1}  # undisturbed
    assert (run.path, run.rounds) == (small_run, [0, 1])
    assert run.valid_loss == min(r["valid_loss"] for r in run.summary["rounds"])


@pytest.mark.parametrize(
    ("call", "error", "message"),
    [
        (lambda: audiotag.load("nope"), audiotag.RunError, "nope is not a run folder"),
        (lambda: audiotag.open_run("nope"), audiotag.RunError, "nope is not a run folder"),
        (lambda: audiotag.load("small", round=7), audiotag.RunError, "round=7: .* has no such round"),
        (lambda: audiotag.load("small", round="first"), audiotag.ConfigError, "round=first is not"),
        (lambda: audiotag.load("small", fold=4), audiotag.RunError, "fold=4: .* has the folds 0 to 1"),
        (lambda: audiotag.load(5), TypeError, "by its name, its folder or a Run, not by int"),
        (lambda: audiotag.load("small", mean="harmonic"), audiotag.ConfigError, "ensemble.mean=harmonic"),
        (lambda: audiotag.load("small", accelerator="tpu"), audiotag.ConfigError, "hardware.accelerator=tpu"),
        (lambda: audiotag.train("seed=1"), TypeError, "settings are a list of texts"),
        (lambda: audiotag.train(["sed=1"]), audiotag.ConfigError, "sed is not a setting; did you mean seed"),
        (lambda: audiotag.train(["-m", "seed=1,2"]), audiotag.ConfigError, "-m is not known here"),
        (lambda: audiotag.train(["seed=1,2"]), audiotag.ConfigError, "seed"),
        (lambda: audiotag.train(["data=kaggle", "data.root=/nowhere"]), audiotag.DataError, "there is no such file"),
        (lambda: audiotag.open_run("small").ledger(5), audiotag.RunError, "round=5: .* has no such round"),
        (lambda: audiotag.open_run("small").ledger("first"), ValueError, "'first' is not a round"),
        (lambda: audiotag.open_run("small").verify(treshold=0.5), audiotag.ConfigError, "did you mean .*threshold"),
        (lambda: audiotag.open_run("small").verify(threshold=2.0), audiotag.ConfigError, "threshold=2"),
    ],
)
def test_bad_calls_are_refused(call: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        call()


@pytest.mark.parametrize(
    ("wave", "rate_hz", "error", "message"),
    [
        ([0.1, 0.2], 32_000, TypeError, "NumPy array of floats with full scale at 1, not list"),
        (np.zeros(100, np.int16), 32_000, TypeError, "not an array of int16"),
        (np.zeros(100), 32_000.0, TypeError, "sample_rate_hz=32000.0 is not a whole number"),
        (np.zeros(100), True, TypeError, "sample_rate_hz=True is not"),
        (np.zeros(100), 8, ValueError, "sample_rate_hz=8 is not between"),
        (np.zeros(0), 32_000, ValueError, "the wave is empty"),
        (np.zeros((2, 3, 4)), 32_000, ValueError, r"not \(2, 3, 4\)"),
        (np.zeros((2, 32_000)), 32_000, ValueError, r"\(samples, channels\), not \(2, 32000\)"),
        (np.array([0.0, np.nan]), 32_000, ValueError, "samples that are not finite"),
        (np.array([0.0, -np.inf]), 32_000, ValueError, "samples that are not finite"),
        (np.ones(1), 384_000, audiotag.AudiotagError, "less than one sample"),
    ],
)
def test_bad_waves_are_refused(tagger, wave: Any, rate_hz: Any, error: type[Exception], message: str):
    with pytest.raises(error, match=message):
        tagger.posteriors(wave, rate_hz)


def test_bad_sources_are_refused(tagger, clips):
    (clips / "bad.wav").write_bytes(b"RIFF")
    with pytest.raises(audiotag.DataError, match="1 recordings cannot be read") as caught:
        tagger.predict(clips)
    assert "bad.wav: cannot be decoded" in caught.value.problems[0]
    table = tagger.predict(clips, skip_unreadable=True)
    assert table["fname"].tolist() == ["a.wav", "b.flac", "long.wav"]
    assert table.attrs["problems"] == caught.value.problems
    with pytest.raises(audiotag.DataError, match=r"/nowhere\.wav: there is no such file"):
        tagger.predict("/nowhere.wav")
    with pytest.raises(ValueError, match="top=0"):
        tagger.predict(clips, top=0)
    with pytest.raises(ValueError, match="longer than a sample"):
        tagger.stream(32_000, window_s=0)


def test_examples_of_the_documentation_work(small_run, work_folder, clips, tmp_path, monkeypatch, capsys):
    """All blocks of docs/api.md, one after the other, in a folder with the small run and some recordings."""
    shutil.copytree(small_run, tmp_path / "runs" / "small")
    (tmp_path / "cache").symlink_to(work_folder / "cache")
    monkeypatch.chdir(tmp_path)
    text = (TOP / "docs" / "api.md").read_text(encoding="utf-8")
    blocks = re.findall(r"^```python\n(.*?)^```", text, flags=re.DOTALL | re.MULTILINE)
    assert len(blocks) == text.count("```python") > 8
    names: dict[str, Any] = {}
    for block in blocks:
        exec(compile(block, "docs/api.md", "exec"), names)
    printed = capsys.readouterr().out
    assert "has no such round, or not all its folds" in printed
    assert "a.wav" in printed
    assert (tmp_path / "decisions").is_dir()
    assert {name for name in audiotag.__all__ if name.islower()} <= {*re.findall(r"audiotag\.(\w+)", text)}

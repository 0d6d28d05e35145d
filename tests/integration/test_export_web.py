"""The exported page in a real browser: what it shows of a microphone or a file is what audiotag says to it."""

from __future__ import annotations

import functools
import http.server
import json
import shutil
import threading
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile
import torch

import audiotag
from audiotag.features.audio import trim
from tests.browser import CHROMIUM
from tests.clips import RATE_HZ, TOP, tune

pytest.importorskip("onnx")
pytest.importorskip("onnxruntime")

from audiotag.config import ExportConfig
from audiotag.export.web import PACKAGE, RUNTIME
from audiotag.export.write import export

ORT = TOP / "build" / "npm" / "node_modules" / "onnxruntime-web" / "dist"
HAS_ORT = all((ORT / name).is_file() for name in RUNTIME)
in_browser = pytest.mark.skipif(
    CHROMIUM is None or not HAS_ORT,
    reason=f"needs the program chromium (Debian: apt-get install chromium) and {PACKAGE} in {ORT} (make build/npm)",
)
# Before the page's own scripts: what it predicts, and what it keeps.
LISTEN = """
window.heard = [];
document.addEventListener('prediction', ({detail}) =>
    heard.push({...detail, spectrogram: null, posteriors: [...detail.posteriors]}));
document.addEventListener('kept', ({detail}) => window.kept = detail);
"""
SHOWN = """[...document.querySelectorAll('#bars li')].map(row =>
    [...row.querySelectorAll('span')].map(one => one.textContent))"""
TRIMMED = """async ([wave, rate]) => {
    const {trim} = await import('./trim.js');
    const found = trim(Float32Array.from(wave), rate);
    return {wave: [...found.wave], silent: found.silent};
}"""


@pytest.fixture(scope="module")
def page_folder(small_run: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    torch.set_num_threads(1)
    folder = tmp_path_factory.mktemp("page") / "web"
    return export(ExportConfig(run=str(small_run), to="web", out=str(folder), ort=str(ORT)))


@pytest.fixture(scope="module")
def tagger(page_folder: Path) -> audiotag.Tagger:
    return audiotag.load(page_folder / "model.onnx")


class Quiet(http.server.SimpleHTTPRequestHandler):
    """Any static server: it only knows that a module is a script."""

    extensions_map = {**http.server.SimpleHTTPRequestHandler.extensions_map, ".mjs": "text/javascript"}  # noqa: RUF012

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


@pytest.fixture(scope="module")
def serve() -> Iterator[Callable[[Path], str]]:
    """Serve a folder; returns the address of its page."""
    servers = []

    def start(folder: Path) -> str:
        handler = functools.partial(Quiet, directory=str(folder))
        server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
        threading.Thread(target=server.serve_forever, daemon=True).start()
        servers.append(server)
        return f"http://127.0.0.1:{server.server_port}/"

    yield start
    for server in servers:
        server.shutdown()
        server.server_close()


@pytest.fixture
def opened(listening_browser: Any, page_folder: Path, serve: Any) -> Iterator[Any]:
    """The page, loaded, in a browser that reaches nothing but its folder; nothing else may be asked for, or said."""
    address = serve(page_folder)
    context = listening_browser.new_context(viewport={"width": 390, "height": 800}, accept_downloads=True)
    beyond: list[str] = []
    said: list[str] = []

    def only_folder(route: Any) -> None:
        if route.request.url.startswith((address, f"blob:{address}")):
            route.continue_()
        else:
            beyond.append(route.request.url)
            route.abort()

    context.route("**", only_folder)
    tab = context.new_page()
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.add_init_script(LISTEN)
    tab.goto(address)
    tab.wait_for_selector("[data-do=listen]:enabled")
    yield tab
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert (beyond, said) == ([], [])
    context.close()


def shown_of(posteriors: np.ndarray, classes: list[str]) -> list[list[str]]:
    """Return what the bars say of posteriors: the five most probable, the first first."""
    order = np.argsort(-posteriors, kind="stable")[:5]
    return [[classes[i], f"{100 * posteriors[i]:.1f} %"] for i in order]


@in_browser
def test_page_shows_of_a_microphone_what_audiotag_says(opened, tagger, tmp_path):
    """By keys alone. All that was recorded is kept as WAV; each window of it has the posteriors that were shown."""
    opened.locator("#smoothing").fill("0")
    opened.locator("body").click(position={"x": 1, "y": 1})
    opened.keyboard.press("s")
    opened.wait_for_selector("#bars .number:not(:empty)")
    for _ in range(100):
        if opened.evaluate("heard.length") >= 4:
            break
        opened.wait_for_timeout(50)
    opened.keyboard.press("p")
    heard, shown = opened.evaluate("heard"), opened.evaluate(SHOWN)
    with opened.expect_download() as download:
        opened.keyboard.press("k")
    wave, rate_hz = soundfile.read(download.value.path(), dtype="float32")
    kept = opened.evaluate("kept")
    assert rate_hz == tagger._tagger.about.sample_rate_hz
    assert len(wave) == kept["end"] - kept["begin"] <= 10 * rate_hz
    assert np.abs(wave).max() > 0.1
    heard = [one for one in heard if one["begin"] >= kept["begin"]]
    assert len({one["begin"] for one in heard}) >= 2
    for one in heard:
        assert one["end"] - one["begin"] == round(tagger.stream(rate_hz).window_samples)
        own = tagger.posteriors(wave[one["begin"] - kept["begin"] : one["end"] - kept["begin"]], rate_hz)
        np.testing.assert_allclose(one["posteriors"], own, atol=1e-4)
    assert shown == shown_of(np.array(heard[-1]["posteriors"]), tagger.classes)
    assert opened.inner_text("#status") == "Paused"
    opened.keyboard.press("s")
    assert opened.inner_text("#status") == "Not listening"


@in_browser
@pytest.mark.parametrize("seconds", [0.4, 5.0])
def test_page_shows_of_a_file_what_audiotag_says(opened, tagger, tmp_path, seconds):
    file = tmp_path / "own.wav"
    soundfile.write(file, tune(1, seconds), RATE_HZ, subtype="PCM_16")
    opened.set_input_files("#file", file)
    opened.wait_for_selector("#bars .number:not(:empty)")
    (heard,) = opened.evaluate("heard")
    own = tagger.predict(file, top=len(tagger.classes)).iloc[0]
    by_class = {own[f"label_{k}"]: own[f"probability_{k}"] for k in range(1, len(tagger.classes) + 1)}
    np.testing.assert_allclose(heard["posteriors"], [by_class[name] for name in tagger.classes], atol=1e-4)
    assert [label for label, _ in opened.evaluate(SHOWN)] == [own[f"label_{k}"] for k in range(1, 6)]
    file.write_bytes(b"no sound")
    opened.set_input_files("#file", file)
    opened.wait_for_selector("#problem:visible")
    assert "own.wav cannot be read" in opened.inner_text("#problem")


@in_browser
def test_page_trims_as_audiotag_does(opened):
    """To the sample and the bit, whatever is silent: the ends, all beside a click, everything, or next to nothing."""
    rng = np.random.default_rng(0)
    noise = rng.standard_normal(6000).astype(np.float32)
    pause = np.zeros(3000, np.float32)
    click = pause.copy()
    click[1500] = 0.9
    waves = [tune(2, 0.4), np.concatenate((pause, 0.2 * noise, pause)), pause, click, 1e-4 * noise]
    waves += [np.concatenate((0.001 * noise, 0.3 * noise, 0.0005 * noise)), noise[:100], np.concatenate((click, noise))]
    for wave in waves:
        for rate_hz in (32_000, 11_025):
            found, expected = opened.evaluate(TRIMMED, [wave.tolist(), rate_hz]), trim(wave, rate_hz)
            assert found["silent"] == expected.silent
            np.testing.assert_array_equal(np.array(found["wave"], np.float32), expected.wave)


@in_browser
def test_page_takes_no_label_for_markup(listening_browser, page_folder, serve, tmp_path):
    hostile = '<img src=x onerror="document.title=1">'
    folder = shutil.copytree(page_folder, tmp_path / "web")
    about = json.loads((folder / "about.json").read_text(encoding="utf-8"))
    about |= {"classes": [f"{hostile}{i}" for i in range(len(about["classes"]))], "runs": [hostile]}
    (folder / "about.json").write_text(json.dumps(about), encoding="utf-8")
    tab = listening_browser.new_page()
    tab.goto(serve(folder))
    tab.wait_for_selector("[data-do=listen]:enabled")
    soundfile.write(tmp_path / "own.wav", tune(1, 0.4), RATE_HZ)
    tab.set_input_files("#file", tmp_path / "own.wav")
    tab.wait_for_selector("#bars .number:not(:empty)")
    assert hostile in tab.inner_text("#bars")
    assert hostile in tab.inner_text("#about")
    assert tab.locator("img").count() == 0
    (folder / "model.onnx").unlink()
    tab.reload()
    tab.wait_for_selector("#problem:visible")
    assert "The network cannot be loaded" in tab.inner_text("#problem")
    tab.close()


def test_export_says_where_the_runtime_comes_from(small_run, tmp_path):
    config = ExportConfig(run=str(small_run), to="web", out=str(tmp_path / "web"), ort=str(tmp_path))
    with pytest.raises(audiotag.AudiotagError, match=f"npm install {PACKAGE}"):
        export(config)
    for name in RUNTIME:
        (tmp_path / name).touch()
    (tmp_path / "web").mkdir()
    (tmp_path / "web" / "theirs.html").touch()
    with pytest.raises(audiotag.AudiotagError, match="holds what this command did not write"):
        export(config)
    assert [file.name for file in (tmp_path / "web").iterdir()] == ["theirs.html"]

"""The served page: a real server, clients that mean it well or ill, and a browser whose microphone is a file."""

from __future__ import annotations

import base64
import contextlib
import json
import os
import re
import signal
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import soundfile

import audiotag
from audiotag.config import ReferenceLevel
from tests.browser import needs_browser
from tests.clips import tune
from tests.integration.test_export_web import LISTEN, SHOWN, shown_of
from tests.programs import run_program, started

pytest.importorskip("fastapi")
client = pytest.importorskip("websockets.sync.client")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

pytestmark = pytest.mark.usefixtures("in_work_folder")
RATE_HZ = 32_000
BLOCK = 1024
SETTINGS = ("window_frames=200", "every_frames=20", "reference.level=running", "top=4", "smoothing_s=4.5")


@dataclass
class Server:
    """A page that is served: where, and its process."""

    port: int
    process: Any
    screen: Any

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}/"

    def listen(self, opening: Any = None) -> Any:
        """Connect as the page does, and send a first message."""
        socket = client.connect(f"ws://127.0.0.1:{self.port}/api/listen", origin=self.url[:-1], max_size=1 << 24)
        socket.send(json.dumps({"sample_rate_hz": RATE_HZ} if opening is None else opening))
        return socket


@pytest.fixture(scope="module")
def server(small_run: Path, work_folder: Path) -> Iterator[Server]:
    arguments = [f"run={small_run}", "live=true", "web=true", *SETTINGS, "hardware.threads=1"]
    with started("predict.py", arguments, work_folder) as (process, screen):
        until = time.monotonic() + 120
        while not (found := re.search(r"http://127\.0\.0\.1:(\d+)/\n", screen())):
            assert process.is_alive(), screen()
            assert time.monotonic() < until, screen()
            time.sleep(0.05)
        server = Server(int(found[1]), process, screen)
        yield server
        assert "Traceback" not in screen()
        with server.listen() as heard:
            heard.send(steady(0, 1.0).tobytes())
            os.kill(process.pid, signal.SIGINT)
            process.join(30)
        assert process.exitcode == 0
        assert "Traceback" not in screen()


def windows_of(tagger: audiotag.Tagger, wave: np.ndarray) -> dict[int, np.ndarray]:
    """Return the posteriors of every window, by its first sample."""
    reference = ReferenceLevel(level="running")
    with tagger.live(RATE_HZ, window_frames=200, every_frames=20, reference=reference) as live:
        return {round(one.begin_s * RATE_HZ): one.posteriors for one in live.over([wave])}


def steady(seed: int, seconds: float) -> np.ndarray:
    return tune(seed, seconds)[: round(seconds * RATE_HZ)].astype("<f4")


def test_connection_is_answered_as_tagger_answers(server, tagger):
    """What has been labelled, and what was left out, is said; a loss begins the stream anew."""
    wave, answers = steady(0, 3.0), []
    with server.listen() as socket:

        def receive(most_s: float) -> None:
            with contextlib.suppress(TimeoutError):
                while True:
                    answers.append(json.loads(socket.recv(timeout=most_s)))

        for begin in range(0, 2 * RATE_HZ, BLOCK):
            socket.send(wave[begin : begin + BLOCK].tobytes())
            receive(0.01)
        receive(1)
        before = len(answers)
        socket.send('{"lost": 16000}')
        for begin in range(0, 2 * RATE_HZ, BLOCK):
            socket.send(wave[begin : begin + BLOCK].tobytes())
            receive(0.01)
        receive(1)
    first, second = answers[:before], answers[before:]
    own = windows_of(tagger, wave)
    n_sent = len(range(0, 2 * RATE_HZ, BLOCK)) * BLOCK
    for shown, gap in ((first, 0), (second, n_sent + 16_000)):
        assert len(shown) >= 2
        for one in shown:
            begin = round(one["begin_s"] * RATE_HZ) - gap
            np.testing.assert_allclose(one["posteriors"], own[begin], atol=1e-4)
            assert one["end_s"] - one["begin_s"] == pytest.approx(200 * 192 / RATE_HZ)
            assert one["latency_ms"] > 0
            assert not one["silent"]
    numbers = [round(one["begin_s"] * RATE_HZ) // (20 * 192) for one in first]
    assert sum(one["left_out"] for one in first) == numbers[-1] + 1 - len(first)
    assert second[0]["dropped_s"] >= 0.5
    frames = sum(one["spectrogram"]["frames"] for one in first)
    assert 200 <= frames <= n_sent / 192
    picture = first[-1]["spectrogram"]
    assert len(base64.b64decode(picture["data"])) == picture["frames"] * picture["bands"]


def ended(socket: Any) -> tuple[int, str]:
    """Return the code with which the server ends a connection, and the problem that it told."""
    problem = ""
    try:
        while True:
            problem = json.loads(socket.recv(timeout=60)).get("problem", problem)
    except ConnectionClosed:
        return socket.close_code, problem


def test_hostile_message_ends_its_connection_alone(server):
    nan, loud = (np.full(64, value, "<f4").tobytes() for value in (np.nan, 1e30))
    openings = [{}, [], 3, {"sample_rate_hz": 10**9}, {"sample_rate_hz": "32000"}, {"sample_rate_hz": 32_000.5}]
    openings += [{"sample_rate_hz": RATE_HZ, "more": 1}, {"sample_rate_hz": RATE_HZ, "samples": 0}]
    with server.listen() as good:
        good.send(bytes(4 * BLOCK))
        for opening in openings:
            with server.listen(opening) as bad:
                assert ended(bad) == (1008, "this is not what is expected here (Opening)"), opening
        messages = {b"12345": "5 bytes", b"": "0 bytes", nan: "not finite", loud: "not finite", "x": "(Loss)"}
        messages |= {'{"lost": -1}': "(Loss)", '{"lost": 1e300}': "(Loss)", "[" * 5000: "(Loss)"}
        for message, problem in messages.items():
            with server.listen() as bad:
                bad.send(message)
                code, told = ended(bad)
                assert (code, problem in told) == (1008, True), (message[:10], told)
        with server.listen({"sample_rate_hz": RATE_HZ, "samples": 121 * RATE_HZ}) as bad:
            assert "more than 120 s" in ended(bad)[1]
        with server.listen({"sample_rate_hz": RATE_HZ, "samples": 10}) as bad:
            bad.send(bytes(44))
            assert ended(bad)[1] == "10 samples were announced, and 11 have come"
        with server.listen() as bad, contextlib.suppress(ConnectionClosed):
            bad.send(bytes(1 << 19))
            assert ended(bad)[0] == 1009
        for size in (1 << 18, 4):  # too fast, and too many
            with server.listen() as bad:
                with contextlib.suppress(ConnectionClosed):
                    for _ in range(2000):
                        bad.send(bytes(size))
                assert ended(bad)[0] == 1008
        for _ in range(40):
            good.send(bytes(4 * BLOCK))
            time.sleep(0.01)
        assert json.loads(good.recv(timeout=30))["silent"]


def test_sessions_are_bounded_and_free_again(server):
    with contextlib.ExitStack() as opened:
        for _ in range(4):
            opened.enter_context(server.listen())
        with pytest.raises(InvalidStatus, match="503"):
            server.listen()
    until = time.monotonic() + 30
    while True:
        try:
            with server.listen({"sample_rate_hz": RATE_HZ, "samples": 100}):
                break
        except InvalidStatus:
            assert time.monotonic() < until
            time.sleep(0.1)


def test_more_labels_than_there_are_is_an_error(small_run, work_folder):
    code, output = run_program("predict.py", [f"run={small_run}", "live=true", "web=true", "top=900"], work_folder)
    assert code == 2
    assert "top=900" in output


@pytest.fixture
def opened(listening_browser: Any, server: Server) -> Iterator[Any]:
    """The page, loaded, in a browser that reaches nothing but its server; nothing else may be asked for, or said."""
    context = listening_browser.new_context(viewport={"width": 390, "height": 800}, accept_downloads=True)
    tab = context.new_page()
    asked: list[str] = []
    said: list[str] = []
    tab.on("request", lambda request: asked.append(request.url))
    tab.on("websocket", lambda socket: asked.append(socket.url.replace("ws:", "http:")))
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.add_init_script(LISTEN)
    tab.goto(server.url)
    tab.wait_for_selector("[data-do=listen]:enabled")
    yield tab
    assert tab.evaluate("document.documentElement.scrollWidth <= innerWidth")
    assert [url for url in asked if not url.startswith((server.url, f"blob:{server.url}"))] == []
    assert f"{server.url}api/listen" in asked
    assert said == []
    context.close()


@needs_browser
def test_page_shows_of_a_microphone_what_tagger_says(opened, tagger):
    """By keys alone. All that was recorded is kept as WAV; each window of it has the posteriors that were shown."""
    assert opened.inner_text("#smoothing_s") == "4.5 s"
    opened.locator("#smoothing").fill("0")
    opened.locator("body").click(position={"x": 1, "y": 1})
    opened.keyboard.press("s")
    for _ in range(200):
        if opened.evaluate("heard.length") >= 5:
            break
        opened.wait_for_timeout(50)
    opened.keyboard.press("p")
    heard, shown = opened.evaluate("heard"), opened.evaluate(SHOWN)
    with opened.expect_download() as download:
        opened.keyboard.press("k")
    wave, rate_hz = soundfile.read(download.value.path(), dtype="float32")
    assert (rate_hz, opened.evaluate("kept.begin")) == (RATE_HZ, 0), "all of it is kept so early"
    assert np.abs(wave).max() > 0.1
    assert len(heard) >= 5
    own = windows_of(tagger, wave)
    for one in heard:
        np.testing.assert_allclose(one["posteriors"], own[one["begin"]], atol=1e-4)
    assert shown == shown_of(np.array(heard[-1]["posteriors"]), tagger.classes)[:4]
    assert opened.inner_text("#status") == "Paused"
    opened.keyboard.press("s")
    assert opened.inner_text("#status") == "Not listening"


@needs_browser
def test_page_shows_of_a_file_what_tagger_says(opened, tagger, tmp_path):
    wave = steady(1, 9.0)
    soundfile.write(tmp_path / "own.wav", wave, RATE_HZ, subtype="PCM_16")
    opened.set_input_files("#file", tmp_path / "own.wav")
    opened.wait_for_selector("#bars .number:not(:empty)")
    (heard,) = opened.evaluate("heard")
    wave, _ = soundfile.read(tmp_path / "own.wav", dtype="float32")
    np.testing.assert_allclose(heard["posteriors"], tagger.posteriors(wave, RATE_HZ), atol=1e-4)
    assert opened.evaluate(SHOWN) == shown_of(np.array(heard["posteriors"]), tagger.classes)[:4]
    soundfile.write(tmp_path / "long.wav", np.zeros(121 * RATE_HZ, np.float32), RATE_HZ, subtype="PCM_16")
    opened.set_input_files("#file", tmp_path / "long.wav")
    opened.wait_for_selector("#problem:visible")
    assert "long.wav cannot be read: the file lasts more than 120 s" in opened.inner_text("#problem")

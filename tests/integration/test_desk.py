"""The listening desk as people use it: a server process, a real browser, keys alone; killed, begun again, attacked."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import time
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import soundfile

import audiotag
from audiotag.config import AuditConfig, ReviewConfig
from audiotag.errors import RunError
from audiotag.features.audio import decode
from audiotag.files import write_json
from audiotag.report.write import write_report
from audiotag.run.audit import lower_bound, more_to_hear
from audiotag.run.folder import RunFolder
from audiotag.run.summary import before_corrections
from audiotag.web.server import listening
from tests.browser import chromium, needs_browser
from tests.programs import run_program, started
from tests.report_run import ODD, Page, change_config, made_run

pytest.importorskip("fastapi")
MARKUP = "<img src=x onerror=alert(1)>"
CLASSES = sorted([*ODD, MARKUP])


class Server:
    """A desk that can be asked, killed and started again at the same place."""

    def __init__(self, run: Path, *settings: str) -> None:
        with listening("127.0.0.1", 0) as free:
            self.port = free.getsockname()[1]
        self.run, self._settings, self._running = run, settings, contextlib.ExitStack()
        self.start()

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        arguments = [f"run={self.run}", f"port={self.port}", *self._settings]
        self.process, self.screen = self._running.enter_context(
            started("-m audiotag.review", arguments, self.run.parent)
        )
        until = time.monotonic() + 90
        while "Ctrl-C" not in self.screen():
            assert self.process.is_alive(), self.screen()
            assert time.monotonic() < until, self.screen()
            time.sleep(0.05)

    def kill(self) -> None:
        os.kill(self.process.pid, signal.SIGKILL)
        self.process.join()

    def stop(self) -> None:
        self._running.close()

    def ask(self, path: str, body: Any = None, **headers: str) -> tuple[int, bytes, dict[str, str]]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=60)
        own = {"Origin": self.url, "Content-Type": "application/json", **headers}
        with contextlib.closing(connection):
            connection.request("GET" if body is None else "POST", path, None if body is None else json.dumps(body), own)
            answer = connection.getresponse()
            return answer.status, answer.read(), {name.lower(): value for name, value in answer.getheaders()}

    def json(self, path: str, body: Any = None) -> Any:
        status, content, _ = self.ask(path, body)
        assert status == 200, content
        return json.loads(content)

    def decide(self, index: int, word: str, label: str = "", **more: Any) -> int:
        message = {"index": index, "word": word, "label": label, "tab": "t", "key": f"k{time.monotonic_ns()}"}
        return self.ask("/api/verdict", {**message, **more})[0]

    @property
    def corrections(self) -> pd.DataFrame:
        return pd.read_csv(self.run / "desk" / "corrections.csv", dtype=str, keep_default_na=False, index_col="clip_id")


@contextlib.contextmanager
def desk_of(run: Path, *settings: str) -> Iterator[Server]:
    server = Server(run, *settings)
    try:
        yield server
    finally:
        server.stop()


@pytest.fixture(scope="module")
def made(tmp_path_factory) -> Path:
    """A run of six classes with odd names, whose recordings can be heard, and whose rule accepts all of them."""
    folder = tmp_path_factory.mktemp("desk")
    run = made_run(folder / "odd", folder / "data", CLASSES, rounds=0, heard=True)
    change_config(run, verification__rule__threshold=None, verification__rule__agreement=False)
    write_json(run / "summary.json", {"best_round": 0, "rounds": [{"round": 0}], "wall_s": 1.0})
    return run


@pytest.fixture
def odd(made, tmp_path) -> Path:
    return Path(shutil.copytree(made, tmp_path / "odd"))


@pytest.fixture(scope="module")
def desk(made) -> Iterator[Server]:
    """A desk for questions that change nothing that another one asks for."""
    run = Path(shutil.copytree(made, made.parent / "shared"))
    with desk_of(run) as server:
        yield server


@pytest.fixture(scope="module")
def browser():
    with chromium() as browser:
        yield browser


@pytest.fixture
def tab(browser):
    """A window in which nothing may go wrong, but that a server does not answer; asks nobody but the desk."""
    context = browser.new_context()
    tab = context.new_page()
    said: list[str] = []
    tab.on("console", lambda message: said.append(message.text))
    tab.on("pageerror", lambda error: said.append(str(error)))
    tab.on(
        "request",
        lambda one: said.append(one.url) if not one.url.startswith(("http://127.0.0.1", "blob:", "data:")) else 0,
    )
    tab.on("dialog", lambda dialog: said.append(f"dialog: {dialog.message}"))
    yield tab
    context.close()
    assert [text for text in said if "net::ERR_" not in text] == []


def wait(tab, condition: str) -> None:
    until = time.monotonic() + 60
    while not tab.evaluate(condition):
        assert time.monotonic() < until, f"not so after 60 s: {condition}"
        time.sleep(0.02)


def open_desk(tab, server: Server) -> None:
    tab.goto(server.url)
    wait(tab, "!document.getElementById('card').hidden || !document.getElementById('end').hidden")
    wait(tab, "!desk.busy")


def press(tab, *keys: str) -> None:
    """Press a key and wait until it is done with: its answer has come, and the next clip is there."""
    for key in keys:
        tab.keyboard.press(key)
        wait(tab, "!desk.busy")


def heard(tab) -> None:
    """Wait until the shown clip's sound plays."""
    wait(tab, "shown && shown.number === current().number && sound.currentTime > 0")


@needs_browser
def test_desk_keeps_twenty_verdicts_by_key_through_kills_and_training_takes_them(smoke_run, work_folder, tab, tmp_path):
    run = Path(shutil.copytree(smoke_run, tmp_path / "smoke"))
    rows = pd.read_csv(run / "review.csv", keep_default_na=False)
    keys = ["k", "r", "m", "l", "k", "d", "k", "r", "k", "l"] * 2
    with desk_of(run, "repeats=0") as server:
        open_desk(tab, server)
        heard(tab)
        press(tab, *keys[:7])
        server.kill()
        tab.keyboard.press(keys[7])
        wait(tab, "!document.getElementById('trouble').hidden")
        tab.keyboard.press("d")  # not while the last verdict is on its way
        server.start()
        wait(tab, "!desk.busy")
        press(tab, *keys[8:13])
        tab.keyboard.press(keys[13])
        server.kill()  # before, while or after it is written
        server.start()
        wait(tab, "!desk.busy")
        press(tab, *keys[14:19])
        tab.keyboard.press("t")
        other = tab.evaluate("desk.item.menu.at(-1)[0]")
        tab.keyboard.type(other.upper())
        press(tab, "Enter")
        assert tab.text_content("#progress") == f"20 of {len(rows)} decided, 3 for later"
        server.kill()

    words = {"k": "keep", "d": "drop", "l": "uncertain", "m": "not predominant"}
    said = [words.get(key, f"relabel {rows['predicted'][i]}") for i, key in enumerate(keys)]
    said[19] = f"relabel {other}"
    table = pd.read_csv(run / "desk" / "corrections.csv", dtype=str, keep_default_na=False)
    assert table["clip_id"].tolist() == rows["clip_id"][:20].tolist(), "in the order of what a decision is worth"
    assert table["verdict"].tolist() == said
    undecided = table["verdict"].isin(["uncertain", "not predominant"])
    assert table["decision"].tolist() == table["verdict"].mask(undecided, "").tolist()
    settings = ["experiment=smoke", f"cache_dir={work_folder / 'cache'}"]
    before = audiotag.read_manifest(settings).train
    clips = audiotag.read_manifest([*settings, f"data.corrections={run / 'desk' / 'corrections.csv'}"]).train
    for clip, decision in zip(table["clip_id"], table["decision"], strict=True):
        word, _, label = decision.partition(" ")
        assert (clip in clips.index) == (word != "drop")
        if word in ("keep", "relabel"):
            assert clips.at[clip, "verified"]
        if label:
            assert clips.at[clip, "label"] == label
    assert len(before) - len(clips) == said.count("drop")
    successor = Path(shutil.copytree(run, tmp_path / "successor"))
    change_config(successor, data__corrections=str(run / "desk" / "corrections.csv"))
    assert before_corrections(RunFolder(successor))["before_corrections"]["run"] == "smoke"


@needs_browser
def test_desk_shows_names_as_text_and_keys_reach_everything(odd, tab):
    with desk_of(odd, "repeats=0") as server:
        open_desk(tab, server)
        for _ in range(24):
            if tab.evaluate("desk.item.label") == MARKUP:
                break
            press(tab, "n")
        assert MARKUP in tab.text_content("#claim")
        assert tab.locator("img").count() == 1, "the spectrogram"
        assert MARKUP in tab.text_content("#classes")
        heard(tab)

        tab.keyboard.press("?")
        assert tab.locator("#help").is_visible()
        tab.keyboard.press("k")
        tab.keyboard.press("Escape")
        assert tab.evaluate("desk.entries") == 0, "keys decide nothing behind the help"
        press(tab, "Control+d", "Alt+k")
        tab.keyboard.press("o")
        assert tab.evaluate("sound.loop")
        tab.keyboard.press("s")
        assert tab.evaluate("sound.playbackRate") == 0.5
        tab.keyboard.press("s")
        assert tab.evaluate("sound.playbackRate") == 2
        for _ in range(2):
            paused = tab.evaluate("sound.paused")
            tab.keyboard.press("Space")
            assert tab.evaluate("sound.paused") != paused
        tab.keyboard.press("3")
        wait(
            tab,
            "shown.number === desk.item.examples[1][0] && !sound.paused && !document.getElementById('hearing').hidden",
        )
        tab.keyboard.press("0")
        heard(tab)
        tab.keyboard.press("Space")
        tab.keyboard.press("o")  # at its end the sound stays where it is
        box = tab.locator(".time").bounding_box()
        tab.mouse.click(box["x"] + box["width"] / 2, box["y"] + 20)
        assert tab.evaluate("sound.currentTime / shown.shape.played_s") > 0.3

        label = tab.evaluate("desk.item.label")
        index = tab.evaluate("desk.item.index")
        tab.keyboard.press("t")
        tab.keyboard.type("bark")
        assert tab.locator("#found li").count() == 1
        press(tab, "Enter")
        assert server.corrections["verdict"].tolist() == ["relabel <b>Bark</b>"]
        press(tab, "p")
        assert tab.evaluate("desk.item.index") == index
        assert tab.text_content("#made") == "Decided: relabel <b>Bark</b>"
        press(tab, "k")
        assert server.corrections["verdict"].tolist() == ["keep"], "the last verdict holds"
        press(tab, "u")
        assert server.corrections["verdict"].tolist() == ["relabel <b>Bark</b>"]
        press(tab, "u", "u")
        assert server.corrections.empty
        assert tab.evaluate("desk.item.label") == label
        assert tab.evaluate("document.activeElement.id") == "card"
        tab.reload()
        wait(tab, "desk.item && !desk.busy")
        assert tab.text_content("#progress").startswith("0 of 20")


@needs_browser
def test_desk_measures_its_listener_by_blind_repeats(odd, tab):
    with desk_of(odd, "repeats=0.3") as server:
        open_desk(tab, server)
        twice = 0
        while tab.locator("#end").is_hidden():
            again = tab.evaluate("desk.item.again")
            twice += again
            assert tab.text_content("#made") == "", "nothing tells that it has been heard before"
            press(
                tab, "d" if again and twice == 1 else "l" if server.json("/api/start")["progress"]["left"] == 3 else "k"
            )
        assert 4 <= twice <= 8
        assert f"{twice} clips came twice, unannounced: {twice - 1} you decided alike" in tab.inner_text("#end")
        assert json.loads((odd / "desk" / "listener.json").read_text())["repeats"]["heard"] == twice
        assert "First keep, then drop" in tab.inner_text("#end")
        press(tab, "Enter")
        assert tab.locator("#card").is_visible(), "what was saved for later comes now"
        assert tab.text_content("#made") == "Decided: uncertain"
        press(tab, "k")
        assert tab.locator("#end").is_visible()
        assert set(server.corrections["verdict"]) == {"keep"}
        os.kill(server.process.pid, signal.SIGINT)
        server.process.join(30)
        assert server.process.exitcode == 0
        assert f"Heard twice: {twice}, of which {twice - 1} decided alike." in server.screen()
    assert len(read_decisions(odd)) == 20


def read_decisions(run: Path) -> pd.DataFrame:
    """Return the desk's decisions as training reads them."""
    from audiotag.data.corrections import read_corrections

    change_config(run, data__corrections=str(run / "desk" / "corrections.csv"))
    folder = RunFolder(run)
    decided = read_corrections(folder.config.data, folder.train.reset_index(), folder.classes, Path())
    assert decided is not None
    return decided


@needs_browser
def test_desk_audit_by_key_is_that_of_the_command_and_of_the_report(odd, tab):
    with desk_of(odd, "audit=10") as server:
        open_desk(tab, server)
        assert tab.text_content("#progress") == "0 of 10 heard"
        press(tab, "r", "r", "w", "u", "r", "q")
        assert tab.text_content("#progress") == "4 of 10 heard"
        assert "Heard 4 of 10: 3 right, 0 wrong, 1 unsure" in tab.text_content("#said")
        press(tab, *"rrrrrr")
        assert tab.locator("#end").is_visible()
        press(tab, "Enter")
        assert tab.text_content("#progress") == "10 of 12 heard", "all there are"
        press(tab, "a")
        assert tab.text_content("#progress") == "0 of 20 decided"
    table = pd.read_csv(odd / "audit.csv", dtype=str, keep_default_na=False)
    assert list(table.columns) == ["clip_id", "path", "label", "round", "verdict"]
    assert table["verdict"].value_counts().to_dict() == {"right": 9, "unsure": 1, "": 2}
    from audiotag.audit import audit

    at_desk = json.loads((odd / "summary.json").read_text())["audit"]
    assert at_desk["precision_at_least"] == pytest.approx(lower_bound(9, 10), abs=1e-6)
    assert at_desk["more_to_hear"] == more_to_hear(9, 10, 0.95)
    assert audit(AuditConfig(run=str(odd))) == at_desk
    text = Page(write_report(RunFolder(odd))).text
    assert "of 10 accepted labels of round 0 that were heard, 9 are right" in text
    assert f"{at_desk['more_to_hear']} more have to be heard if all are right" in text


@needs_browser
def test_desk_fits_a_phone_and_follows_dark_mode_and_rest(odd, browser):
    colours = []
    with desk_of(odd) as server:
        for scheme in ("light", "dark"):
            context = browser.new_context(
                viewport={"width": 390, "height": 844}, color_scheme=scheme, reduced_motion="reduce"
            )
            tab = context.new_page()
            open_desk(tab, server)
            heard(tab)
            assert tab.evaluate("document.documentElement.scrollWidth") <= 390
            colours.append(tab.evaluate("getComputedStyle(document.body).backgroundColor"))
            small = "[...document.querySelectorAll('button')].filter(b => b.offsetParent && b.offsetHeight < 36).length"
            assert tab.evaluate(small) == 0
            tab.keyboard.press("Tab")
            assert tab.evaluate("getComputedStyle(document.activeElement).outlineStyle") == "solid"
            context.close()
    assert colours[0] != colours[1]


def test_desk_sound_is_that_of_the_file_and_stands_in_step_with_its_spectrogram(desk):
    item = desk.json("/api/next")["item"]
    status, content, headers = desk.ask(f"/api/sound/{item['number']}")
    assert (status, headers["content-type"]) == (200, "audio/wav")
    file = desk.run / "sound.wav"
    file.write_bytes(content)
    played, rate_hz = soundfile.read(file)
    root = Path(str(RunFolder(desk.run).config.data.root))
    wave, source_hz = decode(root / item["path"])
    assert rate_hz == source_hz
    assert np.corrcoef(played, wave)[0, 1] > 0.9999
    shape = desk.json(f"/api/shape/{item['number']}")
    seen = audiotag.spectrogram(root / item["path"], RunFolder(desk.run).config.features)
    assert (shape["begin_s"], shape["end_s"]) == pytest.approx((seen.begin_s, seen.end_s))
    assert shape["played_s"] == pytest.approx(len(wave) / source_hz)
    assert desk.ask(f"/api/picture/{item['number']}")[1][8:12] == b"WEBP"
    assert len(desk.ask(f"/api/sound/{item['examples'][0][0]}")[1]) > 1000


def test_desk_plays_long_recordings_from_their_beginning(odd):
    folder = RunFolder(odd)
    desk = listening_desk(odd, longest_s=2)
    number = 3
    path = desk.root / folder.train["path"].iloc[number]
    before = path.read_bytes()
    try:
        soundfile.write(path, np.random.default_rng(0).uniform(-0.5, 0.5, 5 * 8000), 8000)
        with pytest.raises(audiotag.AudiotagError, match="has changed since the run read it"):
            desk.recording(number)
    finally:
        path.write_bytes(before)
    long = odd / "long.wav"
    soundfile.write(long, np.random.default_rng(0).uniform(-0.5, 0.5, 5 * 4000), 4000)
    from audiotag.review.recordings import read_recording

    got = read_recording(long, folder.config.features, 2, 5)
    assert (got.shape["played_s"], got.shape["duration_s"]) == (2, 5)
    file = odd / "got.wav"
    file.write_bytes(got.wav)
    assert soundfile.info(file).samplerate == 48_000, "at a rate that browsers play"
    desk.close()


def listening_desk(run: Path, **settings: Any):
    from audiotag.review.desk import Desk

    return Desk(RunFolder(run), ReviewConfig(run=str(run), **settings))


def test_desk_serves_no_file_outside_the_data_set(odd, tmp_path):
    folder = RunFolder(odd)
    desk = listening_desk(odd)
    number = list(folder.train.index).index(desk.queue[0].clip)
    desk.root = Path(shutil.copytree(desk.root, tmp_path / "data"))
    path = desk.root / folder.train["path"].iloc[number]
    outside = Path(shutil.move(path, tmp_path / "outside.wav"))
    path.symlink_to(outside)
    with pytest.raises(audiotag.AudiotagError, match="not below the data set"):
        desk.recording(number)
    desk.close()
    change_config(odd, data__allow_outside=True)
    desk = listening_desk(odd)
    desk.root = tmp_path / "data"
    assert desk.recording(number).wav[:4] == b"RIFF"
    desk.close()


def test_desk_in_two_windows_shares_what_is_decided(odd):
    with desk_of(odd, "repeats=0", "not_predominant=drop") as server:
        assert server.decide(0, "keep", tab="a") == 200
        assert server.decide(0, "drop", tab="b") == 200
        assert server.json("/api/next?at=0&verdict=true")["progress"]["words"]["drop"] == 1
        assert [server.json("/api/undo", {"tab": "a", "key": "u1"}) for _ in range(2)] == [{"index": 0}] * 2, (
            "sent again"
        )
        assert server.corrections["verdict"].tolist() == ["drop"], "of another window nothing is taken back"
        assert server.decide(1, "not predominant") == 200
        assert server.corrections["decision"].tolist() == ["drop", "drop"]
        with ThreadPoolExecutor(8) as pool:
            assert set(pool.map(lambda i: server.decide(i, "keep", tab=f"t{i % 2}"), range(2, 18))) == {200}
        assert len(server.corrections) == 18
        key = {"key": "once"}
        assert [server.decide(18, "keep", **key), server.decide(18, "keep", **key)] == [200, 200]
    lines = (odd / "desk" / "verdicts.jsonl").read_text().splitlines()
    assert [json.loads(line)["n"] for line in lines] == list(range(1, len(lines) + 1))


def test_desk_messages_that_do_not_fit_change_nothing(desk):
    label = desk.json("/api/next")["item"]["label"]
    good = {"index": 0, "word": "keep", "label": "", "again": False, "tab": "t", "key": "k"}
    bad = [
        {"index": -1}, {"index": 999}, {"index": "0"}, {"index": 0.5}, {"index": True}, {"word": "eat"}, {"word": ""},
        {"word": "relabel"}, {"word": "relabel", "label": "no class"}, {"word": "relabel", "label": label},
        {"word": "keep", "label": CLASSES[1]}, {"word": "keep\nx"}, {"tab": "a b"}, {"tab": "x" * 65}, {"key": None},
        {"label": "x" * 2000}, {"more": 1}, {"again": "yes"},
    ]  # fmt: skip
    for change in bad:
        assert desk.ask("/api/verdict", {**good, **change})[0] == 422, change
    for body in ([], {}, None, "x", [good]):
        assert desk.ask("/api/verdict", body)[0] in (405, 422)
    assert desk.ask("/api/verdict", good, Origin="http://evil.example")[0] == 403
    assert desk.ask("/api/undo", {"tab": "t", "key": "k"}, Origin="")[0] == 403
    for path in (
        "/api/item/-1",
        "/api/item/99",
        "/api/sound/-1",
        "/api/sound/10000",
        "/api/sound/..%2f..%2fetc%2fpasswd",
    ):
        assert desk.ask(path)[0] in (404, 422), path
    for path in ("/desk.py", "/../config.yaml", "/%2e%2e/review.csv", "/api", "/static/desk.js"):
        assert desk.ask(path)[0] == 404, path
    assert desk.ask("/api/audit/verdict", {"index": 0, "verdict": "right"})[0] == 422, "nothing was drawn"
    assert not (desk.run / "desk" / "corrections.csv").exists()
    assert (desk.run / "desk" / "verdicts.jsonl").read_bytes() == b""


def test_desk_serves_its_listener_among_fifty_connections_that_do_not_read(odd):
    with desk_of(odd) as server, contextlib.ExitStack() as opened:
        number = server.json("/api/next")["item"]["number"]
        request = f"GET /api/sound/{number} HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
        for i in range(50):
            plain = opened.enter_context(socket.create_connection(("127.0.0.1", server.port)))
            plain.sendall(request if i % 2 else request[:20])
        assert [server.decide(index, "keep") for index in range(5)] == [200] * 5
        assert len(server.corrections) == 5


def test_desk_page_has_nothing_inline(desk):
    _, page, headers = desk.ask("/")
    assert headers["content-security-policy"].startswith("default-src 'self'")
    text = page.decode()
    assert not re.search(r"<script(?![^>]*\bsrc=)|\son\w+=|style=|https?://", text)
    assert b"innerHTML" not in desk.ask("/desk.js")[1]
    assert desk.ask("/desk.css")[2]["content-type"].startswith("text/css")


def test_desk_begins_with_decisions_of_review_csv(odd):
    table = pd.read_csv(write_report(RunFolder(odd)).with_name("review.csv"), dtype=str, keep_default_na=False)
    table.loc[0, "decision"], table.loc[1, "decision"], table.loc[2, "decision"] = "Keep", "relabel fold", "kepe"
    table.to_csv(odd / "review.csv", index=False)
    with desk_of(odd, "repeats=0") as server:
        assert server.json("/api/next")["item"]["index"] == 2
        assert f"{table['clip_id'][2]}: kepe is no decision" in server.screen().replace("\n", " ")
        server.decide(5, "drop")
        assert server.corrections["decision"].to_dict() == {
            table["clip_id"][0]: "keep", table["clip_id"][1]: "relabel fold", table["clip_id"][5]: "drop",
        }  # fmt: skip
    assert not (odd / "corrections.csv").exists(), "the run's own says what it was trained with"
    page = write_report(RunFolder(odd)).read_text(encoding="utf-8")
    in_page = json.loads(page.partition('id="review-data">')[2].partition("</script>")[0])["decisions"]
    assert in_page[table["clip_id"][5]] == "drop"
    assert f"data.corrections={odd / 'desk' / 'corrections.csv'}" in page


def test_desk_that_cannot_be_is_refused_before_there_is_a_page(odd, tmp_path):
    def refused(*settings: str) -> str:
        code, screen = run_program("-m audiotag.review", [f"run={odd}", *settings], tmp_path)
        assert code == 2, screen
        return screen.replace("\n", " ")

    assert "prt is not a setting; did you mean port?" in refused("prt=1")
    assert "repeats=0.7" in refused("repeats=0.7")
    assert f"root={tmp_path / 'no'} is not a folder" in refused(f"root={tmp_path / 'no'}")
    (tmp_path / "empty").mkdir()
    assert "has none of the run's recordings" in refused(f"root={tmp_path / 'empty'}")
    with listening("127.0.0.1", 0) as taken:
        port = taken.getsockname()[1]
        assert f"port={port} is taken" in refused(f"port={port}")
    desk = listening_desk(odd)
    assert "the desk of this run is open already" in refused()
    desk.close()
    change_config(odd, verification__rule__threshold=0.99)
    assert "accepted no label" in refused("audit=5")
    with pytest.raises(RunError, match="is not a run folder"):
        listening_desk(tmp_path / "none")
    code, screen = run_program("-m audiotag.review", ["--help"], tmp_path)
    assert code == 0
    assert "corrections.csv" in screen

"""The server of pages, as a process of its own, and clients that mean it no good."""

from __future__ import annotations

import contextlib
import http.client
import json
import os
import re
import signal
import socket
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest

from audiotag.errors import AudiotagError
from audiotag.web.guard import Limits
from audiotag.web.server import access_for, address, check_web, listening
from tests.programs import started

pytest.importorskip("fastapi")
websockets = pytest.importorskip("websockets.sync.client")
from websockets.exceptions import ConnectionClosed, InvalidStatus  # noqa: E402

LIMITS = (
    "Limits(body_bytes=1000, message_bytes=1000, messages_per_s=50, requests_per_s=500, connections=40, patience_s=1)"
)
SERVER = f"""
from pathlib import Path
from fastapi import Body, Response, WebSocket, WebSocketDisconnect
from audiotag.web.guard import Limits
from audiotag.web.server import create_app, serve
app = create_app("test", Path("."), {{"/": "page.html"}})
changes = 0
@app.post("/api/change")
def change(by: int = Body(embed=True)):
    global changes
    changes += by
    return {{"changes": changes}}
@app.get("/api/big")
def big():
    return Response(bytes(50_000_000))
@app.get("/api/broken")
def broken():
    raise RuntimeError("secret of the server")
@app.websocket("/api/echo")
async def echo(websocket: WebSocket):
    await websocket.accept()
    try:
        while True:
            message = await websocket.receive()
            if message["type"] == "websocket.disconnect":
                return
            if message.get("text") == "flood":
                while True:
                    await websocket.send_bytes(bytes(1_000_000))
            await websocket.send_text(str(len(message.get("bytes") or message.get("text") or "")))
    except WebSocketDisconnect:
        return
serve(app, "test", host=HOST, limits={LIMITS})
"""


@dataclass
class Server:
    """A server that runs: where, and how to ask it."""

    port: int
    token: str
    process: Any
    screen: Any
    headers: dict[str, str] = field(default_factory=dict)

    def ask(
        self, method: str, path: str, body: bytes | None = None, **headers: str
    ) -> tuple[int, dict[str, str], bytes]:
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=20)
        own = {"Origin": f"http://127.0.0.1:{self.port}", "Content-Type": "application/json", **self.headers}
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        with contextlib.closing(connection):
            connection.request(method, path, body, {k: v for k, v in {**own, **named}.items() if v})
            answer = connection.getresponse()
            return answer.status, {k.lower(): v for k, v in answer.getheaders()}, answer.read()

    def change(self, **headers: str) -> int:
        return self.ask("POST", "/api/change", b'{"by": 1}', **headers)[0]

    def lives(self) -> bool:
        return self.process.is_alive() and self.ask("GET", "/")[0] == 200

    def socket(self, **headers: str) -> Any:
        own = {"Origin": f"http://127.0.0.1:{self.port}", **self.headers, **headers}
        origin = own.pop("Origin") or None
        return websockets.connect(f"ws://127.0.0.1:{self.port}/api/echo", origin=origin, additional_headers=own)

    def raw(self, text: bytes = b"") -> socket.socket:
        plain = socket.create_connection(("127.0.0.1", self.port), timeout=20)
        plain.sendall(text)
        return plain


@contextlib.contextmanager
def serving(folder: Path, host: str | None = None) -> Iterator[Server]:
    (folder / "page.html").write_text("<p>page", encoding="utf-8")
    (folder / "secret.txt").write_text("secret", encoding="utf-8")
    with started(f"-c {SERVER.replace('HOST', repr(host))}", [], folder) as (process, screen):
        until = time.monotonic() + 60
        while not (found := re.search(r"http://[^:]+:(\d+)/(?:\?token=(\S+))?", screen())):
            assert process.is_alive(), screen()
            assert time.monotonic() < until, screen()
            time.sleep(0.02)
        yield Server(int(found[1]), found[2] or "", process, screen)


@pytest.fixture(scope="module")
def server(tmp_path_factory) -> Iterator[Server]:
    with serving(tmp_path_factory.mktemp("site")) as server:
        yield server


def test_server_sends_headers_that_keep_others_out(server):
    status, headers, body = server.ask("GET", "/", Origin="")
    assert (status, body) == (200, b"<p>page")
    assert "default-src 'self'" in headers["content-security-policy"]
    assert "frame-ancestors 'none'" in headers["content-security-policy"]
    assert "unsafe" not in headers["content-security-policy"]
    assert headers["x-content-type-options"] == "nosniff"
    assert headers["referrer-policy"] == "no-referrer"
    assert headers["cache-control"] == "no-store"
    assert not [name for name in headers if name.startswith("access-control")]
    assert "server" not in headers


def test_server_answers_its_own_pages_only(server):
    assert server.change() == 200
    for origin in (
        "http://evil.example",
        f"http://127.0.0.1:{server.port + 1}",
        "null",
        "",
        f"http://localhost:{server.port}",
    ):
        assert server.change(Origin=origin) == 403, origin
    for host in (
        "evil.example",
        f"evil.example:{server.port}",
        "127.0.0.1",
        "",
        f"127.0.0.1:{server.port}@evil.example",
    ):
        assert server.ask("GET", "/", Host=host or " ")[0] in (400, 421), host
    name = f"localhost:{server.port}"
    assert server.change(Host=name, Origin=f"http://{name}") == 200
    for origin in ("http://evil.example", ""):
        with pytest.raises(InvalidStatus, match="403"):
            server.socket(Origin=origin)


def test_server_serves_no_file_but_its_page(server):
    for path in (
        "/secret.txt",
        "/../secret.txt",
        "/%2e%2e/secret.txt",
        "//secret.txt",
        "/page.html",
        "/docs",
        "/openapi.json",
    ):
        assert server.ask("GET", path)[0] == 404, path


def test_server_errors_say_nothing_of_it(server):
    status, headers, body = server.ask("GET", "/api/broken")
    assert (status, body) == (500, b"Internal Server Error")
    assert "content-security-policy" in headers


def test_server_refuses_malformed_messages(server):
    bodies = [
        b"",
        b"{",
        b"[]",
        b"null",
        b'{"by": "x"}',
        b'{"by": 1e999}',
        b"\xff\xfe",
        b"[" * 900,
        b'{"by": {}}',
        b"\0" * 99,
    ]
    for i in range(200):
        assert server.ask("POST", "/api/change", bodies[i % len(bodies)])[0] in (400, 422, 429)
    garbage = [
        b"GARBAGE\r\n\r\n",
        b"\x16\x03\x01" * 50,
        b"GET / HTTP/9.9\r\n\r\n",
        b"GET /" + b"a" * 70_000 + b" HTTP/1.1\r\n\r\n",
    ]
    garbage += [
        b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -5\r\n\r\n",
        b"GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n",
    ]
    for text in garbage:
        with server.raw(text) as plain, contextlib.suppress(ConnectionError):
            assert plain.recv(1000).startswith(b"HTTP/1.1 4"), text[:40]
    assert server.lives()


def test_server_refuses_oversized_bodies_and_messages(server):
    assert server.ask("POST", "/api/change", b" " * 1001)[0] == 413
    head = f"POST /api/change HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: http://127.0.0.1:{server.port}\r\n"
    with server.raw(f"{head}Transfer-Encoding: chunked\r\n\r\n".encode()) as plain:
        plain.sendall(b"7d0\r\n" + b" " * 2000 + b"\r\n")
        assert b" 413 " in plain.recv(1000)
    for message in (b"x" * 1001, "x" * 1001, b"x" * 5_000_000):
        with server.socket() as tab, contextlib.suppress(ConnectionClosed, OSError):
            tab.send(message)
            pytest.fail(f"it was answered: {tab.recv()}")
    with server.socket() as tab:
        tab.send(b"x" * 1000)
        assert tab.recv() == "1000"


def test_websocket_frames_that_are_none_end_their_connection_alone(server):
    with server.socket() as good:
        for garbage in (
            b"\xff" * 100,
            b"\x83\x00",
            b"\x81\x05hello",
            b"\xc1\x80\0\0\0\0",
            b"\x81\xff" + b"\x7f" + b"\xff" * 11,
        ):
            with server.socket() as bad, contextlib.suppress(ConnectionClosed, OSError):
                bad.socket.sendall(garbage)
                bad.recv(timeout=20)
                pytest.fail(f"{garbage!r} was answered")
        good.send("still here")
        assert good.recv() == "10"


def test_websocket_with_too_many_messages_is_ended(server):
    with server.socket() as tab:
        with contextlib.suppress(ConnectionClosed):
            for _ in range(500):
                tab.send("x")
        with contextlib.suppress(ConnectionClosed):
            for _ in range(500):
                tab.recv(timeout=20)
        assert tab.close_code == 1008


def test_websockets_are_counted(server):
    with contextlib.ExitStack() as opened:
        for _ in range(Limits.websockets):
            opened.enter_context(server.socket())
        with pytest.raises(InvalidStatus, match="503"):
            server.socket()
    until = time.monotonic() + 20
    while time.monotonic() < until:
        with contextlib.suppress(InvalidStatus), server.socket() as tab:
            tab.send("free again")
            assert tab.recv() == "10"
            break
    else:
        pytest.fail("no WebSocket became free")


def test_connections_that_ask_nothing_hold_nobody_up(server):
    with contextlib.ExitStack() as opened:
        idle = [opened.enter_context(server.raw(b"GET / HT"[: i % 9])) for i in range(50)]
        full = [one for one in idle[40:] if one.recv(1000).startswith(b"HTTP/1.1 503")]
        assert len(full) >= 9, "the connections beyond the limit are told so"
        assert [one.recv(1000) for one in idle[:30]] == [b""] * 30, "after a while the others are ended"
        assert server.lives()


def test_slow_readers_are_left(server):
    request = f"GET /api/big HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\n\r\n".encode()
    with contextlib.ExitStack() as opened:
        slow = [opened.enter_context(server.raw(request)) for _ in range(10)]
        tab = opened.enter_context(server.socket())
        tab.recv_bufsize = 0
        tab.send("flood")
        assert server.lives()
        time.sleep(1.5)  # longer than patience_s
        received = []
        for one in slow:
            with contextlib.suppress(ConnectionError):
                n = 0
                while part := one.recv(1 << 20):
                    n += len(part)
                received.append(n)
        assert all(n < 50_000_000 for n in received), "they did not get the whole"
    assert server.lives()


def test_server_does_not_wait_for_a_body_that_does_not_arrive(server):
    head = f"POST /api/change HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nOrigin: http://127.0.0.1:{server.port}\r\n"
    with server.raw(f"{head}Content-Length: 10\r\n\r\n{{".encode()) as plain:
        assert plain.recv(1000).startswith(b"HTTP/1.1 408")


def test_server_needs_its_token_elsewhere(tmp_path):
    with serving(tmp_path, "127.0.0.1") as server:
        assert len(server.token) >= 40
        assert server.ask("GET", "/")[0] == 401
        assert server.ask("GET", f"/?token={server.token[:-1]}")[0] == 401
        assert server.ask("POST", f"/api/change?token={server.token}", b'{"by": 1}')[0] == 401
        with pytest.raises(InvalidStatus, match="401"):
            server.socket()
        status, headers, _ = server.ask("GET", f"/?audit=1&token={server.token}")
        assert (status, headers["location"]) == (303, "/?audit=1")
        cookie = headers["set-cookie"]
        assert "HttpOnly" in cookie
        assert "SameSite" in cookie
        assert server.ask("GET", f"//evil.example/?token={server.token}")[1]["location"] == "/evil.example/"
        server.headers = {"Cookie": cookie.partition(";")[0]}
        assert server.change() == 200
        assert server.change(Origin="http://evil.example") == 403
        with server.socket() as tab:
            tab.send("x")
            assert tab.recv() == "1"
        server.headers = {"Authorization": f"Bearer {server.token}"}
        assert server.change() == 200
        assert server.ask("GET", "/", Host=f"evil.example:{server.port}")[0] == 421


def test_server_is_ended_by_an_interrupt_at_once_without_an_error(tmp_path):
    with serving(tmp_path) as server, server.socket():
        os.kill(server.process.pid, signal.SIGINT)
        server.process.join(20)
        assert server.process.exitcode == 0
        assert "Traceback" not in server.screen()


def test_server_address_that_cannot_be_had_is_an_error():
    with listening("127.0.0.1", 0) as taken, pytest.raises(AudiotagError, match="is taken"):
        listening("127.0.0.1", taken.getsockname()[1])
    with pytest.raises(AudiotagError, match=r"host=192\.0\.2\.1: this machine has no such address"):
        listening("192.0.2.1", 0)
    assert address(None, access_for(None, 80)) == "http://127.0.0.1:80/"
    assert "::" not in address("::", access_for("::", 80))
    assert json.dumps(address("::1", access_for("::1", 80))).startswith('"http://[::1]:80/?token=')


@pytest.mark.parametrize("name", ["fastapi", "uvicorn", "websockets"])
def test_server_without_what_serves_it_says_what_to_install(monkeypatch, name):
    monkeypatch.setitem(sys.modules, name, None)
    with pytest.raises(AudiotagError, match=rf"{name}, which is not installed: pip install -e '\.\[web\]'"):
        check_web()

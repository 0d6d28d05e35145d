"""Who is answered, and how much of it: stands before an application (ASGI), which sees only what has passed."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import secrets
import time
from collections.abc import Awaitable, Callable, Iterator, MutableMapping
from dataclasses import dataclass, field
from http import HTTPStatus
from http.cookies import CookieError, SimpleCookie
from typing import Any
from urllib.parse import parse_qs, quote, urlencode, urlsplit

Scope = MutableMapping[str, Any]
Message = MutableMapping[str, Any]
Receive = Callable[[], Awaitable[Message]]
Send = Callable[[Message], Awaitable[None]]
App = Callable[[Scope, Receive, Send], Awaitable[None]]

TOKEN = "token"  # in the address of the first visit
SAFE = {"GET", "HEAD"}  # methods that change nothing
LOOPBACK = frozenset({"localhost", "127.0.0.1", "::1"})
POLICY = (
    "default-src 'self'; img-src 'self' blob: data:; media-src 'self' blob:; object-src 'none'; base-uri 'none'; "
    "form-action 'none'; frame-ancestors 'none'"
)
HEADERS = {
    "x-content-type-options": "nosniff",
    "referrer-policy": "no-referrer",
    "cross-origin-resource-policy": "same-origin",
    "permissions-policy": "camera=(), geolocation=(), microphone=(self)",
    "cache-control": "no-store",
}
PIECE_BYTES = 1 << 16  # of an answer, handed on at a time: the next one once the client has read most of it
CLIENTS = 1000  # addresses whose rates are remembered


@dataclass(frozen=True)
class Limits:
    """How much one server takes on; what is beyond is answered 413, 429 or 503, a WebSocket closed 1008 or 1009."""

    body_bytes: int = 1 << 16
    """Of a request."""
    message_bytes: int = 1 << 16
    """Of a message by WebSocket."""
    messages_per_s: float = 200
    """By one WebSocket, on average over two seconds."""
    requests_per_s: float = 100
    """From one address, on average over four seconds."""
    requests: int = 48
    """Answered at one time, those that are being read among them."""
    websockets: int = 4
    """Open at one time."""
    connections: int = 64
    """Open at one time, idle ones too."""
    patience_s: float = 10
    """For a request to arrive whole, and for a client that has stopped reading to go on."""


@dataclass(frozen=True)
class Access:
    """Who may ask: requests to one of `hosts`, with the `token` if there is one, from pages of this server."""

    port: int
    hosts: frozenset[str] = LOOPBACK
    any_address: bool = False
    """Whether a host may be any number (192.168.1.2): no name that someone else resolves."""
    token: str | None = None
    policy: str = POLICY
    """The Content-Security-Policy of every answer."""

    @property
    def cookie(self) -> str:
        """Name of the cookie with the token; those of servers at other ports have other names."""
        return f"audiotag-{self.port}"


class Bucket:
    """Counts what comes at a rate: `take` returns whether it is still within it."""

    def __init__(self, per_s: float, burst_s: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._per_s, self._most, self._clock = per_s, per_s * burst_s, clock
        self._left, self._at = self._most, clock()

    def take(self) -> bool:
        """Take one, if there is one."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._per_s)
        self._at = now
        if self._left < 1:
            return False
        self._left -= 1
        return True


@dataclass(frozen=True)
class Refusal:
    """Why a request is not passed on."""

    status: HTTPStatus
    text: str
    headers: dict[str, str] = field(default_factory=dict)


class Guard:
    """An application that answers what `access` and `limits` allow by another one, and refuses the rest."""

    def __init__(self, app: App, access: Access, limits: Limits) -> None:
        self._app, self._access, self._limits = app, access, limits
        self._open = {"http": 0, "websocket": 0}
        self._rates: dict[str, Bucket] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Answer one request, or one WebSocket."""
        kind = scope["type"]
        if kind not in self._open:  # lifespan
            await self._app(scope, receive, send)
            return
        if kind == "http":
            send = self._with_headers(send)
        headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in scope["headers"]}
        refusal = self._refused(scope, headers)
        if refusal is None and kind == "http":
            try:
                receive = await self._whole(receive, headers)
            except _RefusedError as error:
                refusal = error.refusal
        if refusal is not None:
            await _answer(scope, send, refusal)
            return
        with self._counted(kind):
            await (self._app(scope, receive, send) if kind == "http" else self._converse(scope, receive, send))

    def _refused(self, scope: Scope, headers: dict[str, str]) -> Refusal | None:
        if not self._rate(scope).take():
            return Refusal(HTTPStatus.TOO_MANY_REQUESTS, "too many requests", {"retry-after": "1"})
        if not self._host_fits(headers.get("host", "")):
            text = f"this server does not answer to the name {headers.get('host', '')!r}: start it with host= that name"
            return Refusal(HTTPStatus.MISDIRECTED_REQUEST, text)
        stranger = self._unknown(scope, headers)
        if stranger is not None:
            return stranger
        changes = scope["type"] == "websocket" or scope["method"] not in SAFE
        if changes and urlsplit(headers.get("origin", "")).netloc != headers["host"]:
            return Refusal(HTTPStatus.FORBIDDEN, "only this server's own pages may do that (Origin)")
        most = self._limits.websockets if scope["type"] == "websocket" else self._limits.requests
        if self._open[scope["type"]] >= most:
            text = f"busy: no more than {most} at a time"
            return Refusal(HTTPStatus.SERVICE_UNAVAILABLE, text, {"retry-after": "1"})
        return None

    def _rate(self, scope: Scope) -> Bucket:
        address = (scope.get("client") or ("", 0))[0]
        if address not in self._rates and len(self._rates) >= CLIENTS:
            self._rates.pop(next(iter(self._rates)))
        return self._rates.setdefault(address, Bucket(self._limits.requests_per_s, burst_s=4))

    def _host_fits(self, host: str) -> bool:
        """Return whether a Host header names this server: a page whose name resolves to here later cannot ask."""
        try:
            parsed = urlsplit(f"//{host}")
            name, port = parsed.hostname or "", parsed.port
        except ValueError:
            return False
        if port != self._access.port or parsed.username is not None:
            return False
        return name.lower() in self._access.hosts or (self._access.any_address and _is_address(name))

    def _unknown(self, scope: Scope, headers: dict[str, str]) -> Refusal | None:
        """Return what to answer someone without the token, None who has it; the first visit gets a cookie."""
        token = self._access.token
        if token is None or any(_same(given, token) for given in _tokens(headers, self._access.cookie)):
            return None
        query = parse_qs(scope["query_string"].decode("latin-1"))
        if scope["type"] == "http" and scope["method"] == "GET" and _same(query.pop(TOKEN, [""])[0], token):
            # What stays in the browser's history is the address without it. Lax: it may be opened from a mail.
            place = "/" + quote(scope["path"].lstrip("/")) + ("?" + urlencode(query, doseq=True) if query else "")
            cookie = f"{self._access.cookie}={token}; Path=/; HttpOnly; SameSite=Lax"
            return Refusal(HTTPStatus.SEE_OTHER, "", {"location": place, "set-cookie": cookie})
        text = "open the whole address that the command has printed, token included"
        return Refusal(HTTPStatus.UNAUTHORIZED, text, {"www-authenticate": "Bearer"})

    async def _whole(self, receive: Receive, headers: dict[str, str]) -> Receive:
        """Return what gives the application the body, once it is here; raises _RefusedError if that is too much."""
        too_large = Refusal(
            HTTPStatus.REQUEST_ENTITY_TOO_LARGE, f"more than {self._limits.body_bytes} bytes", {"connection": "close"}
        )
        if int(headers.get("content-length", 0)) > self._limits.body_bytes:
            raise _RefusedError(too_large)
        body, more = bytearray(), True
        try:
            async with asyncio.timeout(self._limits.patience_s):
                while more:
                    message = await receive()
                    body += message.get("body", b"")
                    more = message.get("more_body", False)
                    if len(body) > self._limits.body_bytes:
                        raise _RefusedError(too_large)
        except TimeoutError:
            late = Refusal(HTTPStatus.REQUEST_TIMEOUT, "the request did not arrive", {"connection": "close"})
            raise _RefusedError(late) from None
        held = [{"type": "http.request", "body": bytes(body), "more_body": False}]

        async def replay() -> Message:
            return held.pop() if held else await receive()

        return replay

    @contextlib.contextmanager
    def _counted(self, kind: str) -> Iterator[None]:
        self._open[kind] += 1
        try:
            yield
        finally:
            self._open[kind] -= 1

    async def _converse(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Let the application converse by WebSocket as long as messages come at a bearable rate."""
        rate = Bucket(self._limits.messages_per_s, burst_s=2)

        async def bounded() -> Message:
            message = await receive()
            if message["type"] == "websocket.receive" and not rate.take():
                await send({"type": "websocket.close", "code": 1008, "reason": "too many messages"})
                return {"type": "websocket.disconnect", "code": 1008}
            return message

        async def yielding(message: Message) -> None:
            await send(message)
            await asyncio.sleep(0)  # a connection that is lost is noticed even by who sends without a pause

        await self._app(scope, bounded, yielding)

    def _with_headers(self, send: Send) -> Send:
        async def guarded(message: Message) -> None:
            if message["type"] == "http.response.start":
                given = {name.lower() for name, _ in message.get("headers", [])}
                all_ = {**HEADERS, "content-security-policy": self._access.policy}
                more = [(name.encode(), value.encode()) for name, value in all_.items() if name.encode() not in given]
                message["headers"] = [*message.get("headers", []), *more]
            for piece in _pieces(message):
                await send(piece)

        return guarded


class _RefusedError(Exception):
    def __init__(self, refusal: Refusal) -> None:
        super().__init__(refusal.text)
        self.refusal = refusal


def _tokens(headers: dict[str, str], cookie: str) -> list[str]:
    """Return the tokens that a request has in its headers."""
    scheme, _, bearer = headers.get("authorization", "").partition(" ")
    found = [bearer.strip()] if scheme.lower() == "bearer" else []
    with contextlib.suppress(CookieError):
        cookies = SimpleCookie(headers.get("cookie", ""))
        found += [cookies[cookie].value] if cookie in cookies else []
    return found


def _same(given: str, token: str) -> bool:
    return secrets.compare_digest(given.encode("utf-8", "replace"), token.encode())


def _is_address(name: str) -> bool:
    try:
        ipaddress.ip_address(name)
    except ValueError:
        return False
    return True


def _pieces(message: Message) -> Iterator[Message]:
    """Yield a message, one with a long body in several; else all of it would wait in memory for a slow reader."""
    body = message.get("body", b"")
    starts = range(PIECE_BYTES, len(body), PIECE_BYTES)
    for start in starts:
        yield {**message, "body": body[start - PIECE_BYTES : start], "more_body": True}
    yield {**message, "body": body[starts[-1] :]} if starts else message


async def _answer(scope: Scope, send: Send, refusal: Refusal) -> None:
    """Send a refusal; a WebSocket gets it in place of its opening."""
    kind = "http" if scope["type"] == "http" else "websocket.http"
    if kind != "http" and "websocket.http.response" not in scope.get("extensions", {}):
        await send({"type": "websocket.close", "code": 1008, "reason": refusal.text})
        return
    body = refusal.text.encode()
    headers = {"content-type": "text/plain; charset=utf-8", "content-length": str(len(body)), **refusal.headers}
    raw = [(name.encode(), value.encode()) for name, value in headers.items()]
    await send({"type": f"{kind}.response.start", "status": int(refusal.status), "headers": raw})
    await send({"type": f"{kind}.response.body", "body": body})

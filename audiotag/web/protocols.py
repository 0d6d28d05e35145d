"""Connections that cannot be held open for nothing: uvicorn's protocols, with an end to idling and to slow reading."""

from __future__ import annotations

import asyncio

import h11
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.protocols.websockets.websockets_sansio_impl import WebSocketsSansIOProtocol

from audiotag.web.guard import Limits

FULL = b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 1\r\nconnection: close\r\ncontent-length: 0\r\n\r\n"


class Clock:
    """Ends a connection, unless it is stopped in time."""

    def __init__(self, patience_s: float) -> None:
        self._patience_s = patience_s
        self._timer: asyncio.TimerHandle | None = None

    def start(self, transport: asyncio.Transport) -> None:
        """Begin to wait, if it does not yet."""
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(self._patience_s, transport.abort)

    def stop(self) -> None:
        """Wait no longer."""
        if self._timer is not None:
            self._timer.cancel()
        self._timer = None


class Read(asyncio.Protocol):
    """What is sent over a connection has to be read, in the time of a clock."""

    transport: asyncio.Transport
    patience_s: float

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        """Begin a connection."""
        self._reading = Clock(self.patience_s)
        super().connection_made(transport)

    def pause_writing(self) -> None:
        """Wait for the client to read on."""
        super().pause_writing()
        self._reading.start(self.transport)

    def resume_writing(self) -> None:
        """Go on: the client has read."""
        super().resume_writing()
        self._reading.stop()

    def connection_lost(self, exc: Exception | None) -> None:
        """End a connection."""
        self._reading.stop()
        super().connection_lost(exc)


def protocols(limits: Limits) -> tuple[type[asyncio.Protocol], type[asyncio.Protocol]]:
    """Return the classes that serve a connection, of HTTP and of WebSockets."""

    class Http(Read, H11Protocol):
        """HTTP; a request has to arrive, and its answer to be read, in `patience_s`."""

        patience_s = limits.patience_s

        def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
            super().connection_made(transport)
            self._asking, self._is_socket = Clock(limits.patience_s), False
            if len(self.connections) > limits.connections:
                transport.write(FULL)
                transport.close()
            else:
                self._asking.start(transport)

        def data_received(self, data: bytes) -> None:
            super().data_received(data)
            if self._is_socket or (self.cycle is not None and not self.cycle.response_complete):
                self._asking.stop()
            else:  # this was a part of a request
                self._asking.start(self.transport)

        def handle_websocket_upgrade(self, event: h11.Request) -> None:
            self._is_socket = True
            super().handle_websocket_upgrade(event)

        def timeout_keep_alive_handler(self) -> None:
            self.transport.abort()  # what has not been read by now never is

        def connection_lost(self, exc: Exception | None) -> None:
            self._asking.stop()
            super().connection_lost(exc)

    class Socket(Read, WebSocketsSansIOProtocol):
        """A WebSocket; what is sent has to be read."""

        patience_s = limits.patience_s

    return Http, Socket

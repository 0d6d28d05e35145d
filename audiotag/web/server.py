"""Starts a server for a page of ours: on this machine only, unless it is told otherwise, and then with a token.

app = create_app("the desk", Path(__file__).parent, {"/": "desk.html", "/desk.js": "desk.js"})
app.get("/api/state")(state)
serve(app, "The desk", host=None, port=None)
"""

from __future__ import annotations

import contextlib
import errno
import ipaddress
import secrets
import socket
import webbrowser
from collections.abc import Callable, Mapping
from importlib.util import find_spec
from pathlib import Path
from typing import TYPE_CHECKING

from audiotag.console import as_called, console, note
from audiotag.errors import AudiotagError
from audiotag.web.guard import LOOPBACK, TOKEN, Access, Limits

if TYPE_CHECKING:
    from fastapi import FastAPI
    from starlette.requests import Request
    from starlette.responses import Response

    from audiotag.web.guard import App

HERE = "127.0.0.1"
MEDIA_TYPES = {".html": "text/html", ".css": "text/css", ".js": "text/javascript", ".svg": "image/svg+xml"}
NEEDED = ("fastapi", "uvicorn", "websockets")


def check_web() -> None:
    """Raise AudiotagError if what serves pages is not installed."""
    missing = [name for name in NEEDED if find_spec(name) is None]
    if missing:
        raise AudiotagError(
            as_called(f"a page needs {', '.join(missing)}, which is not installed: pip install -e '.[web]'")
        )


def create_app(title: str, folder: Path, files: Mapping[str, str]) -> FastAPI:
    """Return an application that answers each path of `files` with that file of a folder, and nothing else yet."""
    check_web()
    from fastapi import FastAPI
    from fastapi.exceptions import RequestValidationError

    app = FastAPI(title=title, docs_url=None, redoc_url=None, openapi_url=None)
    app.exception_handler(RequestValidationError)(_malformed)
    for path, name in files.items():
        app.get(path)(_file(folder / name))
    return app


async def _malformed(request: Request, error: Exception) -> Response:
    """Answer a request that is not what the application expects, without what was in it: that may be no JSON at all."""
    from starlette.responses import PlainTextResponse

    return PlainTextResponse("this is not what is expected here", status_code=422)


def _file(path: Path) -> Callable[[], Response]:
    from starlette.responses import Response

    def answer() -> Response:
        return Response(path.read_bytes(), media_type=f"{MEDIA_TYPES[path.suffix]}; charset=utf-8")

    return answer


def serve(
    app: App,
    name: str,
    *,
    host: str | None = None,
    port: int | None = None,
    open_page: bool = False,
    limits: Limits | None = None,
    access: Callable[[Access], Access] = lambda access: access,
) -> None:
    """Serve an application until Ctrl-C, and print where.

    `host` None: on this machine only, without a token; else at that address, with one. `port` None: a free one.
    `access` may change who is answered. Raises AudiotagError if there is no such address, or the port is taken.
    """
    check_web()
    import uvicorn

    from audiotag.web.guard import Guard
    from audiotag.web.protocols import protocols

    limits = limits or Limits()
    with listening(host or HERE, port or 0) as listener:
        allowed = access(access_for(host, listener.getsockname()[1]))
        http, websocket = protocols(limits)
        config = uvicorn.Config(
            Guard(app, allowed, limits),
            http=http,
            ws=websocket,
            ws_max_size=limits.message_bytes,
            ws_per_message_deflate=False,  # what a message takes is known before it is unpacked
            h11_max_incomplete_event_size=1 << 14,
            proxy_headers=False,  # anybody could write them
            server_header=False,
            access_log=False,
            log_level="error",
            timeout_graceful_shutdown=2,
        )
        url = address(host, allowed)
        console.print(f"{name}: {url}", soft_wrap=True)
        console.print("Ctrl-C ends it.", soft_wrap=True)
        if open_page and not webbrowser.open(url):
            note("no browser:", "there is none to open here; open the address in one")
        with contextlib.suppress(KeyboardInterrupt):  # that is how it is meant to end
            uvicorn.Server(config).run([listener])


def access_for(host: str | None, port: int) -> Access:
    """Return who may ask a server at an address; from elsewhere than this machine, only who has the token."""
    if host is None:
        return Access(port)
    names = {host.lower(), socket.gethostname().lower(), socket.getfqdn().lower()}
    return Access(port, LOOPBACK | names, any_address=True, token=secrets.token_urlsafe(32))


def address(host: str | None, access: Access) -> str:
    """Return the address to open."""
    name = host or HERE
    with contextlib.suppress(ValueError):
        of_all = ipaddress.ip_address(name)
        name = socket.gethostname() if of_all.is_unspecified else f"[{name}]" if of_all.version == 6 else name
    return f"http://{name}:{access.port}/" + ("" if access.token is None else f"?{TOKEN}={access.token}")


def listening(host: str, port: int) -> socket.socket:
    """Return a socket that listens; raises AudiotagError if it cannot."""
    try:
        family, _, _, _, place = socket.getaddrinfo(host, port, type=socket.SOCK_STREAM, flags=socket.AI_PASSIVE)[0]
        return socket.create_server(place[:2], family=family, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise AudiotagError(
                f"port={port} is taken: another program, or another window of this one, listens there; end that, or "
                "leave port= out for a free one"
            ) from error
        if error.errno in (errno.EACCES, errno.EPERM):
            raise AudiotagError(f"port={port} is not for everybody: take one above 1023") from error
        raise AudiotagError(f"host={host}: this machine has no such address ({error.strerror})") from error

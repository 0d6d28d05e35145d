"""The desk's page and what it asks for: addresses, and what they answer. What is decided, `desk` knows."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from fastapi import FastAPI, Response
from fastapi.responses import JSONResponse, PlainTextResponse
from pydantic import BaseModel, ConfigDict, Field
from starlette.requests import Request

from audiotag.errors import AudiotagError
from audiotag.review.desk import Desk
from audiotag.review.sample import Sample
from audiotag.review.verdicts import UnfitError
from audiotag.web.server import create_app

FILES = {"/": "desk.html", "/desk.css": "desk.css", "/desk.js": "desk.js"}
Place = Annotated[int, Field(ge=0, le=10_000_000)]
Name = Annotated[str, Field(max_length=1000)]
Key = Annotated[str, Field(max_length=64, pattern=r"^[A-Za-z0-9-]*$")]


class Strict(BaseModel):
    """A message of the page, of which nothing is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class VerdictGiven(Strict):
    """A verdict on the clip at `index` of the queue."""

    index: Place
    word: Name
    label: Name = ""
    again: bool = False
    tab: Key
    key: Key


class TakenBack(Strict):
    """The last verdict of a window is taken back."""

    tab: Key
    key: Key


class Draw(Strict):
    """So many accepted labels are wanted; None: as many as before."""

    n: Annotated[int, Field(ge=1, le=1_000_000)] | None = None


class Heard(Strict):
    """A verdict on an accepted label, "" to take it back."""

    index: Place
    verdict: Literal["right", "wrong", "unsure", ""]


def desk_app(desk: Desk, sample: Sample, audit_first: bool) -> FastAPI:
    """Return the application of a desk; functions without `async` run in threads of their own."""
    app = create_app("audiotag.review", Path(__file__).parent, FILES)
    app.exception_handler(AudiotagError)(_told)
    app.exception_handler(UnfitError)(_refused)

    @app.get("/api/start")
    def start() -> dict[str, Any]:
        return {**desk.start(), "audit_first": audit_first}

    @app.get("/api/next")
    def next_clip(at: int = -1, only: str | None = None, later: int = 0, verdict: bool = False) -> dict[str, Any]:
        return desk.next(at, only, later, verdict)

    @app.get("/api/item/{index}")
    def item(index: Place) -> dict[str, Any]:
        return desk.item(index)

    @app.post("/api/verdict")
    def verdict(given: VerdictGiven) -> dict[str, Any]:
        desk.decide(**given.model_dump())
        return {}

    @app.post("/api/undo")
    def undo(taken: TakenBack) -> dict[str, Any]:
        return {"index": desk.undo(taken.tab, taken.key)}

    @app.post("/api/audit")
    def audit(wanted: Draw) -> dict[str, Any]:
        return sample.draw(wanted.n)

    @app.post("/api/audit/verdict")
    def heard(given: Heard) -> dict[str, Any]:
        return sample.give(given.index, given.verdict)

    _add_recordings(app, desk)
    return app


def _add_recordings(app: FastAPI, desk: Desk) -> None:
    def kept(content: bytes, kind: str) -> Response:
        return Response(content, media_type=kind, headers={"cache-control": "private, max-age=3600"})

    @app.get("/api/sound/{number}")
    def sound(number: Place) -> Response:
        return kept(desk.recording(number).wav, "audio/wav")

    @app.get("/api/picture/{number}")
    def picture(number: Place) -> Response:
        return kept(desk.recording(number).picture, "image/webp")

    @app.get("/api/shape/{number}")
    def shape(number: Place) -> dict[str, Any]:
        return desk.recording(number).shape


async def _told(request: Request, error: Exception) -> Response:
    return JSONResponse({"error": str(error)}, status_code=409)


async def _refused(request: Request, error: Exception) -> Response:
    return PlainTextResponse(str(error), status_code=422)

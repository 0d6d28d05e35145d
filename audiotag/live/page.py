"""A page, served to this machine, that labels what the browser's microphone hears: predict.py live=true web=true.

A connection (WebSocket) begins with a text, an Opening, and goes on with samples, mono, as 32-bit little-endian floats;
where some are missing, a text says how many, a Loss. An answer is a text: JSON with the fields of `_answer`, or
{"problem": TEXT} before the connection is ended. Shapes: F bands, T frames.
"""

from __future__ import annotations

import asyncio
import base64
import json
import time
from collections import deque
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Annotated, Any, TypeVar

import numpy as np
from fastapi import FastAPI, WebSocket
from pydantic import BaseModel, ConfigDict, Field, ValidationError
from starlette.websockets import WebSocketDisconnect, WebSocketState

import audiotag.web
from audiotag.config import PredictConfig
from audiotag.console import as_called
from audiotag.errors import AudiotagError
from audiotag.features.audio import RATES_HZ, WaveStream, checked_wave
from audiotag.features.spectrogram import as_seen, frames, front_end_of
from audiotag.features.trimming import Wave
from audiotag.inference.load import Answering
from audiotag.inference.spectrograms import Frames
from audiotag.live.feed import Feed
from audiotag.live.session import Session
from audiotag.live.sources import Source
from audiotag.live.stream import LiveStream
from audiotag.live.view import Meter
from audiotag.web.guard import Limits
from audiotag.web.server import create_app

ASSETS = Path(audiotag.web.__file__).parent
SCRIPTS = ["live.js", "socket-source.js", "capture-worklet.js", "spectrogram.js", "wav.js"]
FILES = {"/": "live.html", "/main.js": "socket-main.js", "/live.css": "live.css", "/icon.svg": "icon.svg"}
FILES |= {f"/{name}": name for name in SCRIPTS}
LIMITS = Limits(message_bytes=1 << 18)
LONGEST_S = 120  # of a file that is opened in the page
PATIENCE_S = 10.0  # for a message
AHEAD_S = 10.0  # by which sound may come before its time: a network that held it back delivers it at once
DRAWN_FRAMES = 1000  # of a file: as many as the picture is wide
BACKLOG_S = 30.0  # in which an answer has to be taken

Text = TypeVar("Text", bound="Strict")
Send = Callable[[dict[str, Any]], None]


class Strict(BaseModel):
    """A message of the page, of which nothing is guessed."""

    model_config = ConfigDict(extra="forbid", strict=True)


class Opening(Strict):
    """What follows: sound as it is recorded, or, with `samples`, a whole recording of so many."""

    sample_rate_hz: Annotated[int, Field(ge=RATES_HZ[0], le=RATES_HZ[1])]
    samples: Annotated[int, Field(ge=1)] | None = None


class Loss(Strict):
    """So many samples have been left out before the next ones."""

    lost: Annotated[int, Field(ge=1, le=1_000_000_000)]


class UnfitError(Exception):
    """A message that is not what is expected; its connection ends."""


class LeftError(Exception):
    """Nobody listens any more."""


class Listener:
    """The networks, which all connections ask, one at a time, in the order in which they come."""

    def __init__(self, tagger: Answering, config: PredictConfig, top: int, every_frames: int) -> None:
        self._tagger, self._config, self._every_frames = tagger, config, every_frames
        # One thread instead of a lock, which is handed to nobody in particular.
        self._networks = ThreadPoolExecutor(1, "networks")
        features = tagger.groups[0][0].features
        self.sample_rate_hz, self._shown = front_end_of(features).sample_rate_hz, front_end_of(as_seen(features))
        self._hop = self.sample_rate_hz / self._shown.frames_per_second
        with self._stream(self.sample_rate_hz) as stream:  # raises what is wrong with the settings
            window_frames = round(stream.window_s * self._shown.frames_per_second)
            window = {"window_s": stream.window_s, "window_frames": window_frames}
        self.about = {"runs": list(tagger.names), "classes": list(tagger.classes), **window}
        self.about |= {"sample_rate_hz": self.sample_rate_hz, "hop_samples": self._hop, "longest_s": LONGEST_S}
        self.about |= {"bands_hz": [round(float(hz), 1) for hz in self._shown.center_hz]}
        self.about |= {"top": top, "smoothing_s": config.smoothing_s}

    def hear(self, feed: Feed, sample_rate_hz: int, send: Send) -> None:
        """Label what a feed gives, window by window, until it ends; raises what it ends with."""
        source = Source("the page", sample_rate_hz, waits=False, feed=feed)
        with self._stream(sample_rate_hz) as stream:
            session = Session(stream, source, lambda wave, newest: self._ask(stream.push, wave, newest))
            peaks: deque[tuple[float, float]] = deque()  # of the blocks of the last window: when, and in dBFS
            skipped = 0
            for windows, dropped_s in session.windows():
                now_s = session.heard_s + session.dropped_s
                peaks.append((now_s, session.meter.peak_dbfs))
                while peaks[0][0] <= now_s - stream.window_s:
                    peaks.popleft()
                for window in windows:  # one at most: a source that does not wait has the newest labelled
                    answer = _answer(window.begin_s, window.end_s, window.posteriors.tolist(), stream.new_frames())
                    answer |= {"silent": self._silent(max(peak for _, peak in peaks)), "dropped_s": dropped_s}
                    answer |= {"left_out": stream.skipped - skipped, "latency_ms": 1000 * session.latencies_s[-1]}
                    skipped = stream.skipped
                    send(answer)

    def hear_file(self, wave: Wave, sample_rate_hz: int) -> dict[str, Any]:
        """Return the answer to a whole recording (samples,); raises AudiotagError if it is too short."""
        began_s = time.monotonic()
        posteriors = self._ask(self._tagger.posteriors, wave, sample_rate_hz).tolist()
        drawn = wave[-round(DRAWN_FRAMES * self._hop * sample_rate_hz / self.sample_rate_hz) :]
        audio = WaveStream(drawn, sample_rate_hz, trim_silence=False, rate_hz=self._shown.sample_rate_hz)
        picture = self._ask(lambda: np.concatenate(list(frames(audio, self._shown))))[-DRAWN_FRAMES:]
        answer, meter = _answer(0.0, len(wave) / sample_rate_hz, posteriors, picture), Meter()
        meter.add(wave)
        took_ms = 1000 * (time.monotonic() - began_s)
        return answer | {"file": True, "silent": self._silent(meter.peak_dbfs), "left_out": 0, "took_ms": took_ms}

    def close(self) -> None:
        """Ask the networks no more."""
        self._networks.shutdown(cancel_futures=True)

    def _stream(self, sample_rate_hz: int) -> LiveStream:
        config, classes = self._config, self._tagger.classes
        settings = (config.window_frames, self._every_frames, config.reference)
        return LiveStream(self._tagger, classes, sample_rate_hz, *settings)

    def _ask(self, call: Callable[..., Any], *arguments: Any) -> Any:
        return self._networks.submit(call, *arguments).result()

    def _silent(self, peak_dbfs: float) -> bool:
        return peak_dbfs <= self._config.reference.floor_dbfs


def _answer(begin_s: float, end_s: float, posteriors: list[float], new: Frames) -> dict[str, Any]:
    """Return what is said of a window: its times, all posteriors, and frames (T, F) in 256 steps from low to high."""
    low, high = (float(new.min()), float(new.max())) if new.size else (0.0, 0.0)
    steps = np.rint((new.astype(np.float32) - low) * (255 / ((high - low) or 1.0))).astype(np.uint8)
    picture = {"bands": new.shape[1], "frames": len(new), "low": low, "high": high}
    picture |= {"data": base64.b64encode(steps.tobytes()).decode()}
    return {"begin_s": begin_s, "end_s": end_s, "posteriors": posteriors, "spectrogram": picture}


def page_app(listener: Listener) -> FastAPI:
    """Return the application of the page."""
    app = create_app(as_called("predict.py"), ASSETS, FILES)

    @app.get("/about.json")
    def about() -> dict[str, Any]:
        return listener.about

    @app.websocket("/api/listen")
    async def listen(socket: WebSocket) -> None:
        await socket.accept()
        try:
            await _converse(socket, listener)
        except (WebSocketDisconnect, LeftError):
            return
        except (UnfitError, AudiotagError) as error:
            await _send(socket, {"problem": str(error)})
            await socket.close(1008)

    return app


async def _converse(socket: WebSocket, listener: Listener) -> None:
    """Answer one connection; raises WebSocketDisconnect or LeftError where it ends, UnfitError if it has to."""
    opening = _parsed(Opening, await _message(socket))
    if opening.samples is None:
        await _live(socket, listener, opening.sample_rate_hz)
        return
    wave = await _whole(socket, opening.samples, LONGEST_S * min(opening.sample_rate_hz, listener.sample_rate_hz))
    await _send(socket, await asyncio.to_thread(listener.hear_file, wave, opening.sample_rate_hz))
    await socket.close()


async def _live(socket: WebSocket, listener: Listener, sample_rate_hz: int) -> None:
    """Label what comes until it ends; raises why it does."""
    feed, loop = Feed(sample_rate_hz), asyncio.get_running_loop()

    def send(answer: dict[str, Any]) -> None:
        # Waits until the answer is on its way: who reads slowly has late sound dropped, and no answers pile up.
        asyncio.run_coroutine_threadsafe(_send(socket, answer), loop).result(BACKLOG_S)

    hearing = asyncio.create_task(asyncio.to_thread(listener.hear, feed, sample_rate_hz, send))
    filling = asyncio.create_task(_fill(feed, socket, sample_rate_hz))
    try:
        await asyncio.wait({hearing, filling}, return_when=asyncio.FIRST_COMPLETED)
    finally:
        feed.end(LeftError())
        filling.cancel()
        ended = await asyncio.gather(filling, hearing, return_exceptions=True)
    for error in ended:
        if isinstance(error, Exception):
            raise error


async def _fill(feed: Feed, socket: WebSocket, sample_rate_hz: int) -> None:
    """Give a feed the samples that come; raises UnfitError if they are none, or come faster than sound."""
    began_s, n = time.monotonic(), 0
    while True:
        message = await _message(socket)
        if isinstance(message, str):
            feed.lose(_parsed(Loss, message).lost)
            continue
        wave = _samples(message, sample_rate_hz)
        n += len(wave)
        if n > sample_rate_hz * (1.1 * (time.monotonic() - began_s) + AHEAD_S):
            raise UnfitError("this comes faster than any sound does")
        feed.put(wave)


async def _whole(socket: WebSocket, samples: int, most: int) -> Wave:
    """Return a recording of so many samples; raises UnfitError if those are too many, or others come."""
    if samples > most:
        raise UnfitError(f"the file lasts more than {LONGEST_S} s: {as_called('predict.py')} takes files of any length")
    parts, n = [], 0
    while n < samples:
        message = await _message(socket)
        if isinstance(message, str):
            raise UnfitError("samples were expected, and no text")
        parts.append(_samples(message, RATES_HZ[0]))
        n += len(parts[-1])
    if n > samples:
        raise UnfitError(f"{samples} samples were announced, and {n} have come")
    return np.concatenate(parts)


async def _message(socket: WebSocket) -> str | bytes:
    """Return the next message; raises UnfitError if none comes in time, WebSocketDisconnect if none will."""
    try:
        async with asyncio.timeout(PATIENCE_S):
            message = await socket.receive()
    except TimeoutError:
        raise UnfitError(f"nothing has come for {PATIENCE_S:g} s") from None
    if message["type"] == "websocket.disconnect":
        raise WebSocketDisconnect(message.get("code", 1005))
    content: str | bytes | None = message.get("bytes")
    return message["text"] if content is None else content


def _parsed(kind: type[Text], message: str | bytes) -> Text:
    """Return a text as what it has to be; raises UnfitError if it is not."""
    try:
        return kind.model_validate_json(message if isinstance(message, str) else "")
    except ValidationError as error:
        raise UnfitError(f"this is not what is expected here ({kind.__name__})") from error


def _samples(data: bytes, sample_rate_hz: int) -> Wave:
    """Return a message's samples (samples,); raises UnfitError if it holds none, or some that are no audio."""
    if len(data) % 4 or not data:
        raise UnfitError(f"a message of {len(data)} bytes holds no 32-bit floats")
    try:
        return checked_wave(np.frombuffer(data, "<f4"), sample_rate_hz)
    except ValueError as error:
        raise UnfitError(str(error)) from error


async def _send(socket: WebSocket, answer: dict[str, Any]) -> None:
    """Send an answer; raises WebSocketDisconnect if nobody is there to read it."""
    if socket.client_state is WebSocketState.DISCONNECTED:
        raise WebSocketDisconnect
    await socket.send_text(json.dumps(answer, allow_nan=False))

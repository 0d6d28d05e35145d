"""predict.py live=true: label a microphone, a file or standard input as it comes, show it, and write it down.

Or, with web=true, serve a page that does so.
"""

from __future__ import annotations

import contextlib
import os
import sys
import time
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from rich.live import Live

from audiotag.config import PredictConfig
from audiotag.config.predict import MICROPHONE, STANDARD_INPUT
from audiotag.console import console
from audiotag.distributed.processes import importing_pytorch
from audiotag.errors import AudiotagError
from audiotag.inference.exported import exported
from audiotag.inference.load import Answering, load_tagger
from audiotag.inference.members import choose_members
from audiotag.live.session import Session
from audiotag.live.sources import open_source
from audiotag.live.view import Scene, Scroll, Smoothed
from audiotag.live.writer import Writer, live_output, top_labels
from audiotag.web.server import check_web, serve

if TYPE_CHECKING:
    from audiotag.inference.window import Window

DRAWN_PER_S = 12  # pictures
EVERY_FRAMES = 10  # from window to window, if nothing is said

Show = Callable[[Sequence["Window"], float], None]


def predict_live(config: PredictConfig) -> Path | None:
    """Label sound as it comes until it ends, or Ctrl-C; return the file of what was heard, if `out` asks for one.

    Raises RunError if a run, round or fold is not there, AudiotagError if the source is not, or a window is too short.
    """
    one = exported(config)
    if one is None:
        choose_members(config)  # a wrong name is said before a device is opened
    is_file = config.source not in (MICROPHONE, STANDARD_INPUT)
    out = live_output(config, [Path(str(config.source)).expanduser()] if is_file else [])
    source = open_source(config)

    tagger, every_frames = load_tagger(config, one), config.every_frames or EVERY_FRAMES
    classes, top = tagger.classes, labels_shown(config, tagger)
    with importing_pytorch():
        from audiotag.live.stream import LiveStream
    rate_hz = source.sample_rate_hz
    stream = LiveStream(tagger, classes, rate_hz, config.window_frames, every_frames, config.reference)
    session = Session(stream, source)
    with contextlib.ExitStack() as ending:
        writer = None if out is None else ending.enter_context(contextlib.closing(Writer(out, top)))
        # Who presses Ctrl-C has heard enough.
        ending.enter_context(contextlib.suppress(KeyboardInterrupt))
        ending.enter_context(stream)
        show = ending.enter_context(_view(session, config, top) if console.is_terminal else _lines(top))
        try:
            for windows, dropped_s in session.windows():
                if writer is not None:
                    writer.add(windows, dropped_s)
                show(windows, dropped_s)
        except BrokenPipeError:  # so has `head`
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())
    for line in session.summary():
        console.print(line, soft_wrap=True)
    if out is not None:
        console.print(f"Predictions: {out}", soft_wrap=True)
    return out


def serve_page(config: PredictConfig) -> None:
    """Serve a page that labels what the browser's microphone hears, until Ctrl-C; raises as predict_live does."""
    check_web()
    one = exported(config)
    if one is None:
        choose_members(config)
    tagger = load_tagger(config, one)
    top = labels_shown(config, tagger)
    with importing_pytorch():
        from audiotag.live.page import LIMITS, Listener, page_app
    with contextlib.closing(Listener(tagger, config, top, config.every_frames or EVERY_FRAMES)) as listener:
        app = page_app(listener)
        serve(app, "Live labels", host=config.host, port=config.port, open_page=config.open, limits=LIMITS)


def labels_shown(config: PredictConfig, tagger: Answering) -> int:
    """Return how many labels are shown; raises AudiotagError if more are asked for than there are."""
    if (config.top or 0) > len(tagger.classes):
        raise AudiotagError(f"top={config.top}: {', '.join(tagger.names)} knows {len(tagger.classes)} classes only")
    return min(config.labels, len(tagger.classes))


@contextlib.contextmanager
def _lines(top: int) -> Iterator[Show]:
    """Print a line for each window."""

    def show(windows: Sequence[Window], dropped_s: float) -> None:
        for number, window in enumerate(windows):
            if dropped_s and number == 0:
                print(f"{dropped_s:.2f} s dropped")
            labels = ", ".join(f"{label} {p:.3f}" for label, p in top_labels(window, top))
            print(f"{window.begin_s:.2f} to {window.end_s:.2f} s: {labels}", flush=True)

    yield show


@contextlib.contextmanager
def _view(session: Session, config: PredictConfig, top: int) -> Iterator[Show]:
    """Show the spectrogram that runs by, bars, the level, and how it goes."""
    stream, smoothed = session.stream, Smoothed(config.smoothing_s)
    scene = Scene(stream.classes, top, Scroll(stream.frames_per_second), session.meter)
    drawn_s = 0.0
    with Live(console=console, auto_refresh=False) as live:

        def draw() -> None:
            scene.status = session.status()
            picture = scene.draw(console.width, console.height, console.color_system is not None)
            live.update(picture, refresh=True)

        def show(windows: Sequence[Window], dropped_s: float) -> None:
            nonlocal drawn_s
            scene.scroll.add(stream.new_frames())
            for window in windows:
                scene.posteriors = smoothed.add(window.posteriors, window.end_s)
            if time.monotonic() - drawn_s >= 1 / DRAWN_PER_S:
                draw()
                drawn_s = time.monotonic()

        yield show
        draw()

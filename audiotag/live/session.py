"""One time of listening: blocks of a source become windows, gaps are noticed, and what it took is measured."""

from __future__ import annotations

import time
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import TYPE_CHECKING

import numpy as np

from audiotag.features.trimming import Wave
from audiotag.live.sources import Source
from audiotag.live.view import Meter

if TYPE_CHECKING:
    from audiotag.inference.window import Window
    from audiotag.live.stream import LiveStream

Push = Callable[[Wave, bool], Sequence["Window"]]

REMEMBERED = 10_000  # windows whose latency is known


class Session:
    """A source heard by a stream; `heard_s`, `dropped_s` in `gaps`, `overflows` of a device, `n_windows` and
    `latencies_s` say how it goes.

    The latency of a window is the time from its last moment, as that arrived here, to its posteriors. There is none of
    a source that waits: it comes no earlier than it is wanted. `push` is how the stream takes a block, if not at once.
    """

    def __init__(self, stream: LiveStream, source: Source, push: Push | None = None) -> None:
        self.stream, self.source, self.meter, self._push = stream, source, Meter(), push or stream.push
        self.heard_s = self.dropped_s = 0.0
        self.gaps = self.n_windows = self.overflows = 0
        self.latencies_s: deque[float] = deque(maxlen=REMEMBERED)
        self._began_s = time.monotonic()

    def windows(self) -> Iterator[tuple[Sequence[Window], float]]:
        """Yield, after every block, the windows that it completed, and seconds dropped since the last that had some."""
        rate, end, dropped = self.source.sample_rate_hz, 0, 0
        self._began_s = time.monotonic()
        with self.source.listen() as blocks:
            for block in blocks:
                if block.begin > end:
                    dropped += block.begin - end
                    self.gaps, self.dropped_s = self.gaps + 1, self.dropped_s + (block.begin - end) / rate
                    self.stream.restart(block.begin / rate)
                end = block.begin + len(block.wave)
                self.overflows += block.overflows
                self.heard_s += len(block.wave) / rate
                self.meter.add(block.wave)
                windows = self._push(block.wave, not self.source.waits)
                if windows and not self.source.waits:
                    was_there_s = block.arrived_s - (end / rate - windows[-1].end_s)
                    self.latencies_s.append(time.monotonic() - was_there_s)
                self.n_windows += len(windows)
                yield windows, dropped / rate
                dropped = 0 if windows else dropped
        windows = self.stream.finish()
        self.n_windows += len(windows)
        yield windows, dropped / rate

    def status(self) -> str:
        """Return how it goes, in a line."""
        parts = [f"{self.heard_s + self.dropped_s:.1f} s"]
        if self.source.waits:
            parts.append(f"{self.heard_s / max(time.monotonic() - self._began_s, 1e-9):.1f} times as fast as sound")
        elif self.latencies_s:
            parts.append(f"latency {1000 * self.latencies_s[-1]:.0f} ms (99 % below {1000 * self.latency_s(99):.0f})")
        if not self.source.waits:
            parts.append(f"dropped {self.dropped_s:.2f} s")
            parts.append(f"skipped {self.stream.skipped} windows")
        if self.overflows:
            parts.append(f"{self.overflows} losses of the device")
        return ", ".join(parts)

    def latency_s(self, percentile: float) -> float:
        """Return the latency that so many percent of the last windows were below."""
        return float(np.percentile(self.latencies_s, percentile))

    def summary(self) -> list[str]:
        """Return what to say at the end."""
        took_s = time.monotonic() - self._began_s
        lines = [f"Heard: {self.heard_s:.1f} s of {self.source.name} in {took_s:.1f} s, {self.n_windows} windows"]
        if self.latencies_s:
            figures = ", ".join(f"{share} % below {1000 * self.latency_s(share):.0f} ms" for share in (50, 99))
            lines.append(f"Latency beyond the window: {figures}")
            if self.source.device is not None:
                lines.append(f"Before it, the device holds sound back for {1000 * self.source.late_s:.0f} ms")
        if self.dropped_s or self.stream.skipped:
            lines.append(
                f"Too slow to hear all: {self.stream.skipped} windows skipped, {self.dropped_s:.2f} s of sound dropped "
                f"in {self.gaps} gaps"
            )
        if self.overflows:
            lines.append(f"The device itself lost sound {self.overflows} times: this machine is busy")
        return lines

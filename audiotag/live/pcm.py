"""Samples that come through a pipe: raw PCM, or a WAV file, read from its first byte to its last."""

from __future__ import annotations

import struct
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import numpy as np

from audiotag.config import Pcm
from audiotag.errors import AudiotagError
from audiotag.features.audio import LARGEST_SAMPLE, RATES_HZ, mono
from audiotag.features.trimming import Wave

READ_BYTES = 1 << 16
SAMPLE_BYTES = {"u8": 1, "s16": 2, "s24": 3, "s32": 4, "f32": 4, "f64": 8}
OF_WAV = {(1, 8): "u8", (1, 16): "s16", (1, 24): "s24", (1, 32): "s32", (3, 32): "f32", (3, 64): "f64"}
# Type, the value of silence, and full scale.
KINDS = {"u8": ("u1", 128, 2**7), "s16": ("<i2", 0, 2**15), "s32": ("<i4", 0, 2**31)}
KINDS |= {"f32": ("<f4", 0, 1), "f64": ("<f8", 0, 1)}
EXTENSIBLE = 0xFFFE
UNKNOWN = (0, 0xFFFFFFFF)  # lengths that programs write which do not know yet
HEADER_BYTES = 1 << 20  # of chunks before the samples


@dataclass(frozen=True)
class Layout:
    """What bytes mean, and how many follow (None: until the end)."""

    rate_hz: int
    channels: int
    encoding: str
    n_bytes: int | None = None


class PcmReader:
    """Mono samples of a pipe: of a WAV file if one comes, else as `settings` say.

    `read` returns what has come, at most so many bytes, and none at the end, as `os.read` does. Raises AudiotagError if
    the settings are needed and not given, or the header is broken.
    """

    def __init__(self, read: Callable[[int], bytes], settings: Pcm) -> None:
        self._come, self._bytes = read, b""  # the bytes that have come and are not used yet
        begin = self._peek(12)
        if begin[:4] in (b"RIFF", b"RF64") and begin[8:] == b"WAVE":
            if settings != Pcm():
                raise AudiotagError("standard input is WAV, which says itself what comes: leave pcm.* away")
            self._read(12)
            self._layout = self._wav_layout()
        elif not begin:
            raise AudiotagError("nothing comes on standard input")
        elif settings.rate_hz is None:
            raise AudiotagError("standard input is no WAV: say how many samples a second come, pcm.rate_hz=HZ")
        else:
            self._layout = Layout(settings.rate_hz, settings.channels, settings.encoding)
        self.sample_rate_hz = self._layout.rate_hz

    def blocks(self) -> Iterator[Wave]:
        """Yield mono samples (samples,) as they come; raises AudiotagError for some that are no audio."""
        frame = SAMPLE_BYTES[self._layout.encoding] * self._layout.channels
        left = self._layout.n_bytes
        while left is None or left >= frame:
            whole = len(self._bytes) if left is None else min(len(self._bytes), left)
            whole -= whole % frame
            if whole:
                yield samples(self._read(whole), self._layout)
                left = None if left is None else left - whole
            elif not self._more():
                return  # of a broken last sample nothing is heard

    def _more(self) -> bool:
        """Read what has come; return whether that was anything."""
        come = self._come(READ_BYTES)
        self._bytes += come
        return bool(come)

    def _peek(self, size: int) -> bytes:
        """Return the next bytes, fewer at the end, and leave them to be read."""
        while len(self._bytes) < size and self._more():
            pass
        return self._bytes[:size]

    def _read(self, size: int) -> bytes:
        """Return the next bytes; raises AudiotagError if that many do not come."""
        found = self._peek(size)
        if len(found) < size:
            raise AudiotagError("standard input ends within the header of a WAV file")
        self._bytes = self._bytes[size:]
        return found

    def _wav_layout(self) -> Layout:
        """Read the header of a WAV file, up to its samples."""
        rate_hz = channels = bits = code = 0
        while True:
            name, size = struct.unpack("<4sI", self._read(8))
            if name == b"data":
                break
            if size > HEADER_BYTES:
                raise AudiotagError(f"standard input is no WAV that can be read: a header of {size:,} bytes")
            chunk = self._read(size + size % 2)
            if name == b"fmt " and size >= 16:
                code, channels, rate_hz, _, _, bits = struct.unpack_from("<HHIIHH", chunk)
                code = struct.unpack_from("<H", chunk, 24)[0] if code == EXTENSIBLE and size >= 26 else code
        if (code, bits) not in OF_WAV or not channels or not RATES_HZ[0] <= rate_hz <= RATES_HZ[1]:
            raise AudiotagError(
                f"standard input is WAV of format {code} with {bits} bits, {channels} channels and {rate_hz} Hz, which "
                "cannot be read: send PCM of 8 to 32 bits or floats"
            )
        return Layout(rate_hz, channels, OF_WAV[code, bits], None if size in UNKNOWN else size)


def samples(data: bytes, layout: Layout) -> Wave:
    """Return the mono samples (samples,) of bytes, full scale at 1; raises AudiotagError if they are no audio."""
    wave: Wave
    if layout.encoding == "s24":
        parts = np.frombuffer(data, np.uint8).reshape(-1, 3)
        padded = np.concatenate((np.zeros((len(parts), 1), np.uint8), parts), axis=1)
        wave = padded.reshape(-1).view("<i4").astype(np.float32) / np.float32(2**31)
    else:
        kind, zero, scale = KINDS[layout.encoding]
        wave = (np.frombuffer(data, kind).astype(np.float32) - np.float32(zero)) / np.float32(scale)
    # Written so that NaN is caught, too.
    if not (wave.min() >= -LARGEST_SAMPLE and wave.max() <= LARGEST_SAMPLE):
        raise AudiotagError("standard input holds samples that are no audio: is pcm.encoding= what is sent?")
    return mono(wave.reshape(-1, layout.channels))

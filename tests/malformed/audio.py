"""Recordings that are cut off, lie about themselves, or are something else."""

from __future__ import annotations

import csv
import os
import socket
import struct
from collections.abc import Callable
from functools import partial
from pathlib import Path

import numpy as np
import soundfile

from tests.clips import RATE_HZ, sound, write_table
from tests.malformed.cases import DATA, ON_CPU, SHORT, Case, Files, Make

# What the programs say; None: they use the recording.
UNDECODABLE, EMPTY, RATE, WILD = "cannot be decoded", "zero samples", "sample rate is said to be", "not finite"
OF_DECODING = (UNDECODABLE, EMPTY, RATE, WILD, None)

TURNS = (("train", "show"), ("doctor", "predict"))
FILES = Files()
case = FILES.case


def riff(*chunks: bytes, form: bytes = b"WAVE", size: int | None = None) -> bytes:
    """Return a RIFF file of chunks."""
    body = form + b"".join(chunks)
    return b"RIFF" + struct.pack("<I", len(body) if size is None else size) + body


def chunk(name: bytes, content: bytes, size: int | None = None) -> bytes:
    """Return a chunk, its stated size its own if nothing else is said."""
    return name + struct.pack("<I", len(content) if size is None else size) + content + b"\0" * (len(content) % 2)


def fmt(code: int = 1, channels: int = 1, rate: int = RATE_HZ, bits: int = 16, **other: int) -> bytes:
    """Return the chunk that says how samples are coded."""
    align = other.get("align", channels * bits // 8)
    per_s = other.get("per_s", rate * align & 0xFFFFFFFF)
    return chunk(b"fmt ", struct.pack("<HHIIHH", code, channels, rate, per_s, align, bits))


def pcm(seconds: float = 0.2) -> bytes:
    """Return noise in 16 bits."""
    return (sound(7_000_000, seconds) * 32767).astype("<i2").tobytes()


def wav(*before: bytes, format_: bytes | None = None, data: bytes | None = None, size: int | None = None) -> bytes:
    """Return a WAV file of noise, with chunks between its format and its data."""
    return riff(fmt() if format_ is None else format_, *before, chunk(b"data", pcm() if data is None else data, size))


def floats(value: float) -> bytes:
    """Return a WAV file of floats, one of them the value."""
    samples = sound(7_000_001, 0.2)
    samples[1000] = value
    return wav(format_=fmt(3, bits=32), data=samples.astype("<f4").tobytes())


def encoded(path: Path, form: str, subtype: str | None = None, rate: int = RATE_HZ, seconds: float = 1.0) -> bytes:
    """Return what libsndfile makes of noise."""
    with_suffix = path.with_name(f"encoded.{form.lower()}")
    soundfile.write(with_suffix, sound(7_000_002, seconds), rate, format=form, subtype=subtype)
    content = with_suffix.read_bytes()
    with_suffix.unlink()
    return content


def changed(content: bytes, at: int, new: bytes) -> bytes:
    """Return the content with other bytes from a place on."""
    at %= len(content)
    return content[:at] + new + content[at + len(new) :]


# ---- WAV: what is always the same is a table, content by name

WAVS: dict[str, tuple[str | None, bytes]] = {
    "empty": (UNDECODABLE, b""),
    "one_byte": (UNDECODABLE, b"R"),
    "riff_alone": (UNDECODABLE, b"RIFF"),
    "riff_without_chunks": (UNDECODABLE, riff()),
    "cut_in_the_format": (UNDECODABLE, wav()[:22]),
    "cut_before_the_data": (UNDECODABLE, wav()[:36]),
    "header_only": (EMPTY, wav()[:44]),
    "no_data_chunk": (UNDECODABLE, riff(fmt())),
    "no_format_chunk": (UNDECODABLE, riff(chunk(b"data", pcm()))),
    "data_before_the_format": (UNDECODABLE, riff(chunk(b"data", pcm()), fmt())),
    "half_a_sample": (EMPTY, wav(data=b"\1")),
    "data_size_zero": (EMPTY, wav(size=0)),
    "data_size_too_large": (None, wav(size=1_000_000)),
    "data_size_unknown": (None, wav(size=0xFFFFFFFF)),
    "riff_size_zero": (None, changed(wav(), 4, b"\0\0\0\0")),
    "riff_size_too_large": (None, changed(wav(), 4, b"\xff\xff\xff\x7f")),
    "no_channels": (UNDECODABLE, wav(format_=fmt(channels=0))),
    "channels_65535": (UNDECODABLE, wav(format_=fmt(channels=65535, align=2))),
    "channels_1025": (UNDECODABLE, wav(format_=fmt(channels=1025))),
    "channels_256": (None, wav(format_=fmt(channels=256))),
    "rate_0": (UNDECODABLE, wav(format_=fmt(rate=0))),
    "rate_1": (RATE, wav(format_=fmt(rate=1))),
    "rate_999": (RATE, wav(format_=fmt(rate=999))),
    "rate_2_ghz": (RATE, wav(format_=fmt(rate=2_000_000_000))),
    "rate_4_ghz": (UNDECODABLE, wav(format_=fmt(rate=4_000_000_000))),
    "bits_0": (UNDECODABLE, wav(format_=fmt(bits=0))),
    "bits_1": (None, wav(format_=fmt(bits=1))),
    "bits_64": (UNDECODABLE, wav(format_=fmt(bits=64))),
    "bits_255": (UNDECODABLE, wav(format_=fmt(bits=255))),
    "block_align_0": (None, wav(format_=fmt(align=0))),
    "bytes_per_second_wrong": (None, wav(format_=fmt(per_s=1))),
    "unknown_codec": (UNDECODABLE, wav(format_=fmt(0x1234))),
    "mpeg_in_wav": (UNDECODABLE, wav(format_=fmt(0x55))),
    "format_too_short": (UNDECODABLE, wav(format_=chunk(b"fmt ", b"\1\0\1\0"))),
    "format_size_huge": (UNDECODABLE, wav(format_=changed(fmt(), 4, b"\xff\xff\xff\x7f"))),
    "two_formats": (UNDECODABLE, wav(fmt())),
    "two_data_chunks": (UNDECODABLE, wav() + chunk(b"data", pcm())),
    "junk_of_4_gb_is_said": (UNDECODABLE, wav(chunk(b"JUNK", b"", 0xFFFFFFF0))),
    "junk_of_4_mb": (None, wav(chunk(b"JUNK", bytes(4_000_000)))),
    "odd_chunk_without_padding": (UNDECODABLE, riff(fmt(), chunk(b"note", b"abc")[:-1], chunk(b"data", pcm()))),
    "cue_points_without_end": (None, wav(chunk(b"cue ", struct.pack("<I", 0x7FFFFFFF)))),
    "cue_points_cut_off": (None, wav() + chunk(b"cue ", struct.pack("<I", 1000))),
    "list_of_wrong_size": (None, wav() + chunk(b"LIST", b"INFOIART", 1_000_000)),
    "sampler_loops_without_end": (None, wav(chunk(b"smpl", struct.pack("<9I", *[0] * 7, 0xFFFFFFFF, 0)))),
    "peak_chunk_cut_off": (UNDECODABLE, wav(chunk(b"PEAK", b"\1\0\0\0"), format_=fmt())),
    "names_without_letters": (UNDECODABLE, riff(fmt(), chunk(b"\0\0\0\0", b""), b"\0" * 64)),
    "extensible_of_unknown_kind": (
        UNDECODABLE,
        wav(format_=chunk(b"fmt ", fmt(0xFFFE)[8:] + struct.pack("<HHI", 22, 16, 4) + b"\x99" * 16)),
    ),
    "big_endian": (
        None,
        b"RIFX"
        + struct.pack(">I", 36 + 2000)
        + b"WAVEfmt "
        + struct.pack(">IHHIIHH", 16, 1, 1, RATE_HZ, 2 * RATE_HZ, 2, 16)
        + b"data"
        + struct.pack(">I", 2000)
        + pcm()[:2000],
    ),
    "rf64_without_sizes": (None, b"RF64" + wav()[4:]),
    "nan": (WILD, floats(np.nan)),
    "infinite": (WILD, floats(np.inf)),
    "minus_infinite": (WILD, floats(-np.inf)),
    "float_1e38": (WILD, floats(1e38)),
    "unscaled_integers": (None, floats(2.0**31)),
    "faint_1e_30": (None, wav(format_=fmt(3, bits=32), data=(sound(1, 0.2) * 1e-30).astype("<f4").tobytes())),
    "denormal": (None, wav(format_=fmt(3, bits=32), data=np.full(6400, 1e-42, "<f4").tobytes())),
    "doubles_1e300": (WILD, wav(format_=fmt(3, bits=64), data=np.full(6400, 1e300, "<f8").tobytes())),
    "doubles": (None, wav(format_=fmt(3, bits=64), data=sound(1, 0.2).astype("<f8").tobytes())),
    "full_scale": (None, wav(data=np.full(6400, -32768, "<i2").tobytes())),
    "zeros": (None, wav(data=bytes(12_800))),
    "one_sample": (None, wav(data=b"\0\x40")),
    "one_sample_at_384_khz": ("less than one sample", wav(format_=fmt(rate=384_000), data=b"\0\x40")),
    "adpcm_without_blocks": (UNDECODABLE, wav(format_=fmt(2, bits=4, align=0))),
    "gsm_cut_off": (UNDECODABLE, wav(format_=fmt(49, bits=0, align=65), data=b"\xd0" * 7)),
    "text": (UNDECODABLE, b"fname,label\na.wav,Bark\n" * 10),
    "html": (UNDECODABLE, b"<!DOCTYPE html><html><title>404 Not Found</title></html>"),
    "jpeg": (UNDECODABLE, b"\xff\xd8\xff\xe0\0\x10JFIF\0\1\1\0\0\1\0\1\0\0" + bytes(range(256)) * 20),
    "gif_that_is_a_wav_too": (UNDECODABLE, b"GIF89a" + wav()),
    "zip": (UNDECODABLE, b"PK\3\4" + bytes(100)),
    "pdf": (UNDECODABLE, b"%PDF-1.7\n" + bytes(100)),
    "mp4": (UNDECODABLE, b"\0\0\0\x20ftypM4A \0\0\0\0M4A mp42isom" + bytes(500)),
    "matroska": (UNDECODABLE, b"\x1a\x45\xdf\xa3" + bytes(500)),
    "midi": (UNDECODABLE, b"MThd\0\0\0\6\0\1\0\1\0\x60MTrk\0\0\0\4\0\xff\x2f\0"),
    "pickle": (UNDECODABLE, b"\x80\4\x95" + bytes(100)),
    "zeros_without_a_header": (UNDECODABLE, bytes(1_000_000)),
    "ones_without_a_header": (UNDECODABLE, b"\xff" * 1_000_000),
    "noise_without_a_header": (UNDECODABLE, np.random.default_rng(5).bytes(100_000)),
}
for name, (says, content) in WAVS.items():
    FILES.add(f"wav_{name}", says, lambda path, content=content: path.write_bytes(content))


# ---- other formats


def add_encoded(name: str, says: str | None, form: str, change: Callable[[bytes], bytes], **coding: object) -> None:
    """Add a case that changes what libsndfile has encoded."""
    suffix = f".{form.lower()}"
    FILES.add(
        name,
        says,
        lambda path: path.write_bytes(change(encoded(path, form, **coding))),
        suffix=suffix,  # type: ignore[arg-type]
    )


for form in ("FLAC", "OGG", "MP3", "AIFF", "CAF", "W64", "VOC", "RF64", "NIST", "PAF", "SVX", "IRCAM"):
    add_encoded(f"{form.lower()}_of_10_bytes", UNDECODABLE, form, lambda content: content[:10])
add_encoded("au_of_10_bytes", EMPTY, "AU", lambda content: content[:10])
# Those that are read say what they are of: the doctor that a file is cut off, nobody else.
HALVES = {"FLAC": UNDECODABLE, "OGG": EMPTY, "MP3": None, "AIFF": None, "AU": None, "CAF": UNDECODABLE, "W64": None}
for form, says in HALVES.items():
    add_encoded(f"{form.lower()}_cut_in_the_middle", says, form, lambda content: content[: len(content) // 2])
# With a hole, with noise after it, with noise before it.
HURT = {"FLAC": (UNDECODABLE,) * 3, "OGG": (None, None, UNDECODABLE), "MP3": (UNDECODABLE, None, None)}
for form, (hole, after, before) in HURT.items():
    add_encoded(f"{form.lower()}_with_a_hole", hole, form, lambda c: changed(c, len(c) // 2, bytes(2000)))
    add_encoded(f"{form.lower()}_with_noise_after", after, form, lambda c: c + np.random.default_rng(1).bytes(5000))
    add_encoded(f"{form.lower()}_with_noise_before", before, form, lambda c: b"\x01\x02\x03" * 1000 + c)
for form, subtype in (("WAV", "ALAW"), ("WAV", "MS_ADPCM"), ("WAV", "GSM610"), ("OGG", "OPUS"), ("AIFF", "DOUBLE")):
    of = {"subtype": subtype, "rate": 48_000 if subtype == "OPUS" else RATE_HZ}
    add_encoded(f"{subtype.lower()}_good", None, form, bytes, **of)
    half = UNDECODABLE if subtype == "OPUS" else None
    add_encoded(f"{subtype.lower()}_half", half, form, lambda c: c[: len(c) // 2], **of)

STREAMINFO = 18  # byte of a FLAC where its rate, channels and number of samples begin
add_encoded("flac_header_alone", EMPTY, "FLAC", lambda c: c[:42])
add_encoded("flac_rate_0", UNDECODABLE, "FLAC", lambda c: changed(c, STREAMINFO, b"\0\0"))
add_encoded("flac_said_to_be_endless", None, "FLAC", lambda c: changed(c, STREAMINFO + 4, b"\xff\xff\xff\xff"))
add_encoded("flac_of_unknown_length", None, "FLAC", lambda c: changed(c, STREAMINFO + 4, b"\0\0\0\0"))
add_encoded("flac_wrong_sum", None, "FLAC", lambda c: changed(c, STREAMINFO + 8, b"\x11" * 16))
add_encoded("flac_blocks_of_0", None, "FLAC", lambda c: changed(c, 8, b"\0\0\0\0"))
add_encoded("flac_padding_of_16_mb_is_said", UNDECODABLE, "FLAC", lambda c: c[:42] + b"\x81\xff\xff\xff" + c[42:])
add_encoded("flac_behind_id3", None, "FLAC", lambda c: b"ID3\4\0\0\0\0\0\x0a" + bytes(10) + c)
add_encoded("ogg_without_its_first_page", UNDECODABLE, "OGG", lambda c: c[c.index(b"OggS", 4) :])
add_encoded("ogg_wrong_sums", UNDECODABLE, "OGG", lambda c: changed(c, 22, b"\1\2\3\4"))
add_encoded("ogg_of_unknown_codec", UNDECODABLE, "OGG", lambda c: c.replace(b"vorbis", b"kate__"))
add_encoded("ogg_rate_0", UNDECODABLE, "OGG", lambda c: changed(c, c.index(b"vorbis") + 11, b"\0\0\0\0"))
add_encoded("mp3_tag_alone", UNDECODABLE, "MP3", lambda _: b"ID3\3\0\0\0\0\0\x0a" + bytes(10))
add_encoded("mp3_tag_of_1_mb", None, "MP3", lambda c: b"ID3\3\0\0" + bytes((0, 63, 127, 127)) + bytes(0xFFFFF) + c)
add_encoded("mp3_tag_longer_than_the_file", UNDECODABLE, "MP3", lambda c: b"ID3\3\0\0\x7f\x7f\x7f\x7f" + c)
add_encoded("mp3_one_frame", UNDECODABLE, "MP3", lambda c: c[-400:])
add_encoded("aiff_rate_infinite", RATE, "AIFF", lambda c: changed(c, 28, b"\x7f\xff" + bytes(8)))
add_encoded("aiff_rate_0", RATE, "AIFF", lambda c: changed(c, 28, bytes(10)))
add_encoded("aiff_no_channels", UNDECODABLE, "AIFF", lambda c: changed(c, 20, b"\0\0"))
add_encoded("aiff_samples_minus_1", None, "AIFF", lambda c: changed(c, 22, b"\xff\xff\xff\xff"))
add_encoded("aiff_without_sound", UNDECODABLE, "AIFF", lambda c: c.replace(b"SSND", b"NOPE"))
add_encoded("au_data_behind_the_end", EMPTY, "AU", lambda c: changed(c, 4, b"\x7f\xff\xff\xff"))
add_encoded("au_of_unknown_size", None, "AU", lambda c: changed(c, 8, b"\xff\xff\xff\xff"))
add_encoded("caf_chunk_of_minus_2", UNDECODABLE, "CAF", lambda c: changed(c, 12, b"\xff" * 7 + b"\xfe"))
add_encoded("w64_of_size_0", None, "W64", lambda c: changed(c, 16, bytes(8)))
add_encoded("nist_without_fields", UNDECODABLE, "NIST", lambda _: b"NIST_1A\n   1024\n" + b"x" * 2000)


@case(None, suffix=".ogg")
def ogg_chained_with_another_rate(path: Path) -> None:
    path.write_bytes(encoded(path, "OGG") + encoded(path, "OGG", rate=44_100))


@case(None, suffix=".mp3")
def mp3_joined_with_another_rate(path: Path) -> None:
    path.write_bytes(encoded(path, "MP3", rate=44_100) + encoded(path, "MP3", rate=22_050))


@case("cannot be decoded", suffix=".raw")
def samples_without_a_header(path: Path) -> None:
    path.write_bytes(pcm())


# ---- what is no file, or may not be read


@case("not a file|there is no recording in this folder|cannot be decoded")
def a_folder(path: Path) -> None:
    path.mkdir()


@case("not a file|neither a file nor a folder")
def a_pipe(path: Path) -> None:
    os.mkfifo(path)


@case("not a file|neither a file nor a folder")
def a_socket(path: Path) -> None:
    here = os.getcwd()
    os.chdir(path.parent)  # the names of sockets are short
    socket.socket(socket.AF_UNIX).bind(path.name)
    os.chdir(here)


@case("not below|neither a file nor a folder")
def a_link_to_a_device(path: Path) -> None:
    path.symlink_to("/dev/zero")


@case("there is no such file|Too many levels")
def a_link_to_itself(path: Path) -> None:
    path.symlink_to(path.name)


@case("there is no such file")
def a_link_to_nothing(path: Path) -> None:
    path.symlink_to("nowhere.wav")


@case(None)
def a_link_to_another(path: Path) -> None:
    path.symlink_to("bark00.wav")


@case("Permission denied|cannot be read|cannot be decoded")
def no_permission(path: Path) -> None:
    path.write_bytes(wav())
    path.chmod(0)


@case("there is no such file")
def missing(path: Path) -> None:
    path.unlink(missing_ok=True)


@case(UNDECODABLE)
def zeros_of_5_gb(path: Path) -> None:
    with open(path, "wb") as file:
        file.truncate(5 << 30)


@case(UNDECODABLE)
def junk_of_3_gb_without_data(path: Path) -> None:
    path.write_bytes(riff(fmt(), chunk(b"JUNK", b"", 3 << 30)))
    with open(path, "r+b") as file:
        file.truncate(3 << 30)


# ---- names

NAMES = {
    "blank": "a b.wav",
    "blank_at_the_end": "bark .wav",
    "leading_dash": "-bark.wav",
    "glob": "bark[0-9]*?.wav",
    "braces": "{bark,meow}.wav",
    "equals_and_comma": "data.root=a,b.wav",
    "quotes": 'it\'s "bark".wav',
    "markup": "[red]bark[bold].wav",
    "percent": "%s%d%n.wav",
    "dollar": "$HOME$$.wav",
    "backslash": "bark\\n.wav",
    "tilde": "~bark.wav",
    "hash": "#bark.wav",
    "semicolon": "bark;rm -rf.wav",
    "emoji": "\N{DOG FACE}\u200d\N{SPEAKER}.wav",
    "right_to_left": "bark\u202egnp.wav",
    "zero_width": "ba\u200brk.wav",
    "decomposed": "Gera\u0308usch.wav",
    "colons": ":100:bark:.wav",
    "longest": "b" * 251 + ".wav",
    "two_dots": "..bark..wav",
    "upper_case_ending": "bark.WAV",
    "no_ending": "bark",
    "another_ending": "bark.flac",
    "html": "<script>alert(1)<.wav",
    "number": "1e5",
    "true": "true",
    "null": "null",
}
for name, text in NAMES.items():
    FILES.add(f"name_{name}", None, lambda path: path.write_bytes(wav()), fname=text)
for name, text in {"newline": "bark\nmeow.wav", "escape": "\x1b[31mbark.wav", "tab": "bark\tmeow.wav"}.items():
    FILES.add(f"name_{name}", None, lambda path: path.write_bytes(wav()), fname=text)
FILES.add(
    "name_interpolation",
    None,
    lambda path: path.write_bytes(wav()),
    fname="${oc.env:HOME}.wav",
    predict="there is no such file",  # Hydra's settings may refer to the environment
)
for name, text in {"equals": "=1+1.wav", "at": "@SUM(1).wav", "pipe": "-2+cmd|' .wav"}.items():
    FILES.add(f"name_formula_{name}", "as a formula", lambda path: path.write_bytes(wav()), fname=text)


def cases() -> list[Case]:
    """Return a case for each file, which takes the place of bark07.wav; the programs take turns."""
    found = []
    for number, (name, says, make, more) in enumerate(FILES.found):
        fname = more.get("fname", f"bark07{more.get('suffix', '.wav')}")
        path = Path("set/audio_train", fname)
        given = {
            "train": (*DATA, *SHORT),
            "doctor": DATA,
            "predict": ("run=small", f"source={path}", "out=out/labels.csv", *ON_CPU),
            "show": (f"./{path}", "--out", "pictures"),
        }
        turn = {program: given[program] for program in TURNS[number % 2]}
        of_programs = {program: more.get(program, says) for program in turn}
        found.append(Case(f"audio_{name}", partial(_in_place, make, path), of_programs, turn))
    return found


def _in_place(make: Make, path: Path, folder: Path) -> None:
    rows = list(csv.reader((folder / "set/train.csv").open(encoding="utf-8")))[1:]
    (folder / "set/audio_train/bark07.wav").unlink()
    make(folder / path)
    write_table(folder / "set/train.csv", [[path.name if row[0] == "bark07.wav" else row[0], *row[1:]] for row in rows])

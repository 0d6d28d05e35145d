"""Archives of FSDKaggle2018 that a person has put into the data set's folder, and what is wrong with them.

Run as a program, it fetches what the folder `set` lacks: every archive has the expected sum, and there is no server.
"""

from __future__ import annotations

import hashlib
import io
import stat
import struct
import warnings
import zipfile
from functools import partial
from pathlib import Path

from audiotag.cli.program import reported
from audiotag.data.sources.fsdkaggle2018 import META, TEST, TRAIN, fetch
from tests.malformed.audio import wav
from tests.malformed.cases import Case

TABLES = {
    f"{META}/train_post_competition.csv": b"fname,label,manually_verified\na.wav,Bark,1\n",
    f"{META}/test_post_competition_scoring_clips.csv": b"fname,label,usage\nt.wav,Bark,Public\n",
}


def zipped(members: dict[str, bytes], how: int = zipfile.ZIP_DEFLATED) -> bytes:
    """Return an archive of members."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", how) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def tables(**changed: bytes) -> bytes:
    """Return the archive of tables, some of them changed: train= or test=."""
    train, test = TABLES
    return zipped({train: changed.get("train", TABLES[train]), test: changed.get("test", TABLES[test])})


def link(target: str) -> bytes:
    """Return the archive of training clips, the clip a link."""
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w") as archive:
        info = zipfile.ZipInfo(f"{TRAIN}/a.wav")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, target)
    return made.getvalue()


def flagged(content: bytes, bit: int) -> bytes:
    """Set a bit of the flags of every member, in the directory and before the members."""
    changed = bytearray(content)
    for mark, at in ((b"PK\1\2", 8), (b"PK\3\4", 6)):
        begin = -1
        while (begin := content.find(mark, begin + 1)) >= 0:
            flags = struct.unpack_from("<H", content, begin + at)[0]
            struct.pack_into("<H", changed, begin + at, flags | 1 << bit)
    return bytes(changed)


def twice() -> bytes:
    """Return an archive that names a clip twice."""
    made = io.BytesIO()
    with warnings.catch_warnings(), zipfile.ZipFile(made, "w") as archive:
        warnings.simplefilter("ignore")
        for content in (b"one", wav()):
            archive.writestr(f"{TRAIN}/a.wav", content)
    return made.getvalue()


CLIP = {f"{TRAIN}/a.wav": wav()}
GOOD = {META: tables(), TRAIN: zipped(CLIP), TEST: zipped({f"{TEST}/t.wav": wav()})}
# The part that is spoilt, what is said, what the archive is.
SPOILT: dict[str, tuple[str, str | None, bytes]] = {
    "good": (TRAIN, None, GOOD[TRAIN]),
    "empty_file": (TRAIN, rf"{TRAIN}\.zip", b""),
    "text": (TRAIN, rf"{TRAIN}\.zip", b"<html>404</html>"),
    "cut_off": (TRAIN, rf"{TRAIN}\.zip", GOOD[TRAIN][:-30]),
    "without_a_beginning": (TRAIN, rf"{TRAIN}\.zip", GOOD[TRAIN][3000:]),
    "no_members": (TRAIN, rf"{TRAIN}\.zip", zipped({})),
    "bytes_changed": (TRAIN, rf"{TRAIN}\.zip", GOOD[TRAIN][:200] + b"\0" * 50 + GOOD[TRAIN][250:]),
    "encrypted": (TRAIN, rf"{TRAIN}\.zip", flagged(GOOD[TRAIN], 0)),
    "parent_folder": (TRAIN, rf"{TRAIN}\.zip.*\.\./\.\./harm", zipped({**CLIP, "../../harm": b"x"})),
    "absolute": (TRAIN, rf"{TRAIN}\.zip.*/tmp/harm", zipped({**CLIP, "/tmp/harm": b"x"})),
    "backslashes": (TRAIN, None, zipped({**CLIP, f"{TRAIN}\\..\\harm": b"x"})),
    "a_link": (TRAIN, None, link("/etc/passwd")),
    "a_clip_twice": (TRAIN, None, twice()),
    "a_clip_less": (TRAIN, rf"{TRAIN}", zipped({f"{TRAIN}/b.wav": wav()})),
    "a_folder_and_a_file_of_a_name": (TRAIN, rf"{TRAIN}", zipped({**CLIP, f"{TRAIN}/a.wav/b.wav": b"x"})),
    "names_of_controls": (TRAIN, None, zipped({**CLIP, f"{TRAIN}/\x1b[31m\n.wav": b"x"})),
    "name_too_long": (TRAIN, rf"{TRAIN}|too long", zipped({**CLIP, f"{TRAIN}/{'x' * 300}.wav": b"x"})),
    "lzma": (TRAIN, None, zipped(CLIP, zipfile.ZIP_LZMA)),
    "zeros_of_50_mb": (TRAIN, None, zipped({**CLIP, f"{TRAIN}/z.wav": bytes(50_000_000)})),
    "table_empty": (META, "train_post_competition", tables(train=b"")),
    "table_of_other_columns": (META, "train_post_competition", tables(train=b"a,b\n1,2\n")),
    "table_utf_16": (META, "train_post_competition", tables(train="fname,label\n".encode("utf-16"))),
    "table_open_quote": (META, "scoring_clips", tables(test=b'fname,label,usage\n"t.wav,Bark,Public\n')),
    "table_ragged": (META, "scoring_clips", tables(test=b"fname,label,usage\nt.wav,Bark,Public,1,2,3\n")),
    "table_missing": (META, rf"{META}", zipped({next(iter(TABLES)): next(iter(TABLES.values()))})),
    "table_is_a_folder": (META, rf"{META}", zipped({f"{name}/x": b"" for name in TABLES})),
}


def _put(part: str, content: bytes, folder: Path) -> None:
    for name, good in GOOD.items():
        (folder / "set" / f"{name}.zip").write_bytes(content if name == part else good)
    for name in ("train.csv", "audio_train"):
        (folder / "set" / name).rename(folder / name)


def cases() -> list[Case]:
    """Return a case for each archive."""
    whole = ("set/FSDKaggle2018", "set/.download", "set/.fetch.lock")  # other parts, and what it goes on from
    return [
        Case(f"archive_{name}", partial(_put, part, content), {"fetch": says}, {"fetch": ()}, whole)
        for name, (part, says, content) in SPOILT.items()
    ]


def _fetch() -> None:
    root = Path("set")
    sums = {f"{part}.zip": f"md5:{hashlib.md5((root / f'{part}.zip').read_bytes()).hexdigest()}" for part in GOOD}
    fetch(root, base_url="http://127.0.0.1:9", registry=sums, pause_s=0)


if __name__ == "__main__":
    reported(_fetch)

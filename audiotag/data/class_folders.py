"""A folder of recordings without a table: a subfolder per class, whose name is the label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from audiotag.data.formats import is_recording
from audiotag.data.places import nfc, relative
from audiotag.data.tables import ROWS
from audiotag.errors import DataError

# Folders below which the classes' folders lie, if there is one of the first two; `unlabelled` holds recordings only.
PARTS = {"verified": ("train", "1"), "unverified": ("train", "0"), "test": ("test", ""), "unlabelled": ("train", "")}


def class_rows(root: Path, verified: bool) -> pd.DataFrame:
    """Return a row (columns `ROWS`) per recording below CLASS/, or below verified/CLASS/, unverified/CLASS/ and so on.

    `verified` says whether labels are, where no folder does. Raises DataError for recordings in no class's folder.
    """
    if not root.is_dir():
        raise DataError("There are no recordings:", [f"data.root={root} is not a folder"])
    in_parts = any((root / name).is_dir() for name in ("verified", "unverified"))
    rows, stray = [], []
    for path in sorted(_recordings(root)):
        name = path.relative_to(root).as_posix()
        *folders, _ = name.split("/")
        part = folders.pop(0) if folders and (in_parts or folders[0] in ("test", "unlabelled")) else ""
        split, flag = PARTS.get(part, ("train", str(int(verified))))
        if (in_parts and part not in PARTS) or not (folders or part == "unlabelled"):
            stray.append(f"{path}: in no class's folder")
            continue
        label = "" if part == "unlabelled" else folders[0]
        rows.append((nfc(name), relative(path, root), nfc(label), flag, split, "", "", str(path.parent)))
    if stray or not rows:
        layout = "CLASS/, or " + ", ".join(f"{name}/CLASS/" for name in ("verified", "unverified", "test"))
        advice = f"Recordings of data=folders lie below {layout} and unlabelled/ of data.root."
        raise DataError("The folders of classes cannot be used:", stray or [f"{root}: there is no recording"], advice)
    return pd.DataFrame(rows, columns=ROWS)


def _recordings(root: Path) -> Iterator[Path]:
    """Yield the recordings below a folder, but none in hidden folders; links are followed, once."""
    seen = set()
    for folder, names, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        names[:] = [
            name for name in names if name[0] != "." and os.path.realpath(os.path.join(folder, name)) not in seen
        ]
        yield from (path for name in files if is_recording(path := Path(folder, name)))

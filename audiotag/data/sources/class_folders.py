"""A folder of recordings without a table: a subfolder per class, whose name is the label."""

from __future__ import annotations

import os
from collections.abc import Iterator
from pathlib import Path

import pandas as pd

from audiotag.config import Data
from audiotag.data.paths import is_recording, is_utf8, nfc
from audiotag.data.source import Source
from audiotag.errors import DataError

# What may lie beside the classes' folders: more of these, by split and by whether labels are checked; and recordings.
PARTS = {"verified": ("train", "1"), "unverified": ("train", "0"), "test": ("test", ""), "unlabelled": ("train", "")}


class ClassFolders(Source):
    """A recording per file below CLASS/, verified/CLASS/, unverified/CLASS/, test/CLASS/ and unlabelled/.

    Labels of CLASS/ are checked if there is no folder verified/.
    """

    unlabelled = True

    def rows(self, root: Path, data: Data) -> pd.DataFrame:
        """Return a row per recording; raises DataError for recordings in no class's folder."""
        if not root.is_dir():
            raise DataError("There are no recordings:", [f"data.root={root} is not a folder"])
        otherwise = "0" if (root / "verified").is_dir() else "1"
        rows, problems = [], []
        for path in sorted(_recordings(root)):
            name = path.relative_to(root).as_posix()
            *folders, _ = name.split("/")
            part = folders.pop(0) if folders and folders[0] in PARTS else ""
            split, flag = PARTS.get(part, ("train", otherwise))
            if not folders and part != "unlabelled":
                problems.append(f"{path}: in no class's folder")
            elif not is_utf8(name):
                problems.append(f"{str(path)!a}: this name is not UTF-8; rename the file")
            else:
                label = "" if part == "unlabelled" else nfc(folders[0])
                rows.append((nfc(name), str(path), label, flag, split))
        if problems or not rows:
            problems = problems or [f"{root}: there is no recording"]
            advice = "Recordings belong below CLASS/, verified/CLASS/, unverified/CLASS/, test/CLASS/ or unlabelled/."
            raise DataError("The folders of classes cannot be used:", problems, advice)
        return pd.DataFrame(rows, columns=["clip_id", "path", "label", "verified", "split"])


def _recordings(root: Path) -> Iterator[Path]:
    """Yield the recordings below a folder, but none in hidden folders; links are followed, once."""
    seen = set()
    for folder, names, files in os.walk(root, followlinks=True):
        seen.add(os.path.realpath(folder))
        names[:] = [
            name for name in names if name[0] != "." and os.path.realpath(os.path.join(folder, name)) not in seen
        ]
        yield from (path for name in files if is_recording(path := Path(folder, name)))

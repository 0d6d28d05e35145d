"""A data set scanned by workers."""

from __future__ import annotations

import dataclasses

import pandas as pd

from audiotag.config import Hardware
from audiotag.data.manifest import build_manifest
from tests.clips import make_folder, settings


def test_scan_by_workers_is_the_same(tmp_path):
    make_folder(tmp_path / "set")
    alone = settings(tmp_path / "set", tmp_path / "alone")
    several = dataclasses.replace(settings(tmp_path / "set", tmp_path / "several"), hardware=Hardware(workers=2))
    pd.testing.assert_frame_equal(build_manifest(alone).frame, build_manifest(several).frame)

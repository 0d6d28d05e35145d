"""A data set scanned by workers."""

from __future__ import annotations

import dataclasses

import pandas as pd

from audiotag.config import Hardware
from audiotag.data.manifest import build_manifest
from tests.clips import settings


def test_workers_scan_the_same(root, tmp_path):
    alone = settings(root, tmp_path / "alone")
    several = dataclasses.replace(settings(root, tmp_path / "several"), hardware=Hardware(workers=2))
    pd.testing.assert_frame_equal(build_manifest(alone).frame, build_manifest(several).frame)

"""Manifests of real recordings."""

from __future__ import annotations

import pytest

from audiotag.data.manifest import build_manifest
from tests.clips import settings, shared_data


@pytest.mark.parametrize(("name", "n_train", "n_test", "n_classes"), [("fsdkaggle2018-mini", 160, 40, 10)])
def test_manifest_of_real_recordings(tmp_path, name, n_train, n_test, n_classes):
    manifest = build_manifest(settings(shared_data(name), tmp_path, truth="truth.csv"))
    assert (manifest.frame["split"].value_counts().to_dict()) == {"train": n_train, "test": n_test}
    assert len(manifest.classes) == n_classes
    assert manifest.truth is not None
    assert manifest.unverified.index.isin(manifest.truth.index).all()

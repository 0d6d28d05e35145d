"""The spectrogram store: named by what is in it, whole or absent whatever ends the process, and cut without copies."""

from __future__ import annotations

import dataclasses
import os
import resource
import shutil
import time
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import soundfile
import torch

from audiotag.config import Features
from audiotag.data.manifest import Manifest, build_manifest
from audiotag.data.store import Store, build_store, manifest_and_store, spectrogram
from audiotag.errors import AudiotagError, DataError
from tests.clips import FRONT_ENDS, RATE_HZ, make_folder, settings, write_sound

V1, V2 = Features(name="v1", front_end=FRONT_ENDS["v1"]), Features(name="v2", front_end=FRONT_ENDS["v2"])
LENGTHS_S = (0.05, 0.1, 0.31, 0.2)


def manifest_of(root: Path, cache: Path) -> Manifest:
    return build_manifest(settings(root, cache))


def content(store: Store) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in sorted(store.folder.iterdir())}


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of 2 classes, 16 clips of four lengths."""
    root = tmp_path_factory.mktemp("data") / "set"
    make_folder(root, lengths_s=LENGTHS_S)
    return root


@pytest.fixture(scope="module")
def manifest(root: Path, tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    return manifest_of(root, tmp_path_factory.mktemp("scans"))


@pytest.fixture(scope="module")
def store(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_store(manifest, V1, tmp_path_factory.mktemp("cache"), 0)


# What is in it


def test_store_holds_every_clip_as_its_file_gives_it(store, manifest):
    held = store.excerpts
    assert held.frames.dtype == torch.float16
    for clip_id, row in zip(manifest.train.index, store.rows(manifest.train), strict=True):
        expected, _ = spectrogram(manifest.root / manifest.train.loc[clip_id, "path"], V1)
        start, length = int(held.starts[row]), int(held.lengths[row])
        np.testing.assert_array_equal(held.frames[start : start + length].numpy(), expected)
    assert store.size_bytes == sum(held.lengths) * 128 * 2, "nothing is padded, nothing is there twice"


def test_store_cuts_as_repeating_to_3000_frames_and_cutting_does(store, manifest):
    """Bit-equal at every offset of every clip (DESIGN, contracts)."""
    clip_frames, excerpt_frames = 3000, 384
    for clip_id, row in zip(manifest.train.index, store.rows(manifest.train), strict=True):
        spec, _ = spectrogram(manifest.root / manifest.train.loc[clip_id, "path"], V1)
        repeated = np.tile(spec, (-(-clip_frames // len(spec)), 1))[:clip_frames].astype(np.float32).T
        offsets = torch.tensor([0, 1, len(spec) - 1, len(spec), 1234, clip_frames - excerpt_frames])
        cut = store.excerpts.crop(torch.full_like(offsets, int(row)), offsets, excerpt_frames)
        for at, offset in enumerate(offsets):
            np.testing.assert_array_equal(cut[at, 0].numpy(), repeated[:, offset : offset + excerpt_frames])
        whole = store.excerpts.crop(torch.tensor([int(row)]), torch.tensor([0]), clip_frames)
        np.testing.assert_array_equal(whole[0, 0].numpy(), repeated)


def test_store_cuts_clips_longer_than_3000_frames_to_them(tmp_path):
    rows = make_folder(tmp_path / "set")
    write_sound(tmp_path / "set" / "audio_train" / rows[0][0], 1, seconds=3000 * 192 / RATE_HZ + 1.0)
    manifest = manifest_of(tmp_path / "set", tmp_path)
    store = build_store(manifest, V1, tmp_path, 0)
    row = store.rows(manifest.train.loc[[rows[0][0]]])
    assert store.excerpts.lengths[row[0]] > 3000
    last = store.excerpts.crop(torch.tensor(row), torch.tensor([3000 - 384]), 384)
    spec, _ = spectrogram(tmp_path / "set" / "audio_train" / rows[0][0], V1)
    np.testing.assert_array_equal(last[0, 0].numpy(), spec[3000 - 384 : 3000].T.astype(np.float32))


def test_store_flags_silent_clips(tmp_path):
    rows = make_folder(tmp_path / "set")
    wave = np.zeros(3200, np.int16)
    soundfile.write(tmp_path / "set" / "audio_train" / rows[3][0], wave, RATE_HZ)
    manifest = manifest_of(tmp_path / "set", tmp_path)
    silent = build_store(manifest, V1, tmp_path, 0).silent(manifest.train)
    assert list(silent.index[silent]) == [rows[3][0]]
    assert list(silent.index) == list(manifest.train.index)


def test_store_holds_identical_audio_once(tmp_path, root, store):
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    shutil.copy(copy / "audio_train" / "bark00.wav", copy / "audio_train" / "twin.wav")
    with open(copy / "train.csv", "a") as table:
        table.write("twin.wav,Meow,0\n")
    manifest = manifest_of(copy, tmp_path)
    twice = build_store(manifest, V1, tmp_path, 0)
    rows = dict(zip(manifest.train.index, twice.rows(manifest.train), strict=True))
    assert rows["twin.wav"] == rows["bark00.wav"]
    assert twice.size_bytes == store.size_bytes
    assert twice.folder.name == store.folder.name, "named by content, not by ids"


# Its name


def test_store_name_does_not_depend_on_ids_labels_folds_or_order(tmp_path, root, store):
    other = tmp_path / "other"
    (other / "audio_train").mkdir(parents=True)
    lines = (root / "train.csv").read_text().splitlines()[1:]
    rows = []
    for number, line in enumerate(reversed(lines)):
        name, label, verified = line.split(",")
        shutil.copy(root / "audio_train" / name, other / "audio_train" / f"{number}.wav")
        rows.append(f"{number}.wav,{'XY'[label == 'Bark']},{verified}")
    (other / "train.csv").write_text("\n".join(["fname,label,manually_verified", *rows]))
    built = build_store(manifest_of(other, tmp_path), V1, tmp_path / "cache", 0)
    assert built.folder.name == store.folder.name
    assert content(built) == content(store)


def test_store_name_changes_with_every_setting_that_changes_values(manifest, store, tmp_path):
    folders = {
        build_store(manifest, features, tmp_path, 0).folder
        for features in (V1, V2, dataclasses.replace(V1, trim=False), dataclasses.replace(V2, trim=False))
    }
    assert len(folders) == 4
    cutting = dataclasses.replace(V1, excerpt_frames=200, clip_frames=400)
    assert build_store(manifest, cutting, tmp_path, 0).folder in folders, "how it is cut is no matter of the store"


def test_store_name_changes_with_one_sample(root, store, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    path = copy / "audio_train" / "bark00.wav"
    changed = bytearray(path.read_bytes())
    changed[-1] ^= 1
    path.write_bytes(changed)
    assert build_store(manifest_of(copy, tmp_path), V1, tmp_path, 0).folder.name != store.folder.name


# What is computed again


def test_store_that_is_unchanged_is_not_written_again_nor_its_audio_read(root, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    manifest = manifest_of(copy, tmp_path)
    first = build_store(manifest, V1, tmp_path, 0)
    times = {path: path.stat().st_mtime_ns for path in first.folder.iterdir()}
    shutil.rmtree(copy / "audio_train")
    again = build_store(manifest, V1, tmp_path, 0)
    assert again.folder == first.folder
    assert {path: path.stat().st_mtime_ns for path in again.folder.iterdir()} == times


def test_store_computes_only_the_changed_clip_again(root, tmp_path):
    """The audio of all others is gone: they can only come from the store before."""
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    before = build_store(manifest_of(copy, tmp_path), V1, tmp_path, 0)
    write_sound(copy / "audio_train" / "meow03.wav", 777)
    manifest = manifest_of(copy, tmp_path)
    for path in (copy / "audio_train").iterdir():
        if path.name != "meow03.wav":
            path.unlink()
    after = build_store(manifest, V1, tmp_path, 0)
    assert after.folder != before.folder
    assert len(after.index) == len(before.index)
    shutil.copytree(root, tmp_path / "fresh" / "set")
    write_sound(tmp_path / "fresh" / "set" / "audio_train" / "meow03.wav", 777)
    fresh = build_store(manifest_of(tmp_path / "fresh" / "set", tmp_path / "fresh"), V1, tmp_path / "fresh", 0)
    assert content(after) == content(fresh), "bytes do not tell where they came from"


def test_store_refuses_audio_that_changes_after_it_was_checked(root, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    manifest = manifest_of(copy, tmp_path)
    write_sound(copy / "audio_train" / "meow03.wav", 777)
    with pytest.raises(AudiotagError, match=r"meow03\.wav changed while the data set was read"):
        build_store(manifest, V1, tmp_path, 0)
    (copy / "audio_train" / "meow03.wav").unlink()
    with pytest.raises(AudiotagError, match=r"meow03\.wav cannot be read any more"):
        build_store(manifest, V1, tmp_path, 0)


def write_unusable(path: Path) -> None:
    """Write what can be decoded, and is less than one sample at 32 kHz."""
    soundfile.write(path, np.full(5, 0.5, np.float32), 384_000, subtype="PCM_16")


def test_store_refuses_or_leaves_out_a_clip_without_a_spectrogram(root, store, tmp_path):
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    for name in ("short.wav", "twin.wav"):
        write_unusable(copy / "audio_train" / name)
    with open(copy / "train.csv", "a", encoding="utf-8") as table:
        table.write("short.wav,Bark,0\ntwin.wav,Meow,0\n")
    config = settings(copy, tmp_path / "cache")
    with pytest.raises(DataError) as caught:
        manifest_and_store(config, lambda manifest: None)
    places = [problem.partition(": ")[0] for problem in caught.value.problems]
    assert places == [f"{copy}/train.csv:{line}" for line in (18, 19)]
    assert "less than one sample" in str(caught.value)
    built = time.time_ns()
    left_out = dataclasses.replace(config, data=dataclasses.replace(config.data, on_bad_clip="skip"))
    manifest, of_others = manifest_and_store(left_out, lambda manifest: None)
    assert [problem.path for problem in manifest.skipped] == ["audio_train/short.wav", "audio_train/twin.wav"]
    assert len(manifest.train) == 16
    assert content(of_others) == content(store)
    assert (of_others.folder / "frames.f16").stat().st_mtime_ns < built, "the others were not computed again"
    assert not list((tmp_path / "cache" / "stores").glob("*.unfinished"))


def test_store_refuses_data_without_any_spectrogram(tmp_path):
    make_folder(tmp_path / "set")
    for path in (tmp_path / "set" / "audio_train").iterdir():
        write_unusable(path)
    with pytest.raises(DataError, match="none of the 16 train clips can be used"):
        manifest_and_store(settings(tmp_path / "set", tmp_path, on_bad_clip="skip"), lambda manifest: None)


# Processes, kills, and disks


def finished_clips(cache: Path) -> int:
    return sum(path.read_bytes().count(b"\n") - 1 for path in cache.glob("stores/*.unfinished/index.csv"))


def half_build(root: Path, cache: Path) -> Path:
    """Leave an unfinished store behind, as a kill does."""
    whole = build_store(manifest_of(root, cache), V1, cache, 0).folder
    unfinished = whole.with_suffix(".unfinished")
    whole.rename(unfinished)
    (unfinished / "store.json").unlink()
    return unfinished


@pytest.mark.parametrize(
    "damage",
    [
        pytest.param(lambda text: text[:-5], id="torn in the last line"),
        pytest.param(lambda text: text[:-1], id="without the last line break"),
        pytest.param(lambda text: text[:20], id="torn in the header"),
        pytest.param(lambda text: b"", id="empty"),
        pytest.param(lambda text: text[: len(text) // 2] + bytes(50), id="zeros after a power cut"),
        pytest.param(lambda text: text + b"0123456789abcdef,9999,5,0\n", id="a line without frames"),
        pytest.param(lambda text: b"".join(text.splitlines(keepends=True)[::2]), id="lines lost"),
        pytest.param(lambda text: text.replace(b"\n", b"\r\n"), id="not ours"),
    ],
)
def test_store_mends_a_damaged_index(root, store, tmp_path, damage):
    unfinished = half_build(root, tmp_path)
    text = (unfinished / "index.csv").read_bytes()
    (unfinished / "index.csv").write_bytes(damage(text))
    assert content(build_store(manifest_of(root, tmp_path), V1, tmp_path, 0)) == content(store)


@pytest.mark.parametrize("bytes_left", [0, 1, 128 * 2 * 40 + 7])
def test_store_computes_frames_that_did_not_reach_the_disk_again(root, store, tmp_path, bytes_left):
    unfinished = half_build(root, tmp_path)
    os.truncate(unfinished / "frames.f16", bytes_left)
    assert content(build_store(manifest_of(root, tmp_path), V1, tmp_path, 0)) == content(store)


def test_store_started_again_writes_nothing_that_was_written_before(root, tmp_path):
    """Were the index written anew at each start, a kill just then would lose everything."""
    unfinished = half_build(root, tmp_path)
    index = unfinished / "index.csv"
    lines = index.read_bytes().splitlines(keepends=True)
    index.write_bytes(b"".join(lines[:10]) + lines[10][:7])
    inode = index.stat().st_ino
    copy = tmp_path / "set"
    shutil.copytree(root, copy)
    manifest = manifest_of(copy, tmp_path)
    shutil.rmtree(copy / "audio_train")
    with pytest.raises(AudiotagError, match="cannot be read any more"):
        build_store(manifest, V1, tmp_path, 0)  # it goes on where the index ends, and finds no audio
    assert index.read_bytes() == b"".join(lines[:10])
    assert index.stat().st_ino == inode


def test_store_too_large_for_the_disk_is_refused_before_anything_is_computed(manifest, tmp_path):
    frame = pd.concat([manifest.frame] * 2_500, ignore_index=True).assign(duration_s=1e6)  # 10 TB of frames
    frame["content_hash"] = [f"{row:016x}" for row in frame.index]
    years = dataclasses.replace(manifest, frame=frame)
    with pytest.raises(AudiotagError, match=r"store needs 10\.2 TB, and .* free, \d+\.\d TB too little: .*cache_dir="):
        build_store(years, Features(clip_frames=1_000_000), tmp_path, 0)
    assert finished_clips(tmp_path) <= 0


def test_store_on_a_disk_that_fills_up_says_so_and_keeps_what_was_done(root, store, tmp_path):
    """The largest file that this process may write stands in for the disk."""
    manifest = manifest_of(root, tmp_path)
    largest = store.size_bytes // 2
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (largest, hard))
    try:
        with pytest.raises(AudiotagError, match="cannot be written: File too large"):
            build_store(manifest, V1, tmp_path, 0)
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))
    assert finished_clips(tmp_path) >= 3
    assert content(build_store(manifest, V1, tmp_path, 0)) == content(store)


def test_store_finds_rows_of_clips_by_content(store, manifest):
    shuffled = manifest.train.sample(frac=1, random_state=0)
    rows = pd.Series(store.rows(shuffled), index=shuffled.index)
    assert rows[manifest.train.index].tolist() == store.rows(manifest.train).tolist()
    assert sorted(rows) == list(range(16))


# Damage


def turn_into_folder(path: Path) -> None:
    path.unlink()
    (path / "within").mkdir(parents=True)


DAMAGES = {
    "emptied": lambda path: path.write_bytes(b""),
    "cut off": lambda path: path.write_bytes(path.read_bytes()[: path.stat().st_size // 2]),
    "longer": lambda path: path.write_bytes(path.read_bytes() * 2),
    "of another kind": lambda path: path.write_text("[1, 2]\n"),
    "gone": Path.unlink,
    "a folder": turn_into_folder,
}


@pytest.mark.parametrize("damage", DAMAGES)
@pytest.mark.parametrize("file", ["frames.f16", "index.csv", "store.json"])
def test_store_that_is_damaged_is_made_again(manifest, store, tmp_path, capsys, file, damage):
    shutil.copytree(store.folder, tmp_path / "stores" / store.folder.name)
    DAMAGES[damage](tmp_path / "stores" / store.folder.name / file)
    again = build_store(manifest, V1, tmp_path, 0)
    assert content(again) == content(store)
    assert "is damaged" in capsys.readouterr().out.replace("\n", " ")
    assert not list((tmp_path / "stores").glob("*.unfinished"))


@pytest.mark.parametrize("file", ["frames.f16", "index.csv"])
def test_store_takes_nothing_from_another_that_is_damaged(manifest, store, tmp_path, file):
    """A store that is not asked for is not repaired, and nothing is taken from it where it is damaged."""
    other = tmp_path / "stores" / (store.folder.name[:-12] + "0" * 12)
    shutil.copytree(store.folder, other)
    DAMAGES["cut off"](other / file)
    assert content(build_store(manifest, V1, tmp_path, 0)) == content(store)
    assert other.is_dir()


@pytest.mark.parametrize("damage", ["a folder", "of another kind"])
@pytest.mark.parametrize("file", ["frames.f16", "index.csv", ""])
def test_store_that_is_unfinished_and_damaged_is_begun_again(root, store, tmp_path, file, damage):
    unfinished = half_build(root, tmp_path)
    if file:
        DAMAGES[damage](unfinished / file)
    else:
        shutil.rmtree(unfinished)
        unfinished.write_text("a file")
    assert content(build_store(manifest_of(root, tmp_path), V1, tmp_path, 0)) == content(store)


def test_store_names_a_file_in_the_place_of_its_folder(manifest, tmp_path):
    (tmp_path / "stores").touch()
    with pytest.raises(AudiotagError, match=r"cache_dir=.*stores: .*stores is not a folder"):
        build_store(manifest, V1, tmp_path, 0)


def other_columns(path: Path) -> None:
    pd.DataFrame({"path": ["x"], "size": [1]}).to_parquet(path)


def other_types(path: Path) -> None:
    pd.read_parquet(path).assign(size="large", path=1).to_parquet(path)


@pytest.mark.parametrize("damage", [*DAMAGES.values(), other_columns, other_types])
def test_scans_that_are_damaged_are_made_again(root, manifest, tmp_path, damage):
    manifest_of(root, tmp_path)
    (scans,) = (tmp_path / "scans").iterdir()
    whole = pd.read_parquet(scans)
    damage(scans)
    pd.testing.assert_frame_equal(manifest_of(root, tmp_path).frame, manifest.frame)
    pd.testing.assert_frame_equal(pd.read_parquet(scans), whole)


def test_scans_name_a_file_in_the_place_of_their_folder(root, tmp_path):
    (tmp_path / "scans").touch()
    with pytest.raises(AudiotagError, match=r"cache_dir=.*scans: .*scans is not a folder"):
        manifest_of(root, tmp_path)

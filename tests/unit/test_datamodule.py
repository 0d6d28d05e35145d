"""Batches of a cell: no leak, every clip once an epoch, and draws that depend on (seed, round, fold, epoch) alone."""

from __future__ import annotations

import dataclasses
import shutil
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
from hypothesis import given
from hypothesis import strategies as st

from audiotag.config import Features
from audiotag.data import datamodule
from audiotag.data.datamodule import (
    CellClips,
    Draw,
    ExcerptSampler,
    WholeClips,
    cell_clips,
)
from audiotag.data.manifest import Manifest, build_manifest
from audiotag.distributed import context
from audiotag.distributed.context import ALONE, DistributedContext
from audiotag.errors import AudiotagError, LeakError
from audiotag.experiment.prepare import check_clips_for_ranks
from audiotag.models.augmentation import mixed
from tests.clips import EXAMPLES, FRONT_ENDS, make_folder, settings

FEATURES = Features(name="v1", front_end=FRONT_ENDS["v1"], excerpt_frames=12, clip_frames=40)
SEED_KEY = (0, 0, 1)  # seed, round, fold
TWIN = "twin.wav"


@pytest.fixture(scope="module")
def manifest(tmp_path_factory: pytest.TempPathFactory) -> Manifest:
    """32 clips of 2 classes, 0.02 to 0.3 s, and one more that is a verified clip's audio under another name."""
    root = tmp_path_factory.mktemp("data") / "set"
    make_folder(root, verified=8, unverified=8, lengths_s=(0.02, 0.05, 0.1, 0.3, 0.15))
    shutil.copy(root / "audio_train" / "bark00.wav", root / "audio_train" / TWIN)
    with open(root / "train.csv", "a") as table:
        table.write(f"{TWIN},Meow,0\n")
    return build_manifest(settings(root, root.parent / "cache"))


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all((np.asarray(one[k]) == np.asarray(other[k])).all() for k in one)


# The clips of a cell


@pytest.mark.parametrize("fold", range(4))
def test_cell_of_round_0_trains_on_everything_outside_the_fold(manifest, fold):
    clips = cell_clips(manifest, 0, fold, None, train_on_all=False)
    train = manifest.train
    assert set(clips.valid.index) == set(train.index[(train["fold"] == fold) & train["verified"]])
    assert set(clips.unverified.index) == set(train.index[(train["fold"] == fold) & ~train["verified"]])
    outside = set(train.index[train["fold"] != fold])
    twins = {"bark00.wav", TWIN}
    assert set(clips.train.index) | (outside & twins) == outside
    assert not clips.train.index.duplicated().any()
    clips.check_no_leak(set())


@pytest.mark.parametrize("round_", [1, 2, 10])
def test_cell_of_a_later_round_trains_on_verified_and_accepted_clips(manifest, round_):
    train = manifest.train
    accepted = manifest.unverified[["label"]][::3].drop(index=TWIN, errors="ignore")
    for fold in range(4):
        clips = cell_clips(manifest, round_, fold, accepted, train_on_all=False)
        outside = train[(train["fold"] != fold) & (train["content_hash"] != train.loc[TWIN, "content_hash"])]
        expected = set(outside.index[outside["verified"] | outside.index.isin(accepted.index)])
        assert set(clips.train.index) - {"bark00.wav", TWIN} == expected
        clips.check_no_leak(set())


def test_cell_trains_on_no_held_out_audio_under_another_name(manifest):
    """A network that has learnt the twin by heart would vote from memory."""
    train = manifest.train
    assert train.loc[TWIN, "content_hash"] == train.loc["bark00.wav", "content_hash"]
    apart = train.assign(fold=train["fold"].where(train.index != TWIN, (train.loc["bark00.wav", "fold"] + 1) % 4))
    frame = apart.reset_index().assign(fold=apart["fold"].astype(str).to_numpy())[list(manifest.frame.columns)]
    other = dataclasses.replace(manifest, frame=frame)
    for fold in range(4):
        for round_, accepted in ((0, None), (1, train.loc[[TWIN], ["label"]])):
            clips = cell_clips(other, round_, fold, accepted, train_on_all=False)
            held_out = pd.concat([clips.valid, clips.unverified])
            assert not set(held_out["content_hash"]) & set(clips.train["content_hash"])
            assert (TWIN in clips.train.index) == (fold not in apart.loc[["bark00.wav", TWIN], "fold"].tolist())


def test_cell_holds_nothing_back_with_train_on_all(manifest):
    clips = cell_clips(manifest, 0, 2, None, train_on_all=True)
    assert set(clips.train.index) == set(manifest.train.index)
    assert set(clips.valid["fold"]) == {2}


def leaky(manifest: Manifest) -> dict[str, tuple[CellClips, set[str], str]]:
    """Return clips with one leak each, the clips of earlier rounds, and what the error must say."""
    clean = cell_clips(manifest, 0, 1, None, train_on_all=False)
    held = clean.valid.index[0]
    renamed = clean.valid.iloc[[0]].rename(index={held: "other.wav"}).assign(fold=0)
    grouped = {name: getattr(clean, name).assign(group="Ann") for name in ("train", "valid")}
    replace = dataclasses.replace
    return {
        "validated on": (
            replace(clean, train=pd.concat([clean.train, clean.valid])),
            set(),
            "held-out clips are trained",
        ),
        "voted on": (
            replace(clean, train=pd.concat([clean.train, clean.unverified])),
            set(),
            "held-out clips are trained",
        ),
        "earlier round": (clean, {held}, "in an earlier round"),
        "earlier vote": (clean, {clean.unverified.index[0]}, "in an earlier round"),
        "audio": (replace(clean, train=pd.concat([clean.train, renamed])), set(), "held-out audio"),
        "group": (replace(clean, **grouped), set(), "groups"),
        "selection": (replace(clean, valid=clean.valid.assign(verified=False)), set(), "select a model"),
        "vote": (replace(clean, unverified=clean.unverified.assign(verified=True)), set(), "vote on are verified"),
        "nothing": (replace(clean, train=clean.train[:0]), set(), "nothing to train on"),
    }


LEAKS = ["validated on", "voted on", "earlier round", "earlier vote", "audio", "group", "selection", "vote", "nothing"]


@pytest.mark.parametrize("leak", LEAKS)
def test_leak_of_every_kind_is_refused(manifest, leak):
    clips, earlier, message = leaky(manifest)[leak]
    with pytest.raises(LeakError, match=message):
        clips.check_no_leak(earlier)


@pytest.mark.parametrize("leak", LEAKS)
def test_leak_is_refused_by_optimised_python_too(manifest, leak):
    """`python -O` drops assertions; the module is compiled as it would compile it."""
    source = Path(datamodule.__file__)
    module = types.ModuleType(datamodule.__name__)
    exec(compile(source.read_text(encoding="utf-8"), source.name, "exec", optimize=2), module.__dict__)
    clips, earlier, message = leaky(manifest)[leak]
    with pytest.raises(LeakError, match=message):
        module.CellClips(**vars(clips)).check_no_leak(earlier)


def test_leak_check_passes_a_clean_cell_and_clips_without_groups(manifest):
    for fold in range(4):
        clips = cell_clips(manifest, 0, fold, None, train_on_all=False)
        clips.check_no_leak(set(clips.train.index))


# What an epoch draws


def draws(
    n: int = 23, batch_size: int = 5, alpha: float = 0.3, seed_key: tuple[int, ...] = SEED_KEY, epoch: int = 0
) -> list[Draw]:
    rows = np.arange(100, 100 + n)
    sampler = ExcerptSampler(rows, rows % 7, FEATURES, batch_size, alpha, seed_key)
    sampler.set_epoch(epoch)
    found = list(sampler)
    assert len(found) == len(sampler)
    return found


@EXAMPLES
@given(st.integers(1, 60), st.integers(2, 9), st.sampled_from([0.0, 0.2]), st.integers(0, 99))
def test_epoch_holds_every_clip_with_its_label_in_full_batches(n, batch_size, alpha, epoch):
    found = draws(n, batch_size, alpha, epoch=epoch)
    assert len(found) == -(-n // batch_size)
    assert {len(draw["row"]) for draw in found} == {min(n, batch_size)}  # a smaller set is one batch, without repeats
    rows = np.concatenate([draw["row"] for draw in found])
    assert sorted(rows[:n]) == list(range(100, 100 + n))
    assert (rows[n:] == rows[: len(rows) - n]).all(), "the last batch is filled up from the beginning of the order"
    for draw in found:
        assert (draw["label"] == draw["row"] % 7).all()
        assert draw.keys() == ({"row", "offset", "label"} if alpha == 0 else MIXED)


MIXED = {"row", "offset", "label", "other_row", "other_offset", "other_label", "share"}


@EXAMPLES
@given(st.integers(1, 40), st.integers(2, 9), st.integers(0, 99))
def test_mixup_partners_are_the_same_excerpts_in_another_order(n, batch_size, epoch):
    for draw in draws(n, batch_size, epoch=epoch):
        first = sorted(zip(draw["row"], draw["offset"], draw["label"], strict=True))
        other = sorted(zip(draw["other_row"], draw["other_offset"], draw["other_label"], strict=True))
        assert first == other
        assert draw["share"].dtype == np.float32
        assert ((draw["share"] >= 0) & (draw["share"] <= 1)).all()


@pytest.mark.parametrize("alpha", [0.2, 0.3, 1.0])
def test_mixup_shares_are_of_the_beta_distribution(alpha):
    """Beta(a, a) has mean 1/2 and variance 1 / (4 (2 a + 1))."""
    shares = np.concatenate([draw["share"] for draw in draws(20_000, 100, alpha)])
    assert shares.mean() == pytest.approx(0.5, abs=0.015)
    assert shares.var() == pytest.approx(1 / (4 * (2 * alpha + 1)), rel=0.03)


def test_excerpt_offsets_cover_the_clip_to_its_last_excerpt():
    offsets = np.concatenate([draw["offset"] for epoch in range(40) for draw in draws(epoch=epoch)])
    assert set(offsets) == set(range(40 - 12 + 1))  # clip_frames - excerpt_frames, inclusive
    whole = dataclasses.replace(FEATURES, excerpt_frames=40)
    (only,) = ExcerptSampler(np.arange(4), np.arange(4), whole, 5, 0.0, SEED_KEY)
    assert set(only["offset"]) == {0}


def test_epoch_draws_anew_for_a_clip_that_fills_up_the_last_batch():
    features = dataclasses.replace(FEATURES, clip_frames=3000)
    found = list(ExcerptSampler(np.arange(23), np.arange(23), features, 20, 0.3, SEED_KEY))
    offsets, shares = (np.concatenate([draw[name] for draw in found]) for name in ("offset", "share"))
    assert (offsets[23:] != offsets[:17]).any()
    assert (shares[23:] != shares[:17]).any()


def test_epoch_is_drawn_from_seed_round_fold_and_epoch_alone():
    assert all(map(equal, draws(epoch=3), draws(epoch=3)))
    again = ExcerptSampler(np.arange(100, 123), np.arange(100, 123) % 7, FEATURES, 5, 0.3, SEED_KEY)
    for epoch in (0, 7, 3):  # whatever was drawn before
        again.set_epoch(epoch)
        last = list(again)
    assert all(map(equal, last, draws(epoch=3)))
    others = [
        draws(seed_key=seed_key, epoch=epoch)
        for seed_key, epoch in [((1, 0, 1), 3), ((0, 1, 1), 3), ((0, 0, 2), 3), ((0, 0, 1), 2), ((0, 3, 1), 0)]
    ]
    orders = {tuple(np.concatenate([draw["row"] for draw in found])) for found in [draws(epoch=3), *others]}
    assert len(orders) == 6


def test_mixup_does_not_change_the_excerpts():
    with_mixup, without = draws(alpha=0.3), draws(alpha=0.0)
    for one, other in zip(with_mixup, without, strict=True):
        assert (one["row"] == other["row"]).all()
        assert (one["offset"] == other["offset"]).all()


@pytest.mark.parametrize("alpha", [0.0, 0.3])
@pytest.mark.parametrize(("n", "batch_size", "size"), [(23, 5, 2), (23, 5, 3), (9, 4, 4), (4, 4, 1), (16, 15, 8)])
def test_ranks_share_each_batch_of_one_device(n, batch_size, size, alpha):
    def drawn(context: DistributedContext) -> list[dict[str, Any]]:
        sampler = ExcerptSampler(np.arange(n), np.arange(n) % 7, FEATURES, batch_size, alpha, SEED_KEY, context)
        return list(sampler)

    alone = drawn(ALONE)
    shares = [drawn(DistributedContext(rank, size)) for rank in range(size)]
    assert {len(share) for share in shares} == {len(alone)}, "a rank that has fewer batches leaves the others waiting"
    for i, batch in enumerate(alone):
        parts = [share[i] for share in shares]
        if size == 1:
            assert equal(parts[0], batch)
            continue
        for name, values in batch.items():
            found = np.concatenate([part[name] for part in parts])
            assert sorted(found) == sorted(values), name
        # The mean over ranks of their weighted sums is the mean over the batch's clips.
        loss = {int(row): float(row) ** 2 for row in batch["row"]}
        sums = [sum(w * loss[int(r)] for r, w in zip(part["row"], part["weight"], strict=True)) for part in parts]
        assert np.mean(sums) == pytest.approx(np.mean(list(loss.values())), rel=1e-6)
        assert {part["total"] for part in parts} == {len(batch["row"])}


def test_rank_without_a_clip_is_refused():
    """A copy of another's clip, of no weight in the loss, would still have one in batch norm."""
    with pytest.raises(ValueError, match="4 clips cannot be shared out among 8 ranks"):
        next(iter(ExcerptSampler(np.arange(4), np.arange(4), FEATURES, 16, 0.0, SEED_KEY, DistributedContext(7, 8))))


def test_ranks_keep_the_mixup_partners_of_their_clips():
    (alone,) = ExcerptSampler(np.arange(8), np.arange(8), FEATURES, 8, 0.3, SEED_KEY)
    partner = dict(zip(alone["row"], alone["other_row"], strict=True))
    for rank in range(3):
        (part,) = ExcerptSampler(np.arange(8), np.arange(8), FEATURES, 8, 0.3, SEED_KEY, DistributedContext(rank, 3))
        assert [partner[row] for row in part["row"]] == list(part["other_row"])
        assert list(part["other_label"]) == list(part["other_row"])


@pytest.mark.parametrize(("n", "batch_size", "size"), [(8, 3, 2), (8, 3, 4), (1, 25, 3), (12, 4, 3)])
def test_ranks_share_out_whole_batches_of_whole_clips(n, batch_size, size):
    alone = [tuple(draw["at"]) for draw in WholeClips(np.arange(n) + 50, np.arange(n), batch_size)]
    shares = [
        list(WholeClips(np.arange(n) + 50, np.arange(n), batch_size, DistributedContext(r, size))) for r in range(size)
    ]
    assert len({len(share) for share in shares}) == 1
    found = [draw for share in shares for draw in share]
    assert {tuple(draw["at"]) for draw in found} == set(alone)
    assert all(list(draw["row"]) == list(draw["at"] + 50) for draw in found)


def test_whole_clips_come_once_in_order():
    found = list(WholeClips(np.arange(8), np.arange(8) % 3, 3))
    assert [list(draw["row"]) for draw in found] == [[0, 1, 2], [3, 4, 5], [6, 7]]
    assert all((draw["offset"] == 0).all() for draw in found)
    assert len(WholeClips(np.arange(8), np.arange(8), 3)) == 3


# Batches


def test_ranks_beyond_the_clips_to_train_on_are_refused_before_any_work(manifest, monkeypatch):
    config = dataclasses.replace(settings(manifest.root, manifest.root.parent / "cache"), finetune_rounds=1)
    fewest = min(len(cell_clips(manifest, 1, fold, None, train_on_all=False).train) for fold in range(config.folds))
    monkeypatch.setattr(context, "_current", DistributedContext(0, fewest))
    check_clips_for_ranks(config, manifest)
    monkeypatch.setattr(context, "_current", DistributedContext(0, fewest + 1))
    with pytest.raises(AudiotagError, match=f"only {fewest} clips to train on.* set devices={fewest} or less"):
        check_clips_for_ranks(config, manifest)


@pytest.mark.parametrize(("alpha", "size"), [(0.0, 1), (0.2, 1), (0.2, 3)])
def test_weights_of_clips_share_out_each_batch(alpha, size):
    """Over all ranks they sum to the number of ranks, whose mean DDP takes; a mixture weighs as its parts do."""
    weights = np.linspace(0.1, 1, 10)
    ranks = [DistributedContext(rank, size) for rank in range(size)]
    arguments = (np.arange(10), np.zeros(10, int), FEATURES, 6, alpha, (0, 1, 0))
    for batches in zip(*(ExcerptSampler(*arguments, rank, weights) for rank in ranks), strict=True):
        together = {name: np.concatenate([draw[name] for draw in batches]) for name in batches[0] if name != "total"}
        expected = weights[together["row"]]
        if alpha:
            expected = together["share"] * expected + (1 - together["share"]) * weights[together["other_row"]]
        np.testing.assert_allclose(together["weight"], size * expected / expected.sum(), rtol=1e-5)
        assert {draw["total"] for draw in batches} == {6}


@pytest.mark.parametrize(("alpha", "size"), [(0.0, 1), (0.3, 1), (0.3, 2)])
def test_targets_that_say_what_labels_say_make_the_same_batches(alpha, size):
    """Whoever teaches: excerpts, partners and shares are drawn as without, and each clip has its own target."""
    labels, targets = np.arange(10) % 4, np.eye(4, dtype=np.float32)[np.arange(10) % 4]
    for rank in (DistributedContext(rank, size) for rank in range(size)):
        arguments = (np.arange(10), labels, FEATURES, 6, alpha, (0, 1, 0), rank)
        pairs = zip(ExcerptSampler(*arguments), ExcerptSampler(*arguments, targets=targets), strict=True)
        for plain, taught in pairs:
            batches = [
                {name: torch.from_numpy(values) for name, values in draw.items() if isinstance(values, np.ndarray)}
                for draw in (plain, taught)
            ]
            for batch in batches:
                batch |= {
                    f"{of}x": batch[f"{of}row"].float()[:, None, None, None] for of in ("", "other_")[: 1 + (alpha > 0)]
                }
            for one, other in zip(*(mixed(batch, 4) for batch in batches), strict=True):
                torch.testing.assert_close(one, other, rtol=0, atol=0)


def test_cell_trains_on_accepted_labels_as_they_were_accepted(manifest):
    """Under another label, where the rule has relabelled them, and weighted, where training asks for it."""
    clip = next(clip for clip in manifest.unverified.index if clip != TWIN)
    before = manifest.train.loc[clip]
    other = next(name for name in manifest.classes if name != before["label"])
    accepted = pd.DataFrame({"label": [other], "weight": [0.25]}, index=[clip])
    fold = next(fold for fold in range(4) if fold != before["fold"])
    train = cell_clips(manifest, 1, fold, accepted, train_on_all=False).train
    assert train.loc[clip, "label"] == other
    assert train.loc[clip, "weight"] == 0.25
    rest = train.drop(index=clip)
    assert (rest["label"] == manifest.train.loc[rest.index, "label"]).all()
    assert set(rest["weight"]) == {1.0}
    assert "weight" not in cell_clips(manifest, 0, fold, None, train_on_all=False).train

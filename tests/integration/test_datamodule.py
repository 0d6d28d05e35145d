"""Batches that reach a network: an epoch's draws, whole clips to validate on, excerpts to vote on."""

from __future__ import annotations

import shutil
import types
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import pytorch_lightning as pl
import torch
from torch import nn

from audiotag.config import Data, Features, Hardware, Phase, TrainConfig, Training
from audiotag.data.datamodule import (
    FoldDataModule,
    cell_clips,
    crop_batch,
)
from audiotag.data.manifest import Manifest, build_manifest
from audiotag.data.store import Store, build_store
from audiotag.models.tagger import Tagger
from audiotag.verification import consensus
from tests.clips import FRONT_ENDS, make_folder, settings

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


@pytest.fixture(scope="module")
def store(manifest: Manifest, tmp_path_factory: pytest.TempPathFactory) -> Store:
    return build_store(manifest, FEATURES, tmp_path_factory.mktemp("cache"), 0)


def make_data(manifest: Manifest, store: Store, **changes: Any) -> FoldDataModule:
    training = changes.pop("training", Training(batch_size=5, valid_batch_size=3))
    config = TrainConfig(features=FEATURES, training=training, **changes)
    clips = cell_clips(manifest, 0, SEED_KEY[2], None, train_on_all=False)
    return FoldDataModule(clips, manifest.classes, store, config, 0.3, SEED_KEY)


def test_balance_lets_all_classes_count_the_same(manifest, store):
    """In a batch of all clips; without, the class with more clips counts more."""
    for balance in ("none", "classes"):
        training = Training(batch_size=1000, balance=balance)
        data = make_data(manifest, store, training=training)
        data.mixup_alpha = 0.0
        (draw,) = data.train_dataloader().sampler
        weight = draw.get("weight", np.full(len(draw["label"]), 1 / len(draw["label"])))
        sums = np.bincount(draw["label"], weight)
        assert (sums.max() - sums.min() < 1e-6) == (balance == "classes")


def equal(one: dict[str, Any], other: dict[str, Any]) -> bool:
    return one.keys() == other.keys() and all((np.asarray(one[k]) == np.asarray(other[k])).all() for k in one)


def test_store_on_a_device_is_one_copy_for_all_cells_of_a_process(manifest, store):
    """The device that holds nothing stands for a GPU. Earlier cells' data may be alive until garbage is collected."""
    modules = []
    for _ in range(3):
        data = make_data(manifest, store, hardware=Hardware(store_on_device=True))
        data.trainer = types.SimpleNamespace(strategy=types.SimpleNamespace(root_device=torch.device("meta")))
        data.setup("fit")
        modules.append(data)
    assert modules[0]._excerpts.frames.device.type == "meta"
    assert len({id(data._excerpts.frames) for data in modules}) == 1


def test_store_too_large_for_a_share_of_the_gpu_stays_with_the_host(store, monkeypatch):
    gpu, store = torch.device("meta"), Store(store.folder)
    monkeypatch.setattr(torch.cuda, "mem_get_info", lambda _: (store.size_bytes * 4, 0))
    assert store.excerpts_on(gpu, None, shared_by=3) is None
    assert store.excerpts_on(gpu, None, shared_by=2) is not None


class Recorder(pl.LightningModule):
    """Keeps the batches that reach the network."""

    def __init__(self) -> None:
        super().__init__()
        self.weight = torch.nn.Parameter(torch.zeros(()))
        self.trained: list[list[dict[str, torch.Tensor]]] = []
        self.validated: list[dict[str, torch.Tensor]] = []
        self.second: list[dict[str, torch.Tensor]] = []

    def on_train_epoch_start(self) -> None:
        self.trained.append([])

    def training_step(self, batch: dict[str, torch.Tensor], batch_index: int) -> torch.Tensor:
        self.trained[-1].append(batch)
        return self.weight * 0.0

    def on_validation_epoch_start(self) -> None:
        self.validated, self.second = [], []

    def validation_step(self, batch: dict[str, torch.Tensor], batch_index: int, dataloader_idx: int = 0) -> None:
        (self.second if dataloader_idx else self.validated).append(batch)

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(data: FoldDataModule, epochs: int, folder: Path) -> Recorder:
    recorder = Recorder()
    trainer = pl.Trainer(
        max_epochs=epochs, accelerator="cpu", logger=False, enable_checkpointing=False, enable_progress_bar=False,
        enable_model_summary=False, num_sanity_val_steps=0, use_distributed_sampler=False, default_root_dir=folder,
    )  # fmt: skip
    trainer.fit(recorder, datamodule=data)
    return recorder


def on_host(data: FoldDataModule, epoch: int) -> list[dict[str, torch.Tensor]]:
    """Return an epoch's batches as cut in the host's memory, for a device on which the store does not fit."""
    data._excerpts = None
    loader = data.train_dataloader()
    loader.sampler.set_epoch(epoch)
    return list(loader)


def test_batches_are_an_epochs_draws_wherever_they_are_cut(manifest, store, tmp_path):
    recorder = fit(make_data(manifest, store), 3, tmp_path)
    for epoch, batches in enumerate(recorder.trained):
        host = on_host(make_data(manifest, store), epoch)
        assert len(batches) == len(host)
        assert all(map(equal, batches, host))
        assert batches[0]["x"].shape == (5, 1, 128, FEATURES.excerpt_frames)
    assert not equal(recorder.trained[0][0], recorder.trained[1][0])


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_batches_cut_on_a_gpu_are_the_same(manifest, store):
    host = on_host(make_data(manifest, store), 2)
    data = make_data(manifest, store)
    data._excerpts = store.excerpts.to(torch.device("cuda"))
    loader = data.train_dataloader()
    loader.sampler.set_epoch(2)
    for batch, expected in zip(loader, host, strict=True):
        there = {name: value.cuda() for name, value in batch.items()}
        made = crop_batch(there, data._excerpts, FEATURES.excerpt_frames)
        assert equal({name: value.cpu() for name, value in made.items()}, expected)


def test_validation_sees_whole_verified_clips(manifest, store, tmp_path):
    data = make_data(manifest, store, data=Data(validate_unverified=True))
    recorder = fit(data, 1, tmp_path)
    for batches, clips in ((recorder.validated, data.clips.valid), (recorder.second, data.clips.unverified)):
        x = torch.cat([batch["x"] for batch in batches])
        labels = torch.cat([batch["label"] for batch in batches])
        assert [manifest.classes[label] for label in labels] == list(clips["label"])
        assert x.shape == (len(clips), 1, 128, FEATURES.clip_frames)
        for at, row in enumerate(store.rows(clips)):
            start, length = int(store.excerpts.starts[row]), int(store.excerpts.lengths[row])
            clip = store.excerpts.frames[start : start + length].numpy()
            long = np.tile(clip, (-(-FEATURES.clip_frames // length), 1))[: FEATURES.clip_frames].T
            np.testing.assert_array_equal(x[at, 0].numpy(), long.astype(np.float32))


def test_validation_sees_unverified_clips_only_when_asked_to(manifest, store, tmp_path):
    recorder = fit(make_data(manifest, store), 1, tmp_path)
    assert recorder.second == []
    assert sum(len(batch["label"]) for batch in recorder.validated) == len(make_data(manifest, store).clips.valid)


def test_excerpts_to_vote_on_are_those_of_the_store(manifest, store, tmp_path):
    data = make_data(manifest, store)
    fit(data, 1, tmp_path)
    offsets = np.array([0, 5, 28])
    row = int(store.rows(data.clips.unverified)[0])
    expected = store.excerpts.crop(torch.full((3,), row), torch.from_numpy(offsets), FEATURES.excerpt_frames)
    rows, starts = torch.tensor([row]), torch.from_numpy(offsets)[None]
    assert torch.equal(data.excerpts(rows, starts), expected)
    data._excerpts = None  # a store that stays in the host's memory
    assert torch.equal(data.excerpts(rows, starts), expected)


@pytest.mark.parametrize("size", [2, 3, 50])
def test_votes_do_not_depend_on_how_many_clips_share_a_pass(manifest, store, tmp_path, monkeypatch, size):
    data = make_data(manifest, store)
    fit(data, 1, tmp_path)
    torch.manual_seed(0)
    network = nn.Sequential(
        nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(4, 2)
    )
    tagger = Tagger(network, 2, Phase(), nn.CrossEntropyLoss(), None, SEED_KEY).eval()
    votes = []
    for clips in (1, size):
        monkeypatch.setattr(consensus, "clips_per_pass", lambda *_, clips=clips: clips)
        one = consensus.Consensus(tmp_path / f"{clips}", 5, SEED_KEY[:2], lambda: None)
        one.vote(data.trainer, tagger, data)
        votes.append(pd.read_parquet(tmp_path / f"{clips}" / consensus.POSTERIORS))
    assert list(votes[0]["clip_id"]) == list(votes[1]["clip_id"]) == list(data.clips.unverified.index)
    np.testing.assert_allclose(votes[0].iloc[:, 1:], votes[1].iloc[:, 1:], rtol=0, atol=1e-6)
    assert votes[0].iloc[:, 1].nunique() > 1

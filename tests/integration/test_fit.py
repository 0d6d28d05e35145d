"""The checkpoints of a cell: the best epoch's, wherever the run's folder is by now."""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Sequence
from pathlib import Path

import pytest
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback
from torch import Tensor, nn
from torch.utils.data import DataLoader

from audiotag.config import Data, Phase, TrainConfig
from audiotag.errors import RunError
from audiotag.experiment.fit import AdvanceDisplay, EpochCheckpoint, build_trainer
from audiotag.models.weights import load_weights
from audiotag.tracking.trackers import Trackers

LOSSES = (1.0, 2.0, 1.5, 3.0)  # on validation: the first epoch is the best


class Losing(pl.LightningModule):
    """Has the validation losses of `LOSSES`, whatever it learns."""

    def __init__(self) -> None:
        super().__init__()
        self.network = nn.Linear(1, 1)

    @property
    def kept_network(self) -> nn.Module:
        return self.network

    def training_step(self, batch: Tensor, _: int) -> Tensor:
        loss = self.network(batch).square().mean()
        self.log("train_loss", loss, on_epoch=True, on_step=False)
        return loss

    def validation_step(self, batch: Tensor, _: int) -> None:
        self.log_dict({"valid_loss": LOSSES[self.current_epoch], "valid_accuracy": 0.5, "valid_map3": 0.5})

    def configure_optimizers(self) -> torch.optim.Optimizer:
        return torch.optim.SGD(self.parameters(), lr=0.1)


def fit(
    folder: Path, n_epochs: int, resume: bool = False, beside: Sequence[Callback] = (), save_every_s: float = 0
) -> EpochCheckpoint:
    config = dataclasses.replace(TrainConfig(), finetune_rounds=0, data=dataclasses.replace(Data(), train_on_all=True))
    torch.manual_seed(0)
    epochs = EpochCheckpoint(folder, Trackers({}), save_every_s)
    trainer = build_trainer(config, folder, Phase(epochs=n_epochs), [epochs, *beside])
    loader = DataLoader(torch.ones(2, 1))
    last = str(folder / "last.ckpt") if resume else None
    trainer.fit(Losing(), loader, loader, ckpt_path=last, weights_only=True)
    return epochs


def epoch_of(file: Path) -> int:
    return int(torch.load(file, weights_only=True)["epoch"])


def test_progress_shows_epoch_and_loss_while_a_cell_is_fitted(tmp_path):
    told: list[tuple[float, str]] = []
    fit(tmp_path, 2, beside=[AdvanceDisplay(10, lambda clips, doing: told.append((clips, doing)))])
    assert sum(clips for clips, _ in told) == pytest.approx(20), "of each epoch all"
    assert [re.sub(r"\d\.\d{4}", "N", doing) for _, doing in told[:1] + told[-1:]] == [
        "epoch 1 of 2, loss N",
        "epoch 2 of 2, loss N",
    ]


class Present(Callback):
    """Notes which checkpoints there are when an epoch begins."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.found: list[list[str]] = []

    def on_train_epoch_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        self.found.append(sorted(path.name for path in self.folder.glob("*.ckpt")))


@pytest.mark.parametrize(("save_every_s", "from_second"), [(0, ["best.ckpt", "last.ckpt"]), (3600, [])])
def test_checkpoints_are_written_when_it_is_time_and_at_the_end(tmp_path, save_every_s, from_second):
    present = Present(tmp_path)
    fit(tmp_path, 4, beside=[present], save_every_s=save_every_s)
    assert present.found == [[], *[from_second] * 3]
    assert epoch_of(tmp_path / "best.ckpt") == 0
    assert epoch_of(tmp_path / "last.ckpt") == 3


def test_best_weights_are_those_of_their_epoch_however_much_later_they_are_written(tmp_path):
    fit(tmp_path / "at once", 4)
    fit(tmp_path / "later", 4, save_every_s=3600)
    at_once, later, last = (
        torch.load(tmp_path / name, weights_only=True)["state_dict"]["network.weight"]
        for name in ("at once/best.ckpt", "later/best.ckpt", "later/last.ckpt")
    )
    assert torch.equal(at_once, later)
    assert not torch.equal(later, last)


def test_cell_whose_folder_was_moved_keeps_its_best_weights(tmp_path):
    fit(tmp_path / "before", 2)
    (tmp_path / "before").rename(tmp_path / "after")
    epochs = fit(tmp_path / "after", 4, resume=True)
    assert [row["valid_loss"] for row in epochs.rows] == list(LOSSES)
    assert epoch_of(tmp_path / "after" / "best.ckpt") == epochs.best_epoch() == 0
    assert not (tmp_path / "before").exists()


def test_cell_reached_by_another_path_keeps_its_best_weights(tmp_path):
    fit(tmp_path / "cell", 2)
    (tmp_path / "link").symlink_to(tmp_path / "cell")
    epochs = fit(tmp_path / "link", 4, resume=True)
    assert epoch_of(tmp_path / "cell" / "best.ckpt") == epochs.best_epoch() == 0


def test_checkpoint_of_another_epoch_is_refused(tmp_path):
    fit(tmp_path, 1)
    load_weights(nn.Linear(1, 1), tmp_path / "best.ckpt", 0)
    with pytest.raises(RunError, match="weights of epoch 0, and epoch 3 was the best one"):
        load_weights(nn.Linear(1, 1), tmp_path / "best.ckpt", 3)


class Code:
    """What a checkpoint from a stranger may hold."""


@pytest.mark.parametrize(
    ("content", "says"),
    [
        ([1, 2], "cannot be read"),
        ({"epoch": 0}, "cannot be read"),
        ({"epoch": 0, "state_dict": {}}, "another network"),
        ({"epoch": 0, "state_dict": {"network.weight": torch.ones(3, 1), "network.bias": torch.ones(3)}}, "another"),
        ({"epoch": 0, "state_dict": Code()}, "cannot be read"),
    ],
)
def test_checkpoint_of_another_kind_is_refused_by_name(tmp_path, content, says):
    file = tmp_path / "best.ckpt"
    torch.save(content, file)
    with pytest.raises(RunError, match=f"{file}.*{says}"):
        load_weights(nn.Linear(1, 1), file, 0)


def test_checkpoint_to_go_on_from_is_named_if_damaged(tmp_path):
    fit(tmp_path, 1)
    last = tmp_path / "last.ckpt"
    last.write_bytes(last.read_bytes()[:1000])
    with pytest.raises(RunError, match=f"{last}.*delete it, and the same command begins this cell anew"):
        fit(tmp_path, 2, resume=True)


def test_fit_that_diverges_says_what_to_set(tmp_path, monkeypatch):
    monkeypatch.setattr(f"{__name__}.LOSSES", (float("nan"),))
    with pytest.raises(RunError, match="the loss is not finite in epoch 0: set a lower learning rate"):
        fit(tmp_path, 1)
    assert not (tmp_path / "best.ckpt").exists()


def test_checkpoint_without_the_rows_of_metrics_is_not_gone_on_from(tmp_path):
    """The next epoch would count as the best one."""
    fit(tmp_path, 1)
    last = tmp_path / "last.ckpt"
    checkpoint = torch.load(last, weights_only=True)
    checkpoint["callbacks"]["Metrics"] = checkpoint["callbacks"].pop("EpochCheckpoint")
    torch.save(checkpoint, last)
    with pytest.raises(RunError, match="written by an earlier version: delete it"):
        fit(tmp_path, 2, resume=True)

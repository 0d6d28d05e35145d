"""A cell: one network fitted to one fold in one round, resumable at every epoch."""

from __future__ import annotations

import contextlib
import io
import logging
import math
import time
from bdb import BdbQuit
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pandas as pd
import pytorch_lightning as pl
import torch
from pytorch_lightning.callbacks import Callback, Checkpoint
from pytorch_lightning.plugins.io import TorchCheckpointIO
from pytorch_lightning.strategies import DDPStrategy
from torch import nn

from audiotag.config import Phase, TrainConfig
from audiotag.data.datamodule import CellClips, FoldDataModule
from audiotag.distributed import context
from audiotag.distributed.hardware import choose_device, choose_precision, set_numerics
from audiotag.distributed.lightning import RanksEnvironment
from audiotag.errors import DiskFullError, RunError
from audiotag.experiment.prepare import Experiment, refuse_other_start
from audiotag.experiment.progress import ProgressDisplay
from audiotag.files import replacing, write_csv, write_text
from audiotag.models.augmentation import build_augmentation
from audiotag.models.fine_tuning import build_average
from audiotag.models.loss import build_loss
from audiotag.models.network import build_network
from audiotag.models.pretrained import load_start
from audiotag.models.sync_batch_norm import AnyDeviceSync
from audiotag.models.tagger import Tagger
from audiotag.models.weights import PREFIX, load_weights, read_checkpoint
from audiotag.randomness import key
from audiotag.run.folder import TRAINING, Cell, RunFolder
from audiotag.tracking.trackers import Trackers, cell_trackers
from audiotag.verification.consensus import Consensus

TELL_EVERY_S = 0.5
ANEW = "delete it, and the same command begins this cell anew"


def fit_cell(
    experiment: Experiment, cell: Cell, clips: CellClips, consensus: Consensus, display: ProgressDisplay
) -> None:
    """Fit one cell from where an earlier process left it; when the fit ends, it votes by `consensus`.

    All ranks of the job call it together. Raises RunError if the loss is not finite.
    """
    config, folder, started_s = experiment.config, experiment.folder, time.monotonic()
    where, last = folder.cell(cell), folder.cell(cell) / "last.ckpt"
    display.begin(cell)
    with _failure_noted(folder.failure(cell)):
        if not config.data.train_on_all:
            clips.check_no_leak(_trained_on_before(folder, cell))
        if context.is_rank_zero():
            _write_training_clips(where / TRAINING, clips.train)
        set_numerics(config.hardware)
        phase = config.training.schedule(cell.round, len(clips.train))
        tagger, data = build_tagger(experiment, cell, phase), build_data(experiment, cell, clips, phase)
        if cell.round == 0:
            refuse_other_start(folder, load_start(tagger.network))
        resume = str(last) if context.broadcast(last.is_file()) else None
        with cell_trackers(config, folder, cell) as trackers:
            epochs = EpochCheckpoint(where, trackers, config.training.save_every_s)
            # With train_on_all, no clip is held out to vote on.
            callbacks: list[Callback] = [epochs] if config.data.train_on_all else [epochs, consensus]
            if context.is_rank_zero():
                callbacks.append(AdvanceDisplay(len(clips.train), display.advance))
            trainer = build_trainer(config, where, phase, callbacks)
            trainer.fit(tagger, datamodule=data, ckpt_path=resume, weights_only=True)
        if context.is_rank_zero():
            folder.finish(cell, _result(epochs.rows, clips, time.monotonic() - started_s))
    display.look()


@contextlib.contextmanager
def _failure_noted(note: Path) -> Iterator[None]:
    """Leave a note of an error in the cell's folder, for processes that wait for the cell."""
    try:
        yield
    except BdbQuit:  # a person has left the debugger, and goes on later
        raise
    except Exception as error:
        with contextlib.suppress(OSError, DiskFullError):  # the error itself is what matters
            write_text(note, f"{type(error).__name__}: {error}\n")
        raise


def build_tagger(experiment: Experiment, cell: Cell, phase: Phase) -> Tagger:
    """Return the cell's tagger: freshly initialised in round 0, else with the best weights of the round before.

    What a network of round 0 starts from, `fit_cell` loads: whoever gives it other weights does not need it.
    """
    config, folder, classes = experiment.config, experiment.folder, experiment.manifest.classes
    seed_key = (config.seed, cell.round, cell.fold)
    torch.manual_seed(key("init", *seed_key))
    network = build_network(config.model, len(classes), experiment.store.info["bands"])
    training = config.training
    weighted = training.balance != "none" or (training.weights != "none" and cell.round > 0)
    loss = build_loss(training, "none" if weighted or context.current().world_size > 1 else "mean")
    average = build_average(training, network)
    tagger = Tagger(network, len(classes), phase, loss, build_augmentation(config.augment), seed_key, average)
    if cell.round > 0:
        before = Cell(cell.round - 1, cell.fold)
        load_weights(network, folder.checked(before, "best.ckpt"), folder.best_epoch(before))
    return tagger if config.hardware.channels_last is False else tagger.to(memory_format=torch.channels_last)


def build_data(experiment: Experiment, cell: Cell, clips: CellClips, phase: Phase) -> FoldDataModule:
    """Return the cell's data."""
    config, seed_key = experiment.config, (experiment.config.seed, cell.round, cell.fold)
    return FoldDataModule(clips, experiment.manifest.classes, experiment.store, config, phase.mixup_alpha, seed_key)


def build_trainer(config: TrainConfig, where: Path, phase: Phase, callbacks: list[Callback]) -> pl.Trainer:
    """Return the Trainer of a cell, on all devices that fit it together."""
    logging.getLogger("pytorch_lightning").setLevel(logging.WARNING)  # its notes on devices, at every fit
    device, ranks = choose_device(config.hardware).type, context.current()
    shared = ranks.world_size > 1 and config.trainer.sync_batchnorm
    sync_on_cpu: list[Any] = [AnyDeviceSync()] if shared and device == "cpu" else []
    return pl.Trainer(
        max_epochs=phase.epochs,
        accelerator=device,
        devices=ranks.local_world_size,
        num_nodes=ranks.world_size // ranks.local_world_size,
        strategy="auto" if ranks.world_size == 1 else DDPStrategy(gradient_as_bucket_view=True),
        sync_batchnorm=shared and device != "cpu",
        precision=choose_precision(config.hardware),  # type: ignore[arg-type] # the schema has checked it
        callbacks=callbacks,
        plugins=[WholeCheckpoints(), RanksEnvironment(), *sync_on_cpu],
        default_root_dir=where,
        logger=False,  # what trackers show comes from EpochCheckpoint, a row of metrics at a time
        enable_progress_bar=False,
        enable_model_summary=False,
        num_sanity_val_steps=0,
        use_distributed_sampler=False,  # the data module's samplers decide
    )


class WholeCheckpoints(TorchCheckpointIO):
    """Writes checkpoints whole or not at all; Lightning's own passes through another disk's temporary folder."""

    def save_checkpoint(self, checkpoint: dict[str, Any], path: Any, storage_options: Any = None) -> None:
        """Save beside the target, then rename."""
        # By way of memory: on a disk that fills up in the middle of it, PyTorch says only "unexpected pos".
        content = io.BytesIO()
        torch.save(checkpoint, content)
        with replacing(Path(path)) as temporary:
            temporary.write_bytes(content.getbuffer())

    def load_checkpoint(self, path: Any, *_: Any, **__: Any) -> dict[str, Any]:
        """Read a checkpoint to go on from; raises RunError if it is damaged."""
        checkpoint = read_checkpoint(Path(path), ANEW)
        if EpochCheckpoint.__qualname__ not in checkpoint.get("callbacks", {}):  # its rows say which epoch is the best
            raise RunError(f"{path} was written by an earlier version: {ANEW}")
        return checkpoint


class EpochCheckpoint(Checkpoint):
    """Keeps `best.ckpt`, `last.ckpt` and `metrics.csv` of a cell; the checkpoint to go on from holds the rows too.

    They are written at the end of the first epoch that ends `save_every_s` after the last time, and of a fit: with
    the optimiser's state, it is three times the weights that come to the disk.

    Which epoch is the best follows from the rows. Lightning's ModelCheckpoint forgets it once the folder has another
    path, and would replace the best weights by those of the next epoch.
    """

    def __init__(self, folder: Path, trackers: Trackers, save_every_s: float) -> None:
        self.folder, self.trackers, self.save_every_s = folder, trackers, save_every_s
        self.rows: list[dict[str, float]] = []
        self._best: dict[str, Any] | None = None  # the best epoch's checkpoint, if it is not on the disk yet
        self._saved_s = time.monotonic()

    def best_epoch(self) -> int:
        """Return the epoch with the lowest validation loss, the earlier of equals."""
        return int(best_row(self.rows)["epoch"])

    def state_dict(self) -> dict[str, Any]:
        """Return the rows so far."""
        return {"rows": self.rows}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Take up the rows of the checkpoint; what came after it will be computed again."""
        self.rows = list(state_dict["rows"])

    def on_train_epoch_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Add the epoch, and save if it is time; raises RunError if the loss is not finite."""
        values = {name: float(value) for name, value in trainer.callback_metrics.items()}
        row = {"epoch": trainer.current_epoch, "learning_rate": trainer.optimizers[0].param_groups[0]["lr"], **values}
        if not math.isfinite(row["train_loss"]) or not math.isfinite(row["valid_loss"]):
            raise RunError(
                f"{self.folder}: the loss is not finite in epoch {trainer.current_epoch}: "
                "set a lower learning rate (training.pretrain.learning_rate, training.finetune.learning_rate)"
            )
        self.rows.append(row)
        if context.is_rank_zero():
            write_csv(self.folder / "metrics.csv", pd.DataFrame(self.rows))
        self.trackers.show("metrics", row, trainer.current_epoch)
        if self.best_epoch() == trainer.current_epoch:
            assert isinstance(pl_module.kept_network, nn.Module)
            self._best = _weights(trainer, pl_module.kept_network)
        last_one = trainer.current_epoch + 1 == trainer.max_epochs
        # Rank zero's clock decides: ranks save together.
        if last_one or context.broadcast(time.monotonic() - self._saved_s >= self.save_every_s):
            self._save(trainer)

    def _save(self, trainer: pl.Trainer) -> None:
        if self._best is not None:  # the best first: the last one, to go on from, must not be ahead
            trainer.strategy.save_checkpoint(self._best, self.folder / "best.ckpt")
        trainer.save_checkpoint(self.folder / "last.ckpt")
        self._best, self._saved_s = None, time.monotonic()


def _weights(trainer: pl.Trainer, network: nn.Module) -> dict[str, Any]:
    """Return a checkpoint of the weights alone, which training does not change any more."""
    state = {f"{PREFIX}{name}": value.detach().clone() for name, value in network.state_dict().items()}
    return {"epoch": trainer.current_epoch, "pytorch-lightning_version": pl.__version__, "state_dict": state}


class AdvanceDisplay(Callback):
    """Tells `advance`, a few times a second, how many clips were passed through the network, the epoch and the loss."""

    def __init__(self, clips_per_epoch: int, advance: Callable[[float, str], None]) -> None:
        self.clips_per_epoch, self.advance = clips_per_epoch, advance
        self.untold, self.told_s = 0.0, 0.0

    def on_train_batch_end(self, trainer: pl.Trainer, pl_module: Any, outputs: Any, batch: Any, batch_idx: int) -> None:
        """Count the batch, and tell if it is time; the loss is asked for no sooner, for a GPU must finish it first."""
        n_batches = int(trainer.num_training_batches)
        self.untold += self.clips_per_epoch / n_batches
        if time.monotonic() - self.told_s > TELL_EVERY_S or batch_idx + 1 == n_batches:
            doing = f"epoch {trainer.current_epoch + 1} of {trainer.max_epochs}, loss {float(outputs['loss']):.4f}"
            self.advance(self.untold, doing)
            self.untold, self.told_s = 0.0, time.monotonic()


def best_row(rows: list[dict[str, float]]) -> dict[str, float]:
    """Return the metrics of the epoch with the lowest validation loss, of equals the first."""
    return min(rows, key=lambda row: row["valid_loss"])


def read_training_clips(folder: RunFolder, cell: Cell) -> set[str]:
    """Return the ids of the clips that a cell was trained on."""
    return set(folder.table(cell, TRAINING)["clip_id"])


def _trained_on_before(folder: RunFolder, cell: Cell) -> set[str]:
    """Return the ids of all clips that this fold's earlier rounds were trained on."""
    return set().union(*(read_training_clips(folder, Cell(r, cell.fold)) for r in range(cell.round)))


def _write_training_clips(path: Path, train: pd.DataFrame) -> None:
    source = train["verified"].map({True: "verified", False: "unverified"})
    write_csv(path, pd.DataFrame({"clip_id": train.index, "label": train["label"], "source": source}))


def _result(rows: list[dict[str, float]], clips: CellClips, wall_s: float) -> dict[str, Any]:
    best = best_row(rows)
    measured = {name: best[name] for name in ("valid_loss", "valid_accuracy", "valid_map3")}
    counts = {"trained_on": len(clips.train), "validated_on": len(clips.valid), "voted_on": len(clips.unverified)}
    return {"best_epoch": best["epoch"], **measured, **counts, "wall_s": round(wall_s, 3)}

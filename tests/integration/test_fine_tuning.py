"""Recipes of training: what is held still, whose weights are kept; a kill, or a second rank, changes nothing."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from audiotag.run.folder import Cell, RunFolder
from tests.conftest import SMALL
from tests.programs import run_program, run_ranks

RECIPE = ["warmup_share=0.3", "head_share=0.4", "head_factor=3", "layer_decay=0.7"]
LAYERS = [f"training.{phase}.{setting}" for phase in ("pretrain", "finetune") for setting in RECIPE]
FROZEN = ["training=frozen", "training.pretrain.epochs=3", "training.pretrain.decay_from_epoch=1"]
FROZEN += ["training.pretrain.min_steps=0", "training.finetune.min_steps=0"]
ONE_CELL = [*SMALL, "finetune_rounds=0", "fold=0"]


def weights(run, round_: int = 0, name: str = "best.ckpt") -> dict[str, torch.Tensor]:
    file = RunFolder(run).cell(Cell(round_, 0)) / name
    return torch.load(file, weights_only=True)["state_dict"]


STOP = """
import os, sys
import audiotag
from audiotag.experiment.fit import EpochCheckpoint

save = EpochCheckpoint._save

def save_and_end(self, trainer):
    save(self, trainer)
    if trainer.current_epoch == int(sys.argv[1]):
        os._exit(0)

EpochCheckpoint._save = save_and_end
audiotag.train(sys.argv[2:])
"""


@pytest.mark.parametrize(("average", "epochs", "ends"), [("ema", 4, (1, 2)), ("swa", 8, (2, 6))])
def test_run_with_an_average_that_is_broken_off_ends_like_an_unbroken_one(program, work_folder, average, epochs, ends):
    settings = [*ONE_CELL, *LAYERS, f"training.average={average}", f"training.pretrain.epochs={epochs}"]
    whole, broken = (work_folder / "runs" / f"{name}-{average}" for name in ("whole", "broken"))
    program("train.py", *settings, f"run={whole.name}")
    for epoch in ends:
        run_program(f"-c {STOP}", [str(epoch), *settings, f"run={broken.name}"], work_folder)
        last = RunFolder(broken).cell(Cell(0, 0)) / "last.ckpt"
        assert torch.load(last, weights_only=True)["epoch"] == epoch
    program("train.py", *settings, f"run={broken.name}")
    kept = weights(whole)
    assert all(map(torch.equal, kept.values(), weights(broken).values()))
    assert (whole / "round00/fold0/metrics.csv").read_text() == (broken / "round00/fold0/metrics.csv").read_text()
    last = weights(whole, name="last.ckpt")
    assert kept.keys() == {name for name in last if name.startswith("network.")}
    means = {name.removeprefix("average.mean."): last[name] for name in last if name.startswith("average.mean.")}
    assert any(not torch.equal(mean, last[f"network.{name}"]) for name, mean in means.items())


def test_frozen_network_keeps_all_but_its_head(small_run, program, work_folder):
    """Of two rounds, too: the second begins with the weights of the first."""
    program("train.py", *SMALL, *FROZEN, "run=frozen")
    first, second = (weights(work_folder / "runs" / "frozen", round_) for round_ in (0, 1))
    changed = {name for name, value in first.items() if not torch.equal(value, second[name])}
    head = {name for name in first if name.startswith(("network.head.8.", "network.head.9."))}
    assert changed
    assert changed <= head


@pytest.mark.parametrize(
    ("name", "recipe"),
    [("by-layer", [*LAYERS, "training.average=ema", "training.balance=classes"]), ("frozen", FROZEN)],
)
def test_ranks_of_a_recipe_learn_what_one_device_learns(program, work_folder, name, recipe):
    # Each rank draws its own dropout.
    settings = [*ONE_CELL, *recipe, "hardware.precision=64-true", "model.network.head_dropout=0"]
    program("train.py", *settings, f"run={name}-one")
    run_ranks("train.py", [*settings, f"run={name}-two"], work_folder)
    one, two = (weights(work_folder / "runs" / f"{name}-{number}") for number in ("one", "two"))
    for name, value in one.items():
        np.testing.assert_allclose(two[name], value, rtol=1e-6, atol=1e-9, err_msg=name)

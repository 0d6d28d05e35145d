"""What the framework's training costs beside a bare PyTorch loop: `python -m benchmarks.training [SETTING ...]`.

Both sides fit one cell: the same network, precision and layout, the same number of batches of the same shapes, the same
passes over the held-out clips. The bare loop has them ready in memory, and does nothing but forward, backward, step and
validation passes: no excerpts, mixup, metrics, checkpoints. Figures are of the CPU, in seconds of its own time, for
machines are shared with others.
"""

from __future__ import annotations

import sys
import tempfile
from collections.abc import Callable
from itertools import count
from pathlib import Path

import torch

from audiotag.cli.composition import compose_config
from audiotag.config import TrainConfig
from audiotag.data.datamodule import CellClips, cell_clips
from audiotag.distributed.hardware import choose_precision, set_numerics
from audiotag.experiment.fit import EpochCheckpoint, build_data, build_tagger, build_trainer
from audiotag.experiment.prepare import Experiment, prepare
from audiotag.run.folder import Cell
from audiotag.tracking.trackers import Trackers
from audiotag.verification.consensus import Consensus
from benchmarks.timing import measure, processor_seconds, report

EPOCHS, RUNS = 8, 3
SETTINGS = [
    f"training.{phase}.{name}" for phase in ("pretrain", "finetune") for name in ("min_steps=0", f"epochs={EPOCHS}")
]
SETTINGS += ["training.pretrain.decay_from_epoch=1", "training.finetune.decay_from_epoch=1", "hardware.threads=1"]


def bare(experiment: Experiment, clips: CellClips, round_: int) -> Callable[[], None]:
    """Return a plain loop over batches that are ready."""
    config = experiment.config
    phase = config.training.schedule(round_, len(clips.train))
    tagger = build_tagger(experiment, Cell(0, 0), phase)
    network, loss = tagger.network, torch.nn.CrossEntropyLoss()
    optimizer = torch.optim.Adam(network.parameters())
    features, training, bands = config.features, config.training, experiment.store.info["bands"]
    n, classes = min(training.batch_size, len(clips.train)), len(experiment.manifest.classes)
    x, targets = torch.randn(n, 1, bands, features.excerpt_frames), torch.rand(n, classes)
    whole = [
        torch.randn(len(part), 1, bands, features.clip_frames)
        for part in torch.arange(len(clips.valid)).split(training.valid_batch_size)
    ]
    mixed = choose_precision(config.hardware) == "bf16-mixed"

    def run() -> None:
        for _ in range(phase.epochs):
            network.train()
            for _ in range(-(-len(clips.train) // training.batch_size)):
                with torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                    value = loss(network(x), targets)
                optimizer.zero_grad()
                value.backward()
                optimizer.step()
            network.eval()
            with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
                for batch in whole:
                    network(batch)

    return run


def framework(experiment: Experiment, clips: CellClips, round_: int, work: Path) -> Callable[[], None]:
    """Return the fit of a cell as training does it."""
    names, cell = count(), Cell(0, 0)

    def run() -> None:
        phase = experiment.config.training.schedule(round_, len(clips.train))
        where = work / f"{round_}-{next(names)}"
        where.mkdir()
        tagger, data = build_tagger(experiment, cell, phase), build_data(experiment, cell, clips, phase)
        trainer = build_trainer(experiment.config, where, phase, [EpochCheckpoint(where, Trackers({}), 60)])
        trainer.fit(tagger, datamodule=data)

    return run


def bare_votes(experiment: Experiment, clips: CellClips) -> Callable[[], None]:
    """Return a forward pass of as many excerpts as are voted on, in batches of 100 that are ready."""
    config, bands = experiment.config, experiment.store.info["bands"]
    network = build_tagger(experiment, Cell(0, 0), config.training.pretrain).network.eval()
    n = config.verification.excerpts * (len(clips.valid) + len(clips.unverified))
    batches = torch.randn(100, 1, bands, config.features.excerpt_frames).expand(n // 100, -1, -1, -1, -1)
    mixed = choose_precision(config.hardware) == "bf16-mixed"

    def run() -> None:
        with torch.inference_mode(), torch.autocast("cpu", torch.bfloat16, enabled=mixed):
            for batch in batches:
                network(batch)

    return run


def votes(experiment: Experiment, clips: CellClips, work: Path) -> Callable[[], None]:
    """Return the consensus on a cell's held-out clips."""
    config, cell = experiment.config, Cell(0, 0)
    phase = config.training.schedule(0, len(clips.train))
    consensus = Consensus(work / "votes", config.verification.excerpts, (config.seed, 0), lambda: None)
    tagger, data = build_tagger(experiment, cell, phase), build_data(experiment, cell, clips, phase)
    data.trainer = build_trainer(config, work, phase, [consensus])
    data.setup("predict")
    return lambda: consensus.vote(data.trainer, tagger, data)


if __name__ == "__main__":
    with tempfile.TemporaryDirectory() as folder:
        config = compose_config(TrainConfig, [f"run={folder}/run", *SETTINGS, *sys.argv[1:]])
        experiment = prepare(config)
        set_numerics(config.hardware)
        work, labels = Path(folder), experiment.manifest.train[["label"]]
        for round_ in (0, 1):
            clips = cell_clips(experiment.manifest, round_, 0, labels, False)
            ways = {
                "bare loop": bare(experiment, clips, round_),
                "audiotag": framework(experiment, clips, round_, work),
            }
            report(
                f"round {round_}: {EPOCHS} epochs of {len(clips.train)} clips, {len(clips.valid)} held out",
                measure(ways, RUNS, processor_seconds),
            )
        ways = {"bare forward": bare_votes(experiment, clips), "audiotag": votes(experiment, clips, work)}
        report(
            f"consensus of {len(clips.valid) + len(clips.unverified)} clips, K={config.verification.excerpts}",
            measure(ways, RUNS, processor_seconds),
        )

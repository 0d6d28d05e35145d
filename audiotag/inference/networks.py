"""The networks of one round of a run: which round, its best weights, and what they say to windows of a recording.

Shapes: B windows, F bands, T frames, C classes, N networks.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Iterator, Sequence
from itertools import islice

import numpy as np
import torch
from numpy.typing import NDArray
from torch import Tensor, nn

from audiotag.config import Hardware
from audiotag.distributed.hardware import choose_device, choose_precision
from audiotag.errors import RunError
from audiotag.inference.windows import Frames, Windows
from audiotag.models.network import ask, build_network
from audiotag.models.weights import load_weights
from audiotag.run.folder import Cell, RunFolder

MIXED = {"bf16-mixed": torch.bfloat16, "16-mixed": torch.float16}
TRUE = {"bf16-true": torch.bfloat16, "64-true": torch.float64}


class Networks:
    """The networks of some folds of one round, by fold, or those of several rounds and runs, by number; to be asked."""

    def __init__(self, by_fold: dict[int, nn.Module], hardware: Hardware) -> None:
        self.device = choose_device(hardware)
        if hardware.accelerator == "gpu" and self.device.type == "cpu":
            raise RunError("hardware.accelerator=gpu: there is no GPU that PyTorch can use here; set cpu or auto")
        self.precision = choose_precision(hardware)
        self.dtype = TRUE.get(self.precision, torch.float32)
        layout = torch.preserve_format if hardware.channels_last is False else torch.channels_last
        self.by_fold = {
            fold: network.eval().to(self.device, self.dtype, memory_format=layout)  # type: ignore[call-overload]
            for fold, network in by_fold.items()
        }

    def posteriors(
        self, cuts: Iterable[Frames], windows: Windows, per_pass: int, folds: Sequence[int]
    ) -> NDArray[np.float64]:
        """Return each fold's posterior (N, C): the weighted mean over windows (T, F), `per_pass` of them at a time."""
        sums, done = np.zeros(()), 0
        for answers in self.each(cuts, per_pass, folds):
            weights = windows.weights[done : done + answers.shape[1]]
            sums = sums + np.stack([weights @ of_fold for of_fold in answers])
            done += len(weights)
        assert done == len(windows.starts), "not every window was heard"
        return sums

    @torch.inference_mode()
    def each(self, cuts: Iterable[Frames], per_pass: int, folds: Sequence[int]) -> Iterator[NDArray[np.float64]]:
        """Yield each fold's posteriors (N, B, C) of the next windows (T, F), `per_pass` of them at a time."""
        coming = iter(cuts)
        while batch := list(islice(coming, per_pass)):
            x = torch.from_numpy(np.stack(batch)).transpose(1, 2).unsqueeze(1).float()  # (B, 1, F, T)
            answers = np.stack([self._ask(self.by_fold[fold], x) for fold in folds])
            if not np.isfinite(answers).all():
                advice = "set hardware.precision=32-true"
                raise RunError(f"posteriors are not finite in precision {self.precision}; {advice}")
            yield answers

    def _ask(self, network: nn.Module, x: Tensor) -> NDArray[np.float64]:
        with self._autocast():
            logits = ask(network, x.to(self.device, self.dtype))
        return logits.softmax(dim=1).double().cpu().numpy()

    def _autocast(self) -> contextlib.AbstractContextManager[object]:
        mixed = MIXED.get(self.precision)
        return contextlib.nullcontext() if mixed is None else torch.autocast(self.device.type, mixed)


def load_networks(folder: RunFolder, round_: int, folds: Sequence[int], hardware: Hardware) -> Networks:
    """Load the best weights of a round's folds; raises RunError where they are missing or damaged."""
    return Networks({fold: load_network(folder, Cell(round_, fold)) for fold in folds}, hardware)


def load_network(folder: RunFolder, cell: Cell) -> nn.Module:
    """Load a cell's best weights; raises RunError where they are missing or damaged."""
    network = build_network(folder.config.model, len(folder.classes))
    load_weights(network, folder.checked(cell, "best.ckpt"), folder.best_epoch(cell))
    return network

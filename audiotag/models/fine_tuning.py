"""How fast each layer of a network learns, and which do not: fine-tuning a network that comes from elsewhere."""

from __future__ import annotations

import copy
import itertools
from typing import Any

import torch
from torch import nn
from torch.nn.modules.batchnorm import _NormBase

from audiotag.config import Phase, Training


def layers_of(network: nn.Module) -> list[list[nn.Parameter]]:
    """Return the weights of each layer, from the input to the head, every one once.

    A network says by `layers()` what its layers are. Of one that does not, a layer begins with each module that owns a
    matrix or a kernel, in the order in which they were made; so what normalises belongs to what comes before it. A
    weight that layers share is of the last of them.
    """
    layers = getattr(network, "layers", None)
    if layers is not None:
        groups = [list(layer.parameters()) for layer in layers()]
    else:
        groups = [[]]
        for module in network.modules():
            own = list(module.parameters(recurse=False))
            if any(weight.ndim > 1 for weight in own):
                groups.append([])
            groups[-1] += own
    last = {weight: depth for depth, group in enumerate(groups) for weight in group}
    groups = [[one for one in dict.fromkeys(group) if last[one] == depth] for depth, group in enumerate(groups)]
    groups[0] = [weight for weight in network.parameters() if weight not in last] + groups[0]
    return [group for group in groups if group]


def parameter_groups(network: nn.Module, phase: Phase) -> list[dict[str, Any]]:
    """Return what the optimiser is given: one group, or, where layers learn differently, one each, the head first."""
    layers = layers_of(network)[::-1]
    if phase.head_share == 1:
        return [{"params": layers[0]}]
    if (phase.head_share, phase.head_factor, phase.layer_decay) == (0, 1, 1):
        return [{"params": list(network.parameters())}]
    return [{"params": layer} for layer in layers]


def learning_rates(phase: Phase, epoch: int, n_groups: int) -> list[float]:
    """Return the learning rate of each of the groups of `parameter_groups` in an epoch: 0 where a layer waits."""
    warmup = min(1.0, (epoch + 1) / (phase.warmup_share * phase.epochs + 1))
    rate = phase.learning_rate * decay(epoch, phase) * warmup
    body = 0.0 if head_alone(phase, epoch) else rate
    return [rate * phase.head_factor, *(body * phase.layer_decay**depth for depth in range(1, n_groups))]


def head_alone(phase: Phase, epoch: int) -> bool:
    """Return whether the network's last layer alone learns in an epoch."""
    return epoch < phase.head_share * phase.epochs


def decay(epoch: int, phase: Phase) -> float:
    """Return the factor on the learning rate: 1 before `decay_from_epoch`, then linearly down to 0 in the last epoch.

    As in the original: of 400 epochs of decay the first has 399/400. The last one only moves batch norm's averages.
    """
    if epoch < phase.decay_from_epoch:
        return 1.0
    return (phase.epochs - 1 - epoch) / (phase.epochs - phase.decay_from_epoch)


def freeze_body(network: nn.Module) -> None:
    """Take the gradient from everything but the head, for good: nothing is computed for it, and ranks exchange none."""
    for layer in layers_of(network)[:-1]:
        for weight in layer:
            weight.requires_grad_(False)


def hold_statistics(network: nn.Module) -> None:
    """Have the batch norms of everything but the head keep their averages, until `network.train()`."""
    head = set(layers_of(network)[-1])
    for module in network.modules():
        if isinstance(module, _NormBase) and head.isdisjoint(module.parameters()):
            module.eval()


class Average(nn.Module):
    """The mean of a network's weights and statistics over updates: exponential with `decay`, all alike without.

    Not PyTorch's AveragedModel, which at each update asks a GPU how many there were.
    """

    def __init__(self, network: nn.Module, decay: float | None) -> None:
        super().__init__()
        self.mean = copy.deepcopy(network).requires_grad_(False)
        self.decay, self.updates = decay, 0

    @torch.no_grad()
    def update(self, network: nn.Module) -> None:
        """Take note of the network's weights as they are; the first are the mean."""
        share = 1 / (self.updates + 1) if self.decay is None or not self.updates else 1 - self.decay
        theirs = itertools.chain(network.parameters(), network.buffers())
        for own, new in zip(itertools.chain(self.mean.parameters(), self.mean.buffers()), theirs, strict=True):
            if own.is_floating_point():
                own.lerp_(new, share)
            else:
                own.copy_(new)
        self.updates += 1

    def get_extra_state(self) -> dict[str, int]:
        """Return what a checkpoint holds besides the tensors."""
        return {"updates": self.updates}

    def set_extra_state(self, state: dict[str, int]) -> None:
        """Take up what a checkpoint holds."""
        self.updates = state["updates"]


def build_average(training: Training, network: nn.Module) -> Average | None:
    """Build the configured mean of a network's weights, if any."""
    if training.average == "none":
        return None
    return Average(network, training.average_decay if training.average == "ema" else None)

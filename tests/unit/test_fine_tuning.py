"""What learns how fast: layers, learning rates by epoch, what is held still, and the mean of the weights."""

from __future__ import annotations

import itertools

import pytest
import torch
from torch import nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn

from audiotag.config import Phase, Training
from audiotag.models.fine_tuning import (
    Average,
    build_average,
    decay,
    freeze_body,
    hold_statistics,
    layers_of,
    learning_rates,
    parameter_groups,
)
from audiotag.models.vgg_gap import VggGap


class Named(nn.Module):
    """Says what its layers are, and has a weight that belongs to none."""

    def __init__(self) -> None:
        super().__init__()
        self.head, self.second, self.first = nn.Linear(4, 3), nn.Linear(4, 4), nn.Linear(4, 4)
        self.token = nn.Parameter(torch.zeros(4))

    def layers(self) -> list[nn.Module]:
        return [self.first, self.second, self.head]


class Tied(nn.Module):
    """Its head decodes with the weight by which its first layer encodes."""

    def __init__(self) -> None:
        super().__init__()
        self.first, self.second, self.head = nn.Linear(4, 3), nn.Linear(3, 4), nn.Linear(4, 3)
        self.head.weight = self.first.weight

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.head(self.second(self.first(x)))


def small() -> nn.Sequential:
    return nn.Sequential(
        nn.BatchNorm2d(1), nn.Conv2d(1, 4, 3), nn.BatchNorm2d(4), nn.ReLU(), nn.Flatten(), nn.Linear(16, 3)
    )


def test_layers_are_those_that_a_network_names():
    network = Named()
    expected = [network.first, network.second, network.head]
    layers = layers_of(network)
    assert layers[0][0] is network.token, "what belongs to none is the input's"
    layers[0] = layers[0][1:]
    assert [set(layer) for layer in layers] == [set(module.parameters()) for module in expected]


def test_layers_of_a_network_that_names_none_begin_with_its_kernels():
    network = small()
    sizes = [[tuple(weight.shape) for weight in layer] for layer in layers_of(network)]
    assert sizes == [[(1,), (1,)], [(4, 1, 3, 3), (4,), (4,), (4,)], [(3, 16), (3,)]]


def test_layers_hold_every_weight_once_and_the_head_last():
    network = VggGap(5, 4)
    layers = layers_of(network)
    weights = [weight for layer in layers for weight in layer]
    assert len(weights) == len(set(weights)) == len(list(network.parameters()))
    assert [tuple(weight.shape) for weight in layers[-1]] == [(5, 32, 1, 1), (5,), (5,)]


def test_weight_that_layers_share_is_of_the_last_of_them_and_learns_as_that_does():
    network, phase = Tied(), Phase(head_factor=3, layer_decay=0.5)
    first, second, head = layers_of(network)
    assert {*first} == {network.first.bias}
    assert {*second} == {*network.second.parameters()}
    assert {*head} == {network.first.weight, network.head.bias}
    optimiser = torch.optim.Adam(parameter_groups(network, phase))  # refuses a weight in two groups
    for group, rate in zip(optimiser.param_groups, learning_rates(phase, 0, 3), strict=True):
        group["lr"] = rate
    before = network.first.weight.clone()
    network(torch.randn(6, 4)).square().sum().backward()
    optimiser.step()
    moved = (network.first.weight - before).abs()
    torch.testing.assert_close(moved, torch.full_like(moved, 3 * phase.learning_rate), rtol=1e-3, atol=0)


def test_rates_are_one_by_default():
    network, phase = small(), Phase(epochs=9, decay_from_epoch=3, learning_rate=0.02)
    (group,) = parameter_groups(network, phase)
    assert list(map(id, group["params"])) == list(map(id, network.parameters()))
    for epoch in range(9):
        assert learning_rates(phase, epoch, 1) == [0.02 * decay(epoch, phase)]


def test_rates_by_layer_and_epoch():
    network = small()
    phase = Phase(
        epochs=10,
        decay_from_epoch=10,
        learning_rate=1,
        warmup_share=0.3,
        head_share=0.2,
        head_factor=4,
        layer_decay=0.5,
    )
    groups = parameter_groups(network, phase)
    assert [{*group["params"]} for group in groups] == [{*layer} for layer in reversed(layers_of(network))]
    # Three epochs of warm-up end with the fourth; the body waits for two.
    assert learning_rates(phase, 0, 3) == [1.0, 0.0, 0.0]
    assert learning_rates(phase, 1, 3) == [2.0, 0.0, 0.0]
    assert learning_rates(phase, 2, 3) == [3.0, 0.375, 0.1875]
    assert learning_rates(phase, 3, 3) == learning_rates(phase, 9, 3) == [4.0, 0.5, 0.25]


def test_frozen_network_learns_by_its_head_alone():
    network, phase = small(), Phase(epochs=3, decay_from_epoch=3, head_share=1)
    freeze_body(network)
    (group,) = parameter_groups(network, phase)
    assert {*group["params"]} == {weight for weight in network.parameters() if weight.requires_grad}
    hold_statistics(network)
    before = {name: value.clone() for name, value in network.state_dict().items()}
    optimiser = torch.optim.Adam([group], lr=0.1)
    network(torch.randn(6, 1, 4, 4)).square().sum().backward()
    optimiser.step()
    changed = {name for name, value in network.state_dict().items() if not torch.equal(value, before[name])}
    assert changed == {"5.weight", "5.bias"}


def test_statistics_of_the_head_are_not_held():
    network = VggGap(5, 4)
    hold_statistics(network)
    training = [module.training for module in network.modules() if isinstance(module, nn.BatchNorm2d)]
    assert training == [False] * (len(training) - 1) + [True]


@pytest.mark.parametrize("share", [0.9, None])
def test_average_is_that_of_pytorch(share):
    network = small()
    theirs = AveragedModel(
        network, multi_avg_fn=None if share is None else get_ema_multi_avg_fn(share), use_buffers=True
    )
    ours = Average(network, share)
    for _ in range(5):
        with torch.no_grad():
            for value in itertools.chain(network.parameters(), network.buffers()):
                value.add_(torch.ones_like(value) if not value.is_floating_point() else torch.rand_like(value))
        theirs.update_parameters(network)
        ours.update(network)
    for (name, value), other in zip(ours.mean.state_dict().items(), theirs.module.state_dict().values(), strict=True):
        if value.is_floating_point():
            torch.testing.assert_close(value, other, rtol=1e-5, atol=1e-6)
        else:
            assert value == network.state_dict()[name]
    assert not any(weight.requires_grad for weight in ours.parameters())


def test_average_goes_on_from_a_checkpoint():
    network, other = small(), small()
    whole, first, second = Average(network, 0.5), Average(network, 0.5), Average(small(), 0.5)
    for one in (network, other):
        whole.update(one)
    first.update(network)
    second.load_state_dict(first.state_dict())
    second.update(other)
    assert all(map(torch.equal, whole.mean.state_dict().values(), second.mean.state_dict().values()))


def test_average_is_as_configured():
    network = small()
    assert build_average(Training(), network) is None
    ema, swa = (build_average(Training(average=kind, average_decay=0.8), network) for kind in ("ema", "swa"))
    assert ema is not None
    assert swa is not None
    assert (ema.decay, swa.decay) == (0.8, None)

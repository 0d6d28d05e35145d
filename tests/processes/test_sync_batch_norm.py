"""Batch normalisation over real gloo ranks against PyTorch's own over all clips."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from tests.clips import TOP
from tests.programs import run_ranks

RANK = """
import sys, torch, torch.distributed as dist
from torch import nn
from audiotag.models.sync_batch_norm import AnyDeviceSync
folder = sys.argv[1]
dist.init_process_group("gloo")
rank = dist.get_rank()
given = torch.load(f"{folder}/given.pt")
norm = AnyDeviceSync().apply(nn.Sequential(given["norm"]))
x = given["x"][given["of_rank"][rank]].requires_grad_()
for _ in range(2):
    y = norm(x)
(y ** 3 * given["factor"][given["of_rank"][rank]]).sum().backward()
for parameter in norm.parameters():
    dist.all_reduce(parameter.grad)
torch.save({"y": y, "x_grad": x.grad, "norm": norm.state_dict(), "grads": [p.grad for p in norm.parameters()]},
           f"{folder}/rank{rank}.pt")
dist.barrier()
dist.destroy_process_group()
"""


@pytest.mark.parametrize("affine", [True, False])
def test_sync_batch_norm_of_unequal_shares_equals_one_device(tmp_path, affine):
    generator = torch.Generator().manual_seed(0)
    x = torch.randn(7, 3, 5, 4, generator=generator, dtype=torch.float64) * 3 + 100
    factor = torch.randn(7, 3, 5, 4, generator=generator, dtype=torch.float64)
    norm = nn.BatchNorm2d(3, eps=1e-4, momentum=0.1, affine=affine).double()
    if affine:
        with torch.no_grad():
            norm.weight.copy_(torch.tensor([0.5, 1.0, -2.0]))
    of_rank = [[0, 2, 4, 6], [1, 3, 5]]
    torch.save({"norm": norm, "x": x, "factor": factor, "of_rank": of_rank}, tmp_path / "given.pt")
    run_ranks(f"-c {RANK}", [str(tmp_path)], TOP, TORCH_FORCE_NO_WEIGHTS_ONLY_LOAD="1", GLOO_SOCKET_IFNAME="lo")

    x.requires_grad_()
    for _ in range(2):
        y = norm(x)
    (y**3 * factor).sum().backward()
    assert x.grad is not None
    for rank, own in enumerate(of_rank):
        found = torch.load(tmp_path / f"rank{rank}.pt")
        torch.testing.assert_close(found["y"], y[own])
        torch.testing.assert_close(found["x_grad"], x.grad[own])
        for name, value in norm.state_dict().items():
            torch.testing.assert_close(found["norm"][f"0.{name}"], value)
        for grad, parameter in zip(found["grads"], norm.parameters(), strict=True):
            torch.testing.assert_close(grad, parameter.grad)

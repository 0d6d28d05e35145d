"""Batch normalisation over the clips of all ranks; PyTorch's own works on GPUs only, this on any device.

Shapes: B clips, C channels, F bands, T frames.
"""

from __future__ import annotations

import torch
import torch.distributed.nn.functional as dist_f
from pytorch_lightning.plugins.layer_sync import LayerSync
from torch import Tensor, nn

Channels = (0, 2, 3)  # what a channel's mean is taken over


class SyncBatchNorm2d(nn.BatchNorm2d):
    """Normalises (B, C, F, T) by the mean and variance over all ranks' clips while training."""

    def forward(self, x: Tensor) -> Tensor:
        """Return x normalised, in x's precision."""
        if not self.training:
            return super().forward(x)
        assert self.running_mean is not None
        assert self.running_var is not None
        assert self.num_batches_tracked is not None
        wide = x.float() if x.dtype in (torch.bfloat16, torch.float16) else x
        size = x.numel() / x.shape[1]
        # Two passes, the second around the common mean: sums of squares would lose digits.
        sums = torch.cat([wide.sum(dim=Channels), wide.new_tensor([size])])
        total = dist_f.all_reduce(sums)
        count = total[-1].detach()
        mean = total[:-1] / count
        centred = wide - mean[None, :, None, None]
        var = dist_f.all_reduce(centred.square().sum(dim=Channels)) / count
        with torch.no_grad():
            self.num_batches_tracked.add_(1)
            share = self.momentum if self.momentum is not None else 1 / float(self.num_batches_tracked)
            self.running_mean.lerp_(mean, share)
            self.running_var.lerp_(var * count / (count - 1), share)
        deviation = torch.sqrt(var + self.eps)
        if not self.affine:
            return (centred / deviation[None, :, None, None]).to(x.dtype)
        scaled = centred * (self.weight / deviation)[None, :, None, None]
        return (scaled + self.bias[None, :, None, None]).to(x.dtype)


class AnyDeviceSync(LayerSync):
    """Tells Lightning to exchange batch normalisation by the class above, and back."""

    def apply(self, model: nn.Module) -> nn.Module:
        """Exchange every BatchNorm2d."""
        return _exchanged(model, nn.BatchNorm2d, SyncBatchNorm2d)

    def revert(self, model: nn.Module) -> nn.Module:
        """Exchange them back."""
        return _exchanged(model, SyncBatchNorm2d, nn.BatchNorm2d)


def _exchanged(model: nn.Module, old: type[nn.BatchNorm2d], new: type[nn.BatchNorm2d]) -> nn.Module:
    for module in model.modules():
        if type(module) is old:
            module.__class__ = new  # the same parameters, buffers and settings
    return model

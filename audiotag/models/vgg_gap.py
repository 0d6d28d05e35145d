"""The VGG network with global average pooling over class maps (paper figure 2, writeup "Network Architecture").

Shapes: B clips, F bands, T frames, C classes.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from audiotag.errors import AudiotagError
from audiotag.models.pretrained import load_checkpoint

Share = Annotated[float, Field(ge=0, le=1)]
MOMENTUM, EPSILON = 0.1, 1e-4  # of batch norm, as in the original
HEAD = ("head.8.", "head.9.")  # the class maps and their batch norm


class VggGap(nn.Module):
    """Fully convolutional network: spectrograms (B, 1, F, T) to logits (B, C), for any T from `min_frames` on.

    `width` n is the number of channels of the first convolution; the paper's networks have 48 and 64. Dropout, after
    the blocks and in the head, is to be scaled with the width: the paper's would starve narrow networks.
    `checkpoint`, of a run with the same width, is what training starts from; null: random weights.
    """

    fixed_frames = None

    def __init__(
        self,
        classes: int,
        width: Annotated[int, Field(ge=1, le=1024)],
        dropout: Share = 0.3,
        head_dropout: Share = 0.5,
        checkpoint: str | None = None,
    ) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        n = width
        self.features = nn.Sequential(
            *_conv(1, n, 5, stride=2), *_conv(n, n), nn.MaxPool2d(2), nn.Dropout(dropout),
            *_conv(n, 2 * n), *_conv(2 * n, 2 * n), nn.MaxPool2d(2), nn.Dropout(dropout),
            *_conv(2 * n, 4 * n), nn.Dropout(dropout), *_conv(4 * n, 4 * n), nn.Dropout(dropout),
            *_conv(4 * n, 6 * n), nn.Dropout(dropout), *_conv(6 * n, 6 * n), nn.MaxPool2d(2), nn.Dropout(dropout),
            *_conv(6 * n, 8 * n), *_conv(8 * n, 8 * n), nn.MaxPool2d((1, 2)), nn.Dropout(dropout),
            *_conv(8 * n, 8 * n), *_conv(8 * n, 8 * n), nn.MaxPool2d((1, 2)), nn.Dropout(dropout),
        )  # fmt: skip
        self.head = nn.Sequential(
            *_conv(8 * n, 8 * n, padding=0), nn.Dropout(head_dropout),
            *_conv(8 * n, 8 * n, 1), nn.Dropout(head_dropout),
            *_conv(8 * n, classes, 1)[:-1],  # the class maps have no ReLU
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_in", nonlinearity="relu")
        self.min_bands, self.min_frames = (_least(list(self._sizes(axis))) for axis in (0, 1))

    def forward(self, x: Tensor) -> Tensor:
        """Return logits; raises AudiotagError if x has too few bands or frames for the pools."""
        bands, frames = x.shape[-2:]
        if bands < self.min_bands or frames < self.min_frames:
            raise AudiotagError(
                f"a spectrogram of {bands} bands and {frames} frames is too small for the network's pools: "
                f"it needs {self.min_bands} bands and {self.min_frames} frames or more "
                "(features.excerpt_frames, features.clip_frames)"
            )
        maps: Tensor = self.head(self.features(x))  # (B, C, f, t)
        return maps.float().mean(dim=(2, 3))

    def layers(self) -> list[nn.Module]:
        """Return the layers from the input to the head: the class maps."""
        *parts, maps, norm = [*self.features, *self.head]
        starts = [k for k, part in enumerate(parts) if isinstance(part, nn.Conv2d)]
        ends = [*starts[1:], len(parts)]
        body = [nn.Sequential(*parts[start:end]) for start, end in zip(starts, ends, strict=True)]
        return [*body, nn.Sequential(maps, norm)]

    def load_pretrained(self) -> None:
        """Load the checkpoint, all but the class maps; raises ConfigError if it does not fit."""
        if self.checkpoint is not None:
            load_checkpoint(self, self.checkpoint, HEAD)

    def _sizes(self, axis: int) -> Iterator[tuple[int, int, int]]:
        """Yield (kernel, stride, padding) of every layer that changes the size, in order."""
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.MaxPool2d):
                yield _along(module.kernel_size, axis), _along(module.stride, axis), _along(module.padding, axis)


def count_numbers(network: nn.Module) -> int:
    """Count parameters and batch-norm statistics, as the paper does."""
    statistics = (b for name, b in network.named_buffers() if not name.endswith("num_batches_tracked"))
    return sum(p.numel() for p in network.parameters()) + sum(b.numel() for b in statistics)


def _conv(n_in: int, n_out: int, size: int = 3, stride: int = 1, padding: int | None = None) -> list[nn.Module]:
    padding = size // 2 if padding is None else padding
    convolution = nn.Conv2d(n_in, n_out, size, stride, padding, bias=False)
    return [convolution, nn.BatchNorm2d(n_out, EPSILON, MOMENTUM), nn.ReLU()]


def _along(value: object, axis: int) -> int:
    return int(value[axis]) if isinstance(value, tuple) else int(str(value))


def _least(sizes: list[tuple[int, int, int]]) -> int:
    """Return the smallest input that leaves one output, walking the layers backward."""
    needed = 1
    for kernel, stride, padding in reversed(sizes):
        needed = max(1, (needed - 1) * stride + kernel - 2 * padding)
    return needed

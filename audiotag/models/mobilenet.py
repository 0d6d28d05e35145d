"""MobileNetV3 for sound, with the names and shapes of EfficientAT's checkpoints (Schmid et al. 2023, arXiv:2211.04772).

Shapes: B clips, F bands, T frames, C classes.
"""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from audiotag.models.pretrained import load_checkpoint

HEAD = ("classifier.5.",)
# Kernel, channels between, channels out, squeeze and excitation, Hardswish (else ReLU), stride, all at width 1: table 1
# of MobileNetV3 (Howard et al. 2019, arXiv:1905.02244).
BLOCKS = [
    (3, 16, 16, False, False, 1),
    (3, 64, 24, False, False, 2),
    (3, 72, 24, False, False, 1),
    (5, 72, 40, True, False, 2),
    (5, 120, 40, True, False, 1),
    (5, 120, 40, True, False, 1),
    (3, 240, 80, False, True, 2),
    (3, 200, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 184, 80, False, True, 1),
    (3, 480, 112, True, True, 1),
    (3, 672, 112, True, True, 1),
    (5, 672, 160, True, True, 2),
    (5, 960, 160, True, True, 1),
    (5, 960, 160, True, True, 1),
]


class MobileNet(nn.Module):
    """Fifteen inverted residuals between two convolutions, the mean over bands and time, two linear layers.

    `width` multiplies all channels: 0.4 in mn04, 1 in mn10. `checkpoint` (mn04_as_mAP_432.pt, mn10_as_mAP_471.pt and
    others of that layout) is what training starts from; null: random weights.
    """

    min_frames = 32  # five strides halve time
    fixed_frames = None

    def __init__(
        self,
        classes: int,
        width: Annotated[float, Field(gt=0, le=8)] = 0.4,
        checkpoint: str | None = None,
        dropout: Annotated[float, Field(ge=0, le=1)] = 0.2,
    ) -> None:
        super().__init__()
        self.checkpoint = checkpoint
        n = first = channels(16 * width)
        blocks = []
        for kernel, between, out, excites, hard, stride in BLOCKS:
            n_between, n_out = channels(between * width), channels(out * width)
            blocks.append(Residual(n, n_between, n_out, kernel, stride, excites, nn.Hardswish if hard else nn.ReLU))
            n = n_out
        stem, last = conv(1, first, 3, 2, nn.Hardswish), conv(n, 6 * n, 1, 1, nn.Hardswish)
        self.features = nn.Sequential(stem, *blocks, last)
        hidden = channels(1280 * width)
        self.classifier = nn.Sequential(
            nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(6 * n, hidden), nn.Hardswish(), nn.Dropout(dropout),
            nn.Linear(hidden, classes),
        )  # fmt: skip
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out")
        for module in self.classifier:
            if isinstance(module, nn.Linear):
                nn.init.normal_(module.weight, std=0.01)
                nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of spectrograms (B, 1, F, T)."""
        logits: Tensor = self.classifier(self.features(x))
        return logits

    def layers(self) -> list[nn.Module]:
        """Return the layers from the input to the head."""
        return [*self.features, self.classifier[2], self.classifier[5]]

    def load_pretrained(self) -> None:
        """Load the checkpoint, all but the head; raises ConfigError if it does not fit."""
        if self.checkpoint is not None:
            load_checkpoint(self, self.checkpoint, HEAD)


class Residual(nn.Module):
    """An inverted residual: more channels, a convolution of each by itself, excitation, fewer channels."""

    def __init__(
        self, n_in: int, n_between: int, n_out: int, kernel: int, stride: int, excites: bool, act: type[nn.Module]
    ) -> None:
        super().__init__()
        self.adds = stride == 1 and n_in == n_out
        self.block = nn.Sequential(
            *([conv(n_in, n_between, 1, 1, act)] if n_between != n_in else []),
            conv(n_between, n_between, kernel, stride, act, groups=n_between),
            *([Excitations(n_between)] if excites else []),
            conv(n_between, n_out, 1, 1, None),
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return maps, of half as many bands and frames with a stride of 2."""
        out: Tensor = self.block(x)
        return x + out if self.adds else out


class Excitations(nn.Module):
    """A list of one excitation, over channels: the place in which the public networks could have more."""

    def __init__(self, n: int) -> None:
        super().__init__()
        self.conc_se_layers = nn.ModuleList([Excitation(n)])

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape."""
        excited: Tensor = self.conc_se_layers[0](x)
        return excited


class Excitation(nn.Module):
    """Squeeze and excitation (Hu et al. 2018): scales channels by what two linear layers make of their means."""

    def __init__(self, n: int) -> None:
        super().__init__()
        squeezed = channels(n // 4)
        self.fc1, self.fc2 = nn.Linear(n, squeezed), nn.Linear(squeezed, n)

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of the same shape."""
        scale = self.fc2(self.fc1(x.mean(dim=(2, 3))).relu()).sigmoid()
        return x * scale[:, :, None, None]


def conv(
    n_in: int, n_out: int, kernel: int, stride: int, act: type[nn.Module] | None, groups: int = 1
) -> nn.Sequential:
    """Return a convolution without bias, batch norm, and a nonlinearity, if any."""
    convolution = nn.Conv2d(n_in, n_out, kernel, stride, kernel // 2, groups=groups, bias=False)
    return nn.Sequential(convolution, nn.BatchNorm2d(n_out, 1e-3, 0.01), *([act()] if act else []))


def channels(wanted: float) -> int:
    """Return the nearest multiple of 8, 8 at least, and no less than 0.9 of what is wanted (MobileNet's rule)."""
    nearest = max(8, int(wanted + 4) // 8 * 8)
    return nearest + 8 if nearest < 0.9 * wanted else nearest

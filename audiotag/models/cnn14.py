"""CNN14 of PANNs (Kong et al. 2020, arXiv:1912.10211), with the names and shapes of the public checkpoint.

Shapes: B clips, F bands, T frames, C classes.
"""

from __future__ import annotations

import itertools
from typing import Annotated

from pydantic import Field
from torch import Tensor, nn

from audiotag.errors import AudiotagError
from audiotag.models.pretrained import load_checkpoint

Share = Annotated[float, Field(ge=0, le=1)]
HEAD = ("fc_audioset.",)
FRONT_END = ("spectrogram_extractor.", "logmel_extractor.")  # of the file: constants, which the front end makes itself


class Cnn14(nn.Module):
    """Six blocks of two convolutions; the mean over bands; maximum and mean over time; two linear layers.

    `width` is the number of channels of the first block, doubled in each: 64 in the paper, and in the checkpoint
    (`checkpoint`, Cnn14_mAP=0.431.pth) that training starts from; null: random weights. `bands` is F.
    """

    min_frames = 32  # five pools halve time
    fixed_frames = None

    def __init__(
        self,
        classes: int,
        checkpoint: str | None = None,
        bands: Annotated[int, Field(ge=32, le=1024)] = 64,
        width: Annotated[int, Field(ge=1, le=1024)] = 64,
        dropout: Share = 0.2,
        head_dropout: Share = 0.5,
    ) -> None:
        super().__init__()
        self.checkpoint, self.bands = checkpoint, bands
        widths = [1, *(width * 2**k for k in range(6))]
        self.bn0 = nn.BatchNorm2d(bands)
        for k, (n_in, n_out) in enumerate(itertools.pairwise(widths)):
            self.add_module(f"conv_block{k + 1}", Block(n_in, n_out, pool=2 if k < 5 else 1, dropout=dropout))
        self.dropout = nn.Dropout(head_dropout)
        self.fc1 = nn.Linear(widths[-1], widths[-1])
        self.fc_audioset = nn.Linear(widths[-1], classes)
        for module in self.modules():
            if isinstance(module, nn.Conv2d | nn.Linear):
                nn.init.xavier_uniform_(module.weight)
                if module.bias is not None:
                    nn.init.zeros_(module.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of spectrograms (B, 1, F, T); raises AudiotagError for another F."""
        if x.shape[2] != self.bands:
            raise AudiotagError(
                f"the network takes {self.bands} bands, and spectrograms have {x.shape[2]}; its checkpoint was trained "
                "with features=panns"
            )
        x = self.bn0(x.transpose(1, 2)).transpose(1, 2)  # (B, F, 1, T): statistics by band
        # Its convolutions have time before bands.
        x = x.transpose(2, 3)
        for block in self.blocks():
            x = block(x)
        x = x.mean(dim=3)  # (B, channels, t)
        x = self.dropout(x.amax(dim=2) + x.mean(dim=2))
        logits: Tensor = self.fc_audioset(self.dropout(self.fc1(x).relu()))
        return logits

    def blocks(self) -> list[nn.Module]:
        """Return the six blocks, from input to output."""
        return [self.get_submodule(f"conv_block{k + 1}") for k in range(6)]

    def layers(self) -> list[nn.Module]:
        """Return the layers from the input to the head."""
        return [self.bn0, *self.blocks(), self.fc1, self.fc_audioset]

    def load_pretrained(self) -> None:
        """Load the checkpoint, all but the head; raises ConfigError if it does not fit."""
        if self.checkpoint is not None:
            load_checkpoint(self, self.checkpoint, HEAD, FRONT_END)


class Block(nn.Module):
    """Two 3x3 convolutions, each with batch norm and ReLU, the mean over `pool` x `pool`, and dropout."""

    def __init__(self, n_in: int, n_out: int, pool: int, dropout: float) -> None:
        super().__init__()
        self.conv1, self.conv2 = (nn.Conv2d(n, n_out, 3, padding=1, bias=False) for n in (n_in, n_out))
        self.bn1, self.bn2 = nn.BatchNorm2d(n_out), nn.BatchNorm2d(n_out)
        self.pool = nn.Sequential(nn.AvgPool2d(pool) if pool > 1 else nn.Identity(), nn.Dropout(dropout))

    def forward(self, x: Tensor) -> Tensor:
        """Return maps of `pool` times fewer bands and frames."""
        x = self.bn1(self.conv1(x)).relu()
        pooled: Tensor = self.pool(self.bn2(self.conv2(x)).relu())
        return pooled

"""Networks of timm (PyTorch Image Models), which take a spectrogram for a grey picture."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from audiotag.errors import AudiotagError, Nearest

Frames = Annotated[int, Field(ge=1)]


class TimmNetwork(nn.Module):
    """A network of timm by its name: spectrograms (B, 1, F, T) to logits (B, C).

    `pretrained` asks timm for weights, which it downloads. `options` go to `timm.create_model`. One that takes a single
    size, as vision transformers do, needs `fixed_frames` and `options={img_size: [BANDS, FRAMES]}`.
    """

    def __init__(
        self,
        classes: int,
        name: str,
        pretrained: bool = False,
        min_frames: Frames = 32,
        fixed_frames: Frames | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        try:
            import timm
        except ModuleNotFoundError as error:
            raise AudiotagError("model.network: timm is not installed: pip install -e '.[timm]'") from error
        if not timm.is_model(name):
            raise ValueError(f"timm has no network {name}{Nearest(timm.list_models())(name)}")
        self.min_frames, self.fixed_frames = min_frames, fixed_frames
        self.scale = nn.BatchNorm2d(1)  # decibels to what pictures are like
        self.network = timm.create_model(
            name, pretrained=pretrained, in_chans=1, num_classes=classes, **(options or {})
        )

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.network(self.scale(x))
        return logits

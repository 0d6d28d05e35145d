"""Networks of timm (PyTorch Image Models), which take a spectrogram for a grey picture."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Annotated, Any

from pydantic import Field
from torch import Tensor, nn

from audiotag.console import as_called
from audiotag.errors import AudiotagError, ConfigError, Nearest
from audiotag.models.pretrained import load_head_less, read_tensors

Frames = Annotated[int, Field(ge=1)]
SETTING = "model.network"


class TimmNetwork(nn.Module):
    """A network of timm by its name: spectrograms (B, 1, F, T) to logits (B, C).

    It starts from weights that timm downloads (`pretrained`), from those in a file (`checkpoint`: what timm saves or a
    hub keeps of a network of this name), or at random. `options` go to `timm.create_model`. One that takes a single
    size, as vision transformers do, needs `fixed_frames` and `options={img_size: [BANDS, FRAMES]}`.
    """

    def __init__(
        self,
        classes: int,
        name: str,
        pretrained: bool = False,
        checkpoint: str | None = None,
        min_frames: Frames = 32,
        fixed_frames: Frames | None = None,
        options: dict[str, Any] | None = None,
    ) -> None:
        super().__init__()
        try:
            import timm
        except ModuleNotFoundError as error:
            raise AudiotagError(as_called("model.network: timm is not installed: pip install -e '.[timm]'")) from error
        if not timm.is_model(name):
            raise ValueError(f"timm has no network {name}{Nearest(timm.list_models())(name)}")
        if pretrained and checkpoint is not None:
            raise ValueError(
                "pretrained=true asks for weights that timm downloads, and checkpoint names a file: set one"
            )
        self.min_frames, self.fixed_frames = min_frames, fixed_frames
        self.pretrained, self.checkpoint = pretrained, checkpoint
        self.arguments: dict[str, Any] = {"model_name": name, "in_chans": 1, "num_classes": classes, **(options or {})}
        self.scale = nn.BatchNorm2d(1)  # decibels to what pictures are like
        self.network: Any = timm.create_model(**self.arguments)

    def forward(self, x: Tensor) -> Tensor:
        """Return logits."""
        logits: Tensor = self.network(self.scale(x))
        return logits

    def layers(self) -> list[nn.Module]:
        """Return the layers from the input to the head, as timm lists them; its stages are taken apart."""
        heads = self._heads()
        body = [layer for layer in _parts(self.network, heads) if any(True for _ in layer.parameters())]
        return [self.scale, *body, heads[0] if len(heads) == 1 else nn.ModuleList(heads)]

    def load_pretrained(self) -> None:
        """Load the weights that were asked for, all but the head's.

        Raises ConfigError if they cannot be had, or do not fit.
        """
        if self.checkpoint is not None:
            given, source = self._of_one_channel(read_tensors(self.checkpoint)), self.checkpoint
        elif self.pretrained:
            given, source = self._downloaded(), f"timm's {self.arguments['model_name']}"
        else:
            return
        heads = self._heads()
        names = [f"{name}." for name, module in self.network.named_modules() if any(module is head for head in heads)]
        load_head_less(self.network, given, names, source)

    def _heads(self) -> list[nn.Module]:
        found = self.network.get_classifier()
        return list(found) if isinstance(found, tuple | list) else [found]

    def _downloaded(self) -> dict[str, Tensor]:
        import timm

        try:
            found: dict[str, Tensor] = timm.create_model(pretrained=True, **self.arguments).state_dict()
        except (OSError, RuntimeError) as error:  # no network, no such weights
            name = self.arguments["model_name"]
            reason = str(error).splitlines()[0]
            raise ConfigError(
                "The network cannot be loaded:",
                [f"{SETTING}: timm has no weights of {name}: {reason} ({SETTING}.checkpoint=FILE takes a file)"],
            ) from error
        return found

    def _of_one_channel(self, given: dict[str, Tensor]) -> dict[str, Tensor]:
        """Return tensors with those that look at colours summed over them, as timm does it."""
        from timm.models import adapt_input_conv

        first = self.network.default_cfg.get("first_conv") or ()
        names = [f"{name}.weight" for name in ([first] if isinstance(first, str) else first)]
        return given | {name: adapt_input_conv(1, given[name]) for name in names if name in given}


def _parts(module: nn.Module, heads: list[nn.Module]) -> Iterator[nn.Module]:
    """Yield a network's layers in order without its heads: lists of layers, and what holds a head, are taken apart."""
    for child in module.children():
        if any(child is head for head in heads):
            continue
        if isinstance(child, nn.Sequential | nn.ModuleList) or any(
            part is head for part in child.modules() for head in heads
        ):
            yield from _parts(child, heads)
        else:
            yield child

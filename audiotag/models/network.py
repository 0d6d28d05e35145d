"""The network as the configuration names it: built, held to its contract, and asked.

Shapes: B clips, F bands, T frames, C classes.
"""

from __future__ import annotations

import functools
import traceback
from pathlib import Path
from typing import Any, Protocol

import torch
from torch import Tensor, nn

from audiotag.config import Features, Model
from audiotag.config.leaf import build
from audiotag.errors import ConfigError
from audiotag.models.pretrained import load_start

SETTING = "model.network"
TRIED_CLASSES = 3
HALF = (torch.float16, torch.bfloat16)


class Network(Protocol):
    """A `torch.nn.Module` that turns spectrograms (B, 1, F, T) into logits (B, C), each clip by itself.

    The program gives its constructor `classes`, the number C, and, if it takes that, `bands`, the number F; all other
    arguments come from the configuration. It draws its initial weights from PyTorch's global generator, which is seeded
    beforehand. `fixed_frames` may be left out: any T from `min_frames` on is taken then. One that takes a single T sees
    longer clips in windows (see `ask`).

    The constructor reads no file and asks nobody: whoever predicts builds the network again, and gives it the run's
    weights.
    """

    min_frames: int
    """Fewest frames T that it takes."""
    fixed_frames: int | None
    """The only T that it takes; None: any from `min_frames` on."""
    starts: tuple[str, ...]
    """Arguments that, beside `checkpoint` and `pretrained`, say what it starts from; may be left out."""

    def __call__(self, x: Tensor) -> Tensor:
        """Return logits (B, C) of spectrograms (B, 1, F, T)."""

    def load_pretrained(self) -> None:
        """Load the weights that it starts from, but for the head's; may be left out.

        Called once in round 0, before training, and when the network is tried before any work. It raises ConfigError
        for weights that are not there, or are those of another network.
        """

    def layers(self) -> list[nn.Module]:
        """Return its layers from the input to the head, which is the last; may be left out.

        Those that are fitted together stand together; weights of none of them belong to the first.
        """


def build_network(model: Model, classes: int, bands: int) -> nn.Module:
    """Build the configured network; raises ConfigError if it cannot be imported or built."""
    network: nn.Module = build(model.network, SETTING, {"bands": bands}, classes=classes)
    return network


def ask(network: nn.Module, x: Tensor) -> Tensor:
    """Return logits (B, C) of spectrograms (B, 1, F, T), in single precision or better.

    A network of `fixed_frames` sees evenly spaced windows that cover the clip; their logits are averaged. In mixed
    precision a last linear layer gives half precision, in which no posterior near 1 can be told from another.
    """
    logits = _ask(network, x)
    return logits.float() if getattr(logits, "dtype", None) in HALF else logits


def _ask(network: nn.Module, x: Tensor) -> Tensor:
    length, n_frames = getattr(network, "fixed_frames", None), x.shape[-1]
    if length is None or length == n_frames:
        logits: Tensor = network(x)
        return logits
    starts = _starts(n_frames, length)
    windows = torch.cat([x[..., start : start + length] for start in starts])  # (windows * B, 1, F, length)
    return network(windows).unflatten(0, (len(starts), x.shape[0])).mean(dim=0)


@functools.cache
def _starts(n_frames: int, length: int) -> list[int]:
    """Return where evenly spaced windows begin; kept, for an export cannot trace how they are worked out."""
    return [int(start) for start in torch.linspace(0, n_frames - length, -(-n_frames // length)).round()]


def check_network(model: Model, features: Features, bands: int, pretrained: bool = True) -> str | None:
    """Build the network on the CPU, with what it starts from, and try it on random spectrograms.

    Returns a SHA-256 of the weights that it starts from, None where they are random. Raises ConfigError if it breaks
    its contract, and what its `load_pretrained` raises.
    """
    start = None
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        network = build_network(model, TRIED_CLASSES, bands)
        problems = _attribute_problems(network, features)
        if not problems and pretrained:
            start = load_start(network)
        problems = problems or _answer_problems(network, features, bands)
    if problems:
        name = f"{type(network).__module__}.{type(network).__qualname__}"
        raise ConfigError("The network cannot be trained:", [f"{SETTING}: {name} {problem}" for problem in problems])
    return start


def _attribute_problems(network: Any, features: Features) -> list[str]:
    if not isinstance(network, nn.Module):
        return ["is not a torch.nn.Module"]
    problems = []
    if not any(weight.requires_grad for weight in network.parameters()):
        problems.append("has no weights to train")
    least, fixed = getattr(network, "min_frames", None), getattr(network, "fixed_frames", None)
    if not isinstance(least, int):
        problems.append(f"has no min_frames: set it to the fewest frames that it takes, a whole number (it is {least})")
    elif features.excerpt_frames < least:
        problems.append(f"needs {least} frames or more: features.excerpt_frames={features.excerpt_frames} is too short")
    if fixed not in (None, features.excerpt_frames):
        problems.append(f"takes {fixed} frames only: set features.excerpt_frames={fixed}")
    return problems


def _answer_problems(network: nn.Module, features: Features, bands: int) -> list[str]:
    """Return what is wrong with what a network says to random clips, as long as an excerpt and a little longer."""
    network.eval()
    lengths = [features.excerpt_frames]
    if getattr(network, "fixed_frames", None) is None:  # else it sees no other
        lengths.append(features.excerpt_frames + 7)
    for n_frames in lengths:
        x, expected = torch.randn(2, 1, bands, n_frames), (2, TRIED_CLASSES)
        try:
            with torch.inference_mode():
                both, first = ask(network, x), ask(network, x[:1])
        except RuntimeError as error:  # PyTorch's, for shapes that do not fit
            torch_folder = str(Path(torch.__file__).parent)
            at = [
                one for one in traceback.extract_tb(error.__traceback__) if not one.filename.startswith(torch_folder)
            ][-1]
            return [f"fails on spectrograms {tuple(x.shape)}: {error} ({at.filename}, line {at.lineno})"]
        if not isinstance(both, Tensor) or tuple(both.shape) != expected:
            shape = tuple(both.shape) if isinstance(both, Tensor) else type(both).__name__
            return [f"makes {shape} of spectrograms {tuple(x.shape)}; it must be (clips, classes) = {expected}"]
        if not both.isfinite().all():
            return [f"makes values that are not finite of spectrograms {tuple(x.shape)}"]
        if not torch.allclose(both[:1], first, rtol=1e-3, atol=1e-3):
            return ["gives a clip other logits beside another clip than alone, when it is not trained"]
    return []

"""What a network starts from: checkpoints of its own or of others, read without running code from them.

A file is one of `torch.save`, read with `weights_only=True`, or of safetensors. Every tensor in it, and every one of
the network, is accounted for: loaded, left out by name, or a problem.
"""

from __future__ import annotations

import functools
import hashlib
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import torch
from torch import Tensor, nn

from audiotag.console import note
from audiotag.distributed import context
from audiotag.errors import AudiotagError, ConfigError
from audiotag.models.weights import UNREADABLE

SETTING = "model.network.checkpoint"
INSIDE = ("model", "state_dict")  # under which checkpoints keep their tensors, beside other things
PREFIXES = ("module.", "network.")  # of DataParallel, and of the runs of this program
COUNTER = "num_batches_tracked"  # of batch norm, which does not use it; older files have none


def load_start(network: nn.Module) -> str | None:
    """Have a network load what it starts from; return a SHA-256 of the tensors that changed, None if none did.

    Raises what its `load_pretrained` raises: AudiotagError for a source that is missing or does not fit.
    """
    load = getattr(network, "load_pretrained", None)
    if load is None:
        return None
    before = {name: value.clone() for name, value in network.state_dict().items()}
    load()
    changed = [(name, value) for name, value in network.state_dict().items() if not torch.equal(value, before[name])]
    found = hashlib.sha256()
    for name, value in changed:
        found.update(name.encode())
        found.update(value.detach().cpu().contiguous().flatten().view(torch.uint8).numpy().data)
    return found.hexdigest() if changed else None


def load_checkpoint(
    network: nn.Module, file: str, head: Sequence[str], constants: Sequence[str] = (), setting: str = SETTING
) -> None:
    """Give a network the weights of a checkpoint, all but those of its head, which belong to other classes.

    `head` are the beginnings of the names of the head's tensors, in the network and in the file; `constants` those of
    tensors of the file that are no weights. Raises ConfigError if the file cannot be read, or with every tensor that is
    missing in it, that the network has not, or that has another shape or values that are not finite.
    """
    given = read_tensors(file, setting)
    load_head_less(network, {n: value for n, value in given.items() if not n.startswith(tuple(constants))}, head, file)


def load_head_less(network: nn.Module, given: Mapping[str, Tensor], head: Sequence[str], source: str) -> None:
    """Give a network tensors by name, all but those of its head; raises as `load_checkpoint` does."""
    left_out = tuple(sorted(name for name in given if name.startswith(tuple(head))))
    body = {name: value for name, value in given.items() if name not in left_out}
    expected = {name: value for name, value in network.state_dict().items() if not name.startswith(tuple(head))}
    problems = tensor_problems(body, expected)
    if problems:
        whose = f"{type(network).__module__}.{type(network).__qualname__}"
        raise ConfigError(f"{source} does not hold the weights of {whose} of these settings:", problems)
    network.load_state_dict(body, strict=False)
    _tell(source, len(body), left_out)


def tensor_problems(given: Mapping[str, Tensor], expected: Mapping[str, Tensor]) -> list[str]:
    """Return what is wrong with tensors that were given for those expected, a line for each, by name."""
    problems = []
    for name in sorted(given.keys() | expected.keys()):
        if name not in given:
            if not name.endswith(COUNTER):
                problems.append(f"{name} {_shape(expected[name])} is missing in the file")
        elif name not in expected:
            problems.append(f"{name} {_shape(given[name])} is in the file, but not in the network")
        elif given[name].shape != expected[name].shape:
            wanted = _shape(expected[name])
            problems.append(f"{name} is {_shape(given[name])} in the file, and {wanted} in the network")
        elif not given[name].isfinite().all():
            problems.append(f"{name} has values that are not finite")
    return problems


def _shape(tensor: Tensor) -> str:
    return str(tuple(tensor.shape))


@functools.cache  # once per process: the network is built for every cell
def _tell(source: str, count: int, left_out: tuple[str, ...]) -> None:
    """Print what a network starts from, and what of it is left out."""
    if context.is_rank_zero():
        but = f", all but those of its head ({', '.join(left_out)})" if left_out else ""
        note("pretrained:", f"{count} tensors of {source}{but}")


def read_tensors(file: str, setting: str = SETTING) -> dict[str, Tensor]:
    """Return the tensors of a checkpoint by name; raises ConfigError if there is none, or it cannot be read."""
    path = Path(file).expanduser()
    if not path.is_file():
        raise ConfigError("The network cannot be loaded:", [f"{setting}={file}: there is no such file"])
    try:
        found = _safetensors(path) if path.suffix == ".safetensors" else _unwrapped(_loaded(path))
        if not found or not all(isinstance(value, Tensor) for value in found.values()):
            raise ValueError("it does not hold tensors by name")
    except UNREADABLE as error:
        reason = str(error).strip().splitlines()[0] if str(error).strip() else type(error).__name__
        raise ConfigError(
            "The network cannot be loaded:",
            [f"{setting}={file} cannot be read as tensors alone, and nothing else is ever read: {reason}"],
        ) from error
    for prefix in PREFIXES:
        if all(name.startswith(prefix) for name in found):
            found = {name.removeprefix(prefix): value for name, value in found.items()}
    return found


def _loaded(path: Path) -> Any:
    return torch.load(path, map_location="cpu", weights_only=True)


def _unwrapped(content: Any) -> dict[str, Tensor]:
    while isinstance(content, Mapping):
        inner = next((content[key] for key in INSIDE if isinstance(content.get(key), Mapping)), None)
        if inner is None:
            return dict(content)
        content = inner
    raise ValueError(f"it holds a {type(content).__name__}")


def _safetensors(path: Path) -> dict[str, Tensor]:
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise AudiotagError(f"{path} needs safetensors, which is not installed: pip install safetensors") from error
    try:
        return dict(load_file(path))
    except SafetensorError as error:
        raise ValueError(str(error)) from error

"""The networks of a tagger's folder: built as `config.json` says, given the tensors of `model.safetensors`.

Shapes: M members.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor, nn

from audiotag.config import Features, Model, PredictConfig
from audiotag.console import as_called
from audiotag.errors import ConfigError, RunError
from audiotag.features.spectrogram import front_end_of
from audiotag.inference.ensemble import NetworkTagger
from audiotag.inference.fusion import Fusion
from audiotag.inference.hub import INSTALL
from audiotag.inference.labelling import Key
from audiotag.inference.tagger_folder import AGAIN, WEIGHTS, FolderError, HandedOn, read_folder
from audiotag.models.network import build_network


class FolderTagger(NetworkTagger):
    """The networks of a folder; raises FolderError if it is damaged, or asks for classes that are not trusted."""

    def __init__(self, path: Path, config: PredictConfig) -> None:
        about = read_folder(path, config.trust)
        networks = load_folder(path, about)
        heard: list[tuple[Features, Mapping[Key, nn.Module]]] = [
            (member.features, {(m, fold): networks[m, fold] for fold in member.folds})
            for m, member in enumerate(about.members)
        ]
        learned = about.fusion
        fusion = None if learned is None else Fusion(np.array(learned.weights), np.array(learned.biases))
        super().__init__(about.names, about.classes, heard, about.ensemble, fusion, config)


def load_folder(path: Path, about: HandedOn) -> dict[Key, nn.Module]:
    """Return the networks of a folder by (member, fold), with its weights.

    Raises FolderError with every class that cannot be built, and every tensor that is missing, of another shape or
    type, or of no network.
    """
    networks, problems = _built(about)
    if not problems:
        tensors = read_tensors(path / WEIGHTS)
        problems = tensor_problems(tensors, expected_tensors(networks))
    if problems:
        raise FolderError(f"{path} cannot be loaded:", problems, as_called(AGAIN))
    for (m, fold), network in networks.items():
        prefix = f"{m}/{fold}/"
        network.load_state_dict(
            {name.removeprefix(prefix): value for name, value in tensors.items() if name.startswith(prefix)}
        )
    return networks


def _built(about: HandedOn) -> tuple[dict[Key, nn.Module], list[str]]:
    """Return the networks, with random weights, and why some, or their front ends, cannot be built."""
    networks: dict[Key, nn.Module] = {}
    problems: list[str] = []
    for m, member in enumerate(about.members):
        bands = 1  # if there is no front end to say so
        try:
            bands = front_end_of(member.features).bands
        except ConfigError as error:
            problems += [f"members.{m}.{problem}" for problem in error.problems]
        try:
            for fold in member.folds:
                networks[m, fold] = build_network(Model(network=member.network), len(about.classes), bands)
        except ConfigError as error:
            problems += [f"members.{m}.{problem}" for problem in error.problems]
    return networks, list(dict.fromkeys(problems))


def expected_tensors(networks: Mapping[Key, nn.Module]) -> dict[str, Tensor]:
    """Return the tensors of networks as the file calls them: MEMBER/FOLD/NAME."""
    return {
        f"{m}/{fold}/{name}": value
        for (m, fold), network in networks.items()
        for name, value in network.state_dict().items()
    }


def read_tensors(file: Path) -> dict[str, Tensor]:
    """Return the tensors of a file of safetensors by name; raises RunError if it is none, or cut off."""
    try:
        from safetensors import SafetensorError
        from safetensors.torch import load_file
    except ModuleNotFoundError as error:
        raise RunError(f"{file} needs safetensors, which is not installed: {as_called(INSTALL)}") from error
    try:
        found: dict[str, Tensor] = load_file(file)
    except (SafetensorError, OSError, ValueError, LookupError) as error:
        raise FolderError(f"{file} cannot be read:", [str(error)], as_called(AGAIN)) from error
    return found


def tensor_problems(given: Mapping[str, Tensor], expected: Mapping[str, Any]) -> list[str]:
    """Return what is wrong with tensors that were given for those expected, a line for each, by name."""
    problems = []
    for name in sorted(given.keys() | expected.keys()):
        if name not in given:
            problems.append(f"{name} {_kind(expected[name])} is missing in {WEIGHTS}")
        elif name not in expected:
            problems.append(f"{name} {_kind(given[name])} of {WEIGHTS} belongs to none of the networks")
        elif _kind(given[name]) != _kind(expected[name]):
            problems.append(f"{name} is {_kind(given[name])} in {WEIGHTS}, and {_kind(expected[name])} in the network")
    return problems


def _kind(tensor: Tensor) -> str:
    return f"{tuple(tensor.shape)} {str(tensor.dtype).removeprefix('torch.')}"

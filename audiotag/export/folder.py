"""A tagger's folder: config.json, model.safetensors and a model card, of which nothing names this machine."""

from __future__ import annotations

import dataclasses
import importlib.util
import inspect
import shutil
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import audiotag
from audiotag.config import ExportConfig, PredictConfig
from audiotag.config.leaf import TARGET, find_class, leaf_identity
from audiotag.console import as_called, console
from audiotag.distributed.processes import importing_pytorch
from audiotag.errors import AudiotagError, RunError
from audiotag.export.card import card
from audiotag.export.sound import sound
from audiotag.files import check_folder, digest, replacing_folder, write_json, write_text
from audiotag.inference.hub import INSTALL
from audiotag.inference.members import Member
from audiotag.inference.tagger_folder import CARD, CONFIG, FORMAT, HARMLESS, STARTS, WEIGHTS

if TYPE_CHECKING:
    from audiotag.inference.ensemble import EnsembleTagger

FILES = {CONFIG, WEIGHTS, CARD}
KEEP = "name another folder with out=, or move it away"


def export_folder(out: Path, members: Sequence[Member], asked: PredictConfig, config: ExportConfig) -> None:
    """Write the members' networks to a folder, once it has answered as they do, to the bit, and push it if asked to.

    Raises AudiotagError if the folder holds what this command did not write, or a class of theirs needs a file of this
    machine; what `push` raises.
    """
    lacking = [name for name in ("safetensors", *(["huggingface_hub"] if config.push else [])) if _is_missing(name)]
    if lacking:
        raise AudiotagError(f"to export a folder, {', '.join(lacking)} must be installed: {as_called(INSTALL)}")
    check_own(out)
    if config.push is not None:
        from audiotag.export.push import check_token

        check_token()
    with importing_pytorch():
        from safetensors.torch import save_file

        from audiotag.inference.ensemble import EnsembleTagger
        from audiotag.inference.folder_networks import FolderTagger, expected_tensors

    described = [_member(member) for member in members]
    tagger = EnsembleTagger(members, asked)
    tensors = {name: value.contiguous() for name, value in expected_tensors(tagger.networks()).items()}
    n_weights = sum(one.numel() for network in tagger.networks().values() for one in network.parameters())
    classes = sorted({str(leaf[TARGET]) for one in described for leaf in _leaves(one)})
    with replacing_folder(out) as temporary:
        save_file(tensors, temporary / WEIGHTS, {"format": "pt"})  # several entries are written in any order
        write_text(temporary / CARD, card(members, asked, n_weights, config.push or out.name, _unknown(classes)))
        shutil.copymode(temporary / CARD, temporary / WEIGHTS)  # safetensors lets nobody else read it
        sums = {name: digest(temporary / name) for name in (WEIGHTS, CARD)}
        write_json(temporary / CONFIG, _config(tagger, described, sums))
        again = FolderTagger(temporary, dataclasses.replace(asked, trust=classes))
        if not (again.posteriors(*sound(tagger.groups)) == tagger.posteriors(*sound(tagger.groups))).all():
            raise AudiotagError(
                f"{', '.join(tagger.names)} cannot be written as a folder: built again, the networks say something "
                "else; a class of your own may depend on what is neither its arguments nor its tensors"
            )
    size_mb = sum((out / name).stat().st_size for name in FILES) / 1e6
    console.print(f"The folder answers as {', '.join(tagger.names)}, to the bit")
    console.print(f"Exported: {out} ({size_mb:.1f} MB)", soft_wrap=True)
    console.print(f"Read {CARD}, and fill in what no run knows: licence, and what it is for", soft_wrap=True)
    if config.push is not None:
        from audiotag.export.push import push

        push(out, config.push, public=config.public)


def _is_missing(name: str) -> bool:
    return importlib.util.find_spec(name) is None


def check_own(out: Path) -> None:
    """Raise AudiotagError unless a folder may be written: it is not there, empty, or as this command left it."""
    check_folder("out", out, "name another folder with out=")
    if not out.is_dir() or not any(out.iterdir()):
        return
    from audiotag.inference.tagger_folder import FolderError, read_config

    others = sorted(one.name for one in out.iterdir() if one.name not in FILES)
    if others:
        raise AudiotagError(f"out={out} holds what this command did not write ({others[0]}): {KEEP}")
    try:
        sums = read_config(out).sha256
    except FolderError as error:
        raise AudiotagError(f"out={out} is not a folder that this command wrote: {KEEP}") from error
    changed = [name for name, own in sums.items() if (out / name).is_file() and digest(out / name) != own]
    if changed:
        raise AudiotagError(f"out={out}: {', '.join(changed)} was changed since, which would be lost: {KEEP}")


def _member(member: Member) -> dict[str, Any]:
    """Return what config.json says of a member; raises RunError for arguments that name files of this machine."""
    config, name = member.folder.config, member.folder.path.name
    front_end = _whole(config.features.front_end, "features.front_end")
    features = {**dataclasses.asdict(config.features), "front_end": front_end}
    network = _whole(config.model.network, "model.network")
    network.pop("bands", None)  # is given by whoever builds it
    about = {"run": name, "round": member.round, "folds": list(member.folds), "features": features, "network": network}
    paths = [
        f"{leaf[TARGET]}: {name}={text}"
        for leaf in _leaves(about)
        for name, value in leaf.items()
        for text in _texts(value)
        if Path(text).expanduser().is_absolute() or (name != TARGET and Path(text).is_file())
    ]
    if paths:
        raise RunError(f"{member.name} needs files of this machine, which a folder would lack: {'; '.join(paths)}")
    return about


def _leaves(about: Mapping[str, Any]) -> list[Mapping[str, Any]]:
    return [about["features"]["front_end"], about["network"]]


def _whole(leaf: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Return a leaf with all arguments, as defaults may change, but not where it began, if that may be left out."""
    found = find_class(leaf, setting)
    optional = {name for name, one in inspect.signature(found).parameters.items() if one.default is not one.empty}
    starts = {*STARTS, *getattr(found, "starts", ())} & optional
    return {name: value for name, value in leaf_identity(leaf, setting).items() if name not in starts}


def _texts(value: Any) -> Iterator[str]:
    if isinstance(value, str):
        yield value
    elif isinstance(value, Mapping | list):
        for inner in value.values() if isinstance(value, Mapping) else value:
            yield from _texts(inner)


def _unknown(classes: Sequence[str]) -> list[str]:
    """Return the classes that whoever loads the folder has to trust by name."""
    return [name for name in classes if name not in HARMLESS]


def _config(tagger: EnsembleTagger, members: Sequence[Mapping[str, Any]], sums: Mapping[str, str]) -> dict[str, Any]:
    fusion = tagger.fusion
    return {
        "format": FORMAT,
        "audiotag": audiotag.__version__,
        "classes": tagger.classes,
        "members": list(members),
        "ensemble": dataclasses.asdict(tagger.settings),
        "fusion": None if fusion is None else {"weights": fusion.weights.tolist(), "biases": fusion.biases.tolist()},
        "sha256": dict(sums),
    }

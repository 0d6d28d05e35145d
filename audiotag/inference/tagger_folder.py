"""A tagger as a folder, as `python -m audiotag.export to=folder` writes it: what it says of itself, what it may build.

`config.json` holds everything that its networks are built from, `model.safetensors` their tensors, called
MEMBER/FOLD/NAME, `README.md` a model card, which nothing reads. A folder may be a stranger's: nothing in it is run, and
of the classes that it names only those are built that do no harm whatever their arguments, or that the user names.
"""

from __future__ import annotations

import json
from collections.abc import Collection, Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, TypeAdapter, ValidationError

from audiotag.config import Ensemble, Features
from audiotag.config.leaf import TARGET
from audiotag.config.schema import Settings, settings
from audiotag.console import as_called
from audiotag.errors import ProblemsError, RunError
from audiotag.files import digest

WEIGHTS, CONFIG, CARD = "model.safetensors", "config.json", "README.md"
FORMAT = 1  # to be raised when the same fields or names come to mean something else
LARGEST_CONFIG = 1_000_000  # bytes; one has about 3,000
AGAIN = "export it again with python -m audiotag.export to=folder, or fetch it again"
# Where a network began, before it was trained; whoever has its weights needs neither.
STARTS = ("checkpoint", "pretrained")
# Reviewed: whatever their arguments, but STARTS and tables of options for other libraries, they compute, and no more.
HARMLESS = {
    "audiotag.features.log_mel.KaldiFrontEnd",
    "audiotag.features.log_mel.LogMelFrontEnd",
    "audiotag.features.spectrogram.LogFrontEnd",
    "audiotag.features.spectrogram.MelFrontEnd",
    "audiotag.models.cnn14.Cnn14",
    "audiotag.models.embedding_head.EmbeddingHead",
    "audiotag.models.mobilenet.MobileNet",
    "audiotag.models.timm_network.TimmNetwork",
    "audiotag.models.vgg_gap.VggGap",
}


class FolderError(RunError, ProblemsError):
    """A folder that is no tagger, is damaged, or names classes that are not trusted; `problems` has all of it."""


@settings
class HandedMember(Settings):
    """One round of a run."""

    run: str
    round: Annotated[int, Field(ge=0)]
    folds: Annotated[list[int], Field(min_length=1)]
    features: Features
    network: dict[str, Any]
    """Class of the networks (`_target_`) and its arguments."""


@settings
class HandedFusion(Settings):
    """Learned weights: one per member, and a bias per class."""

    weights: list[float]
    biases: list[float]


@settings
class HandedOn(Settings):
    """What `config.json` holds."""

    format: int
    audiotag: str
    """Version by which it was made."""
    classes: Annotated[list[str], Field(min_length=1)]
    """In the order of the networks' outputs."""
    members: Annotated[list[HandedMember], Field(min_length=1)]
    ensemble: Ensemble
    fusion: HandedFusion | None
    """Of learned weights; null: equal ones."""
    sha256: dict[str, str]
    """Of the other files; that of the weights is checked, against damage."""

    @property
    def names(self) -> list[str]:
        """Names of the members, NAME@ROUND each."""
        return [f"{member.run}@{member.round}" for member in self.members]

    @property
    def folds(self) -> list[tuple[int, int]]:
        """(member, fold) of every network."""
        return [(m, fold) for m, member in enumerate(self.members) for fold in member.folds]


def is_tagger_folder(path: Path) -> bool:
    """Return whether a folder is one of these, whole or not; a run's folder is none."""
    return any((path / name).is_file() for name in (CONFIG, WEIGHTS)) and not (path / "config.yaml").exists()


def read_folder(path: Path, trust: Collection[str] = ()) -> HandedOn:
    """Return what a folder says of itself, without PyTorch; `trust` are classes to build besides the harmless ones.

    Raises FolderError with everything that is missing, damaged, of another format, or not trusted.
    """
    about = read_config(path)
    problems = _own_problems(about)
    if digest(path / WEIGHTS) != about.sha256.get(WEIGHTS):
        problems.append(f"{WEIGHTS} is not the file that {CONFIG} was written with: cut off, or changed")
    if problems:
        raise FolderError(f"{path} is damaged:", problems, as_called(AGAIN))
    _refuse_classes(path, about, trust)
    return about


def read_config(path: Path) -> HandedOn:
    """Return what `config.json` holds; raises FolderError if it, or the weights' file, is missing or damaged."""
    missing = [f"{name} is missing" for name in (CONFIG, WEIGHTS) if not (path / name).is_file()]
    if missing:
        raise FolderError(f"{path} is not a whole tagger:", missing, as_called(AGAIN))
    try:
        return _parsed(path / CONFIG)
    except ValidationError as error:
        problems = [f"{'.'.join(map(str, one['loc']))}: {one['msg']}" for one in error.errors()]
        raise FolderError(f"{path / CONFIG} does not describe a tagger:", problems, as_called(AGAIN)) from error
    except (ValueError, TypeError, RecursionError) as error:
        reason = str(error).splitlines()[0] if isinstance(error, ValueError) else "too deep"
        raise FolderError(f"{path / CONFIG} cannot be read:", [reason], as_called(AGAIN)) from error


def _parsed(file: Path) -> HandedOn:
    if file.stat().st_size > LARGEST_CONFIG:
        raise ValueError("too large")
    content = json.loads(file.read_text(encoding="utf-8"))
    if not isinstance(content, dict) or "audiotag" not in content:
        raise ValueError("not written by audiotag: it does not name its version")
    if content.get("format") != FORMAT:
        raise ValueError(f"written by audiotag {content['audiotag']!s:.20}, in another format")
    return TypeAdapter(HandedOn).validate_python(content)


def _own_problems(about: HandedOn) -> list[str]:
    """Return what does not go together."""
    problems = [problem for m, member in enumerate(about.members) for problem in member.problems(f"members.{m}.")]
    if len(set(about.classes)) < len(about.classes):
        problems.append("classes: some have the same name")
    for m, member in enumerate(about.members):
        if len(set(member.folds)) < len(member.folds):
            problems.append(f"members.{m}.folds: {member.folds} names one twice")
    fusion = about.fusion
    if (fusion is None) == (about.ensemble.weights == "learned"):
        problems.append("fusion: with ensemble.weights=learned, and only then, the weights are there")
    if fusion and (len(fusion.weights), len(fusion.biases)) != (len(about.members), len(about.classes)):
        problems.append("fusion: not one weight per member and one bias per class")
    return problems


def leaves_of(about: HandedOn) -> dict[str, Mapping[str, Any]]:
    """Return the leaves that a tagger is built of, by their place in `config.json`."""
    found: dict[str, Mapping[str, Any]] = {}
    for m, member in enumerate(about.members):
        found |= {f"members.{m}.features.front_end": member.features.front_end, f"members.{m}.network": member.network}
    return found


def _refuse_classes(path: Path, about: HandedOn, trust: Collection[str]) -> None:
    """Raise FolderError for classes that are neither harmless nor named by the user, before any is imported."""
    problems, unknown = [], set()
    for place, leaf in leaves_of(about).items():
        name = str(leaf.get(TARGET))
        if name in trust:
            continue
        beyond = [argument for argument, value in leaf.items() if isinstance(value, dict) or argument in STARTS]
        if name not in HARMLESS:
            problems.append(f"{place} is {name}, which is not one of audiotag's own")
        elif beyond:
            problems.append(f"{place}: {name} is given {', '.join(beyond)}, by which it may read more than this folder")
        else:
            continue
        unknown.add(name)
    if problems:
        known = ",".join(sorted(unknown))
        advice = (
            "Building it runs its code here. If you know it and trust who made this folder, say so with "
            f"trust=[{known}]; --config-dir DIR adds the folder that holds a module of yours."
        )
        raise FolderError(f"{path} asks for what is not built unless you name it:", problems, advice)

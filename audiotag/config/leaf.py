"""Leaves of the configuration: a class named by `_target_`, and the arguments that its constructor is given.

    network: {_target_: my_net.Net, channels: 12}

In a schema a leaf is a field whose type is `Annotated[dict[str, Any], Leaf(given=("classes",))]`. Every key below it is
let through by the command line and by `audiotag.config.schema.validate`, and held against the constructor's signature
by `audiotag.config.schema.check_leaves`. What Hydra composes upon has empty leaves, so that an option of the leaf's
group brings its class and all of its arguments, and none is left of another class.

The module may lie anywhere on the import path, to which --config-dir adds its folder. Everything here imports the
module, which may take seconds: call it after what can be refused without. Settings may be a stranger's, those of a run
folder: before anything is imported, a class must be one of audiotag's own, or one that the user trusts.
"""

from __future__ import annotations

import importlib
import importlib.util
import inspect
import json
import os
import sys
import traceback
import typing
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from pydantic import ConfigDict, PydanticUserError, TypeAdapter, ValidationError
from pydantic.errors import PydanticSchemaGenerationError

from audiotag.config.messages import message
from audiotag.console import as_called
from audiotag.errors import ConfigError, Nearest
from audiotag.files import digest

TARGET = "_target_"
HEADLINE = "The configuration cannot be run:"
TRUST = "AUDIOTAG_TRUST"  # in the environment: names of classes, and folders whose modules' classes may be built
# Those that ship. Not all of audiotag: some of its functions write files.
OWN = {
    "audiotag.data.sources.class_folders.ClassFolders",
    "audiotag.data.sources.csv_table.CsvTable",
    "audiotag.data.sources.fsdkaggle2018.FSDKaggle2018",
    "audiotag.data.sources.kaggle.Kaggle",
    "audiotag.data.sources.synthetic.Synthetic",
    "audiotag.features.embedding.EmbeddingFrontEnd",
    "audiotag.features.log_mel.KaldiFrontEnd",
    "audiotag.features.log_mel.LogMelFrontEnd",
    "audiotag.features.spectrogram.LogFrontEnd",
    "audiotag.features.spectrogram.MelFrontEnd",
    "audiotag.models.augmentation.Masking",
    "audiotag.models.cnn14.Cnn14",
    "audiotag.models.embedding_head.EmbeddingHead",
    "audiotag.models.hf_network.HfNetwork",
    "audiotag.models.loss.GeneralizedCrossEntropy",
    "audiotag.models.loss.SoftTargetCrossEntropy",
    "audiotag.models.mobilenet.MobileNet",
    "audiotag.models.timm_network.TimmNetwork",
    "audiotag.models.vgg_gap.VggGap",
    "audiotag.tracking.mlflow.MlflowTracker",
    "audiotag.tracking.tensorboard.TensorBoardTracker",
    "audiotag.tracking.wandb.WandbTracker",
    "audiotag.verification.promise.PromiseRule",
    "audiotag.verification.rules.AgreementRule",
    "audiotag.verification.rules.CleanlabRule",
}


@dataclass(frozen=True)
class Leaf:
    """Marks a field of a schema as a leaf.

    `given` are the arguments that the program adds, `offered` those that it adds for a class that takes them; `usual`
    are others to suggest for a misspelt one, besides those of the default. With `several`, it holds any number of
    leaves by name.
    """

    given: tuple[str, ...] = ()
    offered: tuple[str, ...] = ()
    usual: tuple[str, ...] = ()
    several: bool = False


def import_from(folder: str) -> None:
    """Let modules of a folder, that of --config-dir, be imported here and in processes that are started from here."""
    path = str(Path(folder).absolute())
    if path not in sys.path:
        sys.path.append(path)
    paths = list(filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep)))
    if path not in paths:
        os.environ["PYTHONPATH"] = os.pathsep.join([*paths, path])
    trust(path)


def trust(*names: str) -> None:
    """Let classes, or those of the modules in a folder, be built here and in processes that are started from here."""
    os.environ[TRUST] = os.pathsep.join(dict.fromkeys([*_trusted(), *names]))


def _trusted() -> list[str]:
    return list(filter(None, os.environ.get(TRUST, "").split(os.pathsep)))


def is_own(target: str) -> bool:
    """Return whether a class is one that ships, or one of torch.nn."""
    return target in OWN or target.rpartition(".")[0] == "torch.nn"


def find_class(leaf: Mapping[str, Any], setting: str) -> Callable[..., Any]:
    """Return the class that a leaf names.

    Raises ConfigError if it is neither audiotag's own nor trusted, in which case nothing is imported; or if it cannot
    be imported, saying where it was looked for. An error that the module itself raises is not caught: its traceback
    says most.
    """
    target = leaf.get(TARGET)
    module_name, _, name = str(target).rpartition(".")
    if not isinstance(target, str) or not module_name or not name:
        raise _error(f"{setting}.{TARGET}={target} does not name a class: write it as module.Class")
    if not (is_own(target) or target in _trusted() or _lies_in_trusted_folder(module_name)):
        raise _strange(target, setting)
    try:
        module = importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if not error.name or not f"{module_name}.".startswith(f"{error.name}."):
            raise _error(f"{setting}.{TARGET}={target} needs {error.name}, which is not installed") from error
        raise _error(
            f"{setting}.{TARGET}={target} cannot be imported: there is no module {error.name} in {_looked_in()}, or "
            "among the installed packages (--config-dir DIR adds a folder)"
        ) from error
    except SyntaxError as error:
        raise _error(f"{setting}.{TARGET}={target}: {error.filename}, line {error.lineno}: {error.msg}") from error
    found = getattr(module, name, None)
    if not callable(found):
        near = Nearest(key for key in vars(module) if not key.startswith("_"))(name)
        raise _error(f"{setting}.{TARGET}={target} cannot be imported: {module.__file__} has no class {name}{near}")
    # What a module of the user's has imported from elsewhere, such as subprocess.run, was not meant.
    packages = {one.partition(".")[0] for one in (module_name, getattr(found, "__module__", None) or "")}
    if len(packages) > 1 and target not in _trusted():
        raise _strange(target, setting)
    return typing.cast("Callable[..., Any]", found)


def leaf_problems(
    leaf: Mapping[str, Any], setting: str, given: tuple[str, ...] = (), offered: tuple[str, ...] = ()
) -> list[str]:
    """Return what is wrong with a leaf: its class, and each argument that is unknown, missing, or of a wrong type.

    `given` are the arguments that the program adds, such as a network's `classes`, `offered` those that it adds for a
    class that takes them.
    """
    try:
        parameters = inspect.signature(found := find_class(leaf, setting)).parameters
    except ConfigError as error:
        return error.problems
    named = {name: one for name, one in parameters.items() if one.kind not in (one.VAR_POSITIONAL, one.VAR_KEYWORD)}
    takes_any = any(one.kind == one.VAR_KEYWORD for one in parameters.values())
    given = (*given, *(name for name in offered if name in named))
    near, hints, problems = Nearest(named.keys() - {*given}), _annotations(found), []
    arguments = {name: value for name, value in leaf.items() if name != TARGET}
    for name, value in arguments.items():
        if name in given:
            problems.append(f"{setting}.{name} is set by the program: leave it out")
        elif name not in named and not takes_any:
            instead = near(name) or f", which takes {', '.join(sorted(named.keys() - {*given})) or 'none'}"
            problems.append(f"{setting}.{name} is not an argument of {leaf[TARGET]}{instead}")
        elif name in hints:
            problems += _type_problems(hints[name], value, f"{setting}.{name}")
    problems += [
        f"{leaf[TARGET]} does not take {name}, which the program gives it: add it to the constructor of {setting}"
        for name in given
        if name not in named and not takes_any
    ]
    return problems + [
        f"{setting}.{name} is missing: {leaf[TARGET]} cannot be built without it"
        for name, one in named.items()
        if one.default is one.empty and name not in arguments and name not in given
    ]


def build(leaf: Mapping[str, Any], setting: str, offered: Mapping[str, Any] | None = None, **given: Any) -> Any:
    """Build the object that a leaf describes; `given` are arguments that the program adds, as it does those `offered`
    that the class takes.

    Raises ConfigError with everything that is wrong with the class or its arguments, or what its constructor raised.
    """
    offered = offered or {}
    problems = leaf_problems(leaf, setting, tuple(given), tuple(offered))
    if problems:
        raise ConfigError(HEADLINE, problems)
    taken = inspect.signature(find_class(leaf, setting)).parameters.keys()
    given |= {name: value for name, value in offered.items() if name in taken}
    arguments = {name: value for name, value in leaf.items() if name != TARGET}
    try:
        return find_class(leaf, setting)(**arguments, **given)
    except ValueError as error:
        raise _error(f"{setting}: {error}") from error
    except (TypeError, AttributeError, LookupError, ArithmeticError, RuntimeError) as error:
        at = traceback.extract_tb(error.__traceback__)[-1]
        where = f"{at.filename}, line {at.lineno}"
        raise _error(f"{setting}: {leaf[TARGET]} cannot be built: {type(error).__name__}: {error} ({where})") from error


def leaf_identity(leaf: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Return the class and every argument of its constructor, defaults included: what an object's values depend on."""
    parameters = inspect.signature(find_class(leaf, setting)).parameters
    defaults = {name: one.default for name, one in parameters.items() if one.default is not one.empty}
    return {**leaf, **{name: value for name, value in defaults.items() if name not in leaf}}


def pinned(leaf: Mapping[str, Any], setting: str) -> dict[str, Any]:
    """Return a leaf that has a `file` and its `sha256` with an absolute path and, if null, the sum as it is now.

    Any other is returned as it is. Raises ConfigError if the file is not there.
    """
    if not isinstance(leaf.get("file"), str) or "sha256" not in leaf:
        return dict(leaf)
    path = Path(leaf["file"]).expanduser().absolute()
    if not path.is_file():
        raise _error(f"{setting}.file={leaf['file']}: there is no such file")
    return {**leaf, "file": str(path), "sha256": leaf["sha256"] or digest(path)}


def class_name(leaf: Mapping[str, Any]) -> str:
    """Return a leaf's class without its module, for people."""
    return str(leaf.get(TARGET, "")).rpartition(".")[2]


def _lies_in_trusted_folder(module_name: str) -> bool:
    """Return whether a module would be found directly in a trusted folder, or nowhere; imports nothing."""
    try:
        spec = importlib.util.find_spec(module_name.partition(".")[0])
    except (ImportError, ValueError):  # __main__, or no name at all
        return False
    if spec is None:
        return True
    places = list(spec.submodule_search_locations or [str(spec.origin)])
    return bool(places) and all(str(Path(place).parent) in _trusted() for place in places)


def _strange(target: str, setting: str) -> ConfigError:
    return _error(
        f"{setting}.{TARGET}={target} is not one of audiotag's own, and building it runs its code. If you know it, say "
        f"so: --config-dir DIR names the folder of its module, {TRUST}={target} in the environment the class, as does "
        f"{as_called(f'trust=[{target}] of predict.py')} and audiotag.load"
    )


def _error(problem: str) -> ConfigError:
    return ConfigError(HEADLINE, [problem])


def _looked_in() -> str:
    """Return the folders of the import path that hold neither Python nor installed packages."""
    python = [str(Path(prefix).absolute()) for prefix in (sys.prefix, sys.base_prefix)]
    folders = [str(Path(folder).absolute()) for folder in sys.path]
    return ", ".join(dict.fromkeys(folder for folder in folders if not folder.startswith(tuple(python))))


def _annotations(found: Callable[..., Any]) -> dict[str, Any]:
    try:
        return typing.get_type_hints(found.__init__ if inspect.isclass(found) else found, include_extras=True)
    except NameError:  # a type that is imported for type checkers only
        return {}


def _type_problems(annotation: Any, value: Any, name: str) -> list[str]:
    """Return what is wrong with a value by its annotation, as far as that is one of plain types."""
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation, config=ConfigDict(allow_inf_nan=False))
    except (PydanticSchemaGenerationError, PydanticUserError):
        return []
    try:
        adapter.validate_json(json.dumps(value), strict=True)  # as JSON: a list may become a tuple
    except ValidationError as error:
        return [message(name, error.errors()[0], annotation)]
    return []

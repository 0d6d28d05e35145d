"""A composed configuration merged onto a schema of dataclasses: unknown keys, wrong types, and what a key means.

The schemas themselves are in `audiotag.config`.
"""

from __future__ import annotations

import ast
import dataclasses
import difflib
import inspect
import math
import textwrap
from collections.abc import Iterable, Iterator, Sequence
from functools import cache
from typing import Any, TypeVar

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException

from audiotag.config.checks import out_of_proportion
from audiotag.errors import ConfigError

Schema = TypeVar("Schema")

# What other programs call it.
ALIASES = {"lr": "learning_rate", "bs": "batch_size", "max_epochs": "epochs", "num_epochs": "epochs", "gpus": "devices"}
ALIASES |= {
    "num_workers": "workers",
    "n_folds": "folds",
    "num_folds": "folds",
    "n_rounds": "finetune_rounds",
    "rounds": "finetune_rounds",
}


def validate(composed: DictConfig, schema: type[Schema]) -> Schema:
    """Merge a composed configuration onto its schema and return it as a frozen dataclass.

    Raises ConfigError with every unknown key, wrong type and impossible combination.
    """
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError("The configuration cannot be resolved:", [str(error).splitlines()[0]]) from error
    unknown: list[str] = [unknown_key(path, schema) for path, _ in leaves(values) if not is_key(path, schema)]
    known = [(path, value) for path, value in leaves(values) if is_key(path, schema)]
    wrong: list[str] = type_problems(known, schema)
    together: list[str] = []  # what does not go together; it cannot be told of values of the wrong type
    if not wrong:
        try:
            config = OmegaConf.to_object(_merged(known, schema))
        except ConfigError as error:
            together = error.problems
    if unknown or wrong or together:
        raise ConfigError("The configuration cannot be run:", [*unknown, *wrong, *together])
    assert isinstance(config, schema)
    return config


def nested(settings: Iterable[tuple[str, Any]]) -> dict[str, Any]:
    """Return settings, (dotted path, value) each, as dicts in dicts."""
    found: dict[str, Any] = {}
    for path, value in settings:
        *sections, last = path.split(".")
        section = found
        for name in sections:
            section = section.setdefault(name, {})
        section[last] = value
    return found


def to_dict(config: Any) -> dict[str, Any]:
    """Return a configuration as plain dicts, lists and values."""
    return dataclasses.asdict(config)


def leaves(values: dict[str, Any], prefix: str = "") -> Iterator[tuple[str, Any]]:
    """Yield (dotted path, value) of everything that is not itself a non-empty dict."""
    for name, value in values.items():
        path = f"{prefix}{name}"
        if isinstance(value, dict) and value:
            yield from leaves(value, f"{path}.")
        else:
            yield path, value


def _merged(settings: Sequence[tuple[str, Any]], schema: type) -> DictConfig:
    merged = OmegaConf.merge(_base(schema), nested(settings))
    assert isinstance(merged, DictConfig)
    return merged


@cache
def _base(schema: type) -> DictConfig:
    base: DictConfig = OmegaConf.structured(schema)
    _unfreeze(base)
    return base


def _unfreeze(node: DictConfig) -> None:
    """Let OmegaConf write to the schema of frozen dataclasses, which it takes for read-only values."""
    OmegaConf.set_readonly(node, False)
    for name in node:
        child = node._get_node(name)
        if isinstance(child, DictConfig) and child:
            _unfreeze(child)


def type_problems(settings: Sequence[tuple[str, Any]], schema: type) -> list[str]:
    """Return a message for every setting, (dotted path, value) each, of the wrong type, not finite, or not given."""
    try:
        merged: Any = OmegaConf.to_container(_merged(settings, schema))
    except OmegaConfBaseException as error:
        half = len(settings) // 2
        if half:
            return type_problems(settings[:half], schema) + type_problems(settings[half:], schema)
        return [f"{path}={value!r}: {str(error).splitlines()[0]}" for path, value in settings]
    missing = [f"{path} is not given" for path, value in settings if value == "???"]
    numbers = [(path, value) for path, value in leaves(merged) if isinstance(value, float)]
    wild = [f"{path}={value} is not a finite number" for path, value in numbers if not math.isfinite(value)]
    large = [problem for path, value in leaves(merged) for problem in out_of_proportion(path, value)]
    return missing + (wild or large)


@cache
def field_docs(schema: type) -> dict[str, str]:
    """Return the docstring that stands below each field of a dataclass, by field name."""
    body = ast.parse(textwrap.dedent(inspect.getsource(schema))).body[0]
    assert isinstance(body, ast.ClassDef)
    docs = {}
    for statement, follower in zip(body.body, [*body.body[1:], None], strict=True):
        if isinstance(statement, ast.AnnAssign) and isinstance(statement.target, ast.Name):
            text = follower.value if isinstance(follower, ast.Expr) else None
            doc = text.value if isinstance(text, ast.Constant) else ""
            docs[statement.target.id] = " ".join(str(doc).split())
    return docs


def schema_keys(schema: type, prefix: str = "") -> Iterator[tuple[str, Any, str]]:
    """Yield (dotted path, default, docstring) of every setting of a schema, sections themselves left out."""
    docs = field_docs(schema)
    for entry in dataclasses.fields(schema):
        factory = entry.default_factory
        if dataclasses.is_dataclass(factory):
            yield from schema_keys(factory, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", entry.default, docs[entry.name]


def schema_types(schema: type, prefix: str = "") -> Iterator[tuple[str, str]]:
    """Yield (dotted path, annotation) of every setting of a schema."""
    for entry in dataclasses.fields(schema):
        if dataclasses.is_dataclass(entry.default_factory):
            yield from schema_types(entry.default_factory, f"{prefix}{entry.name}.")
        else:
            yield f"{prefix}{entry.name}", str(entry.type)


def is_key(path: str, schema: type) -> bool:
    """Say whether a dotted path names a setting or a section of the schema."""
    return path in _keys(schema)


@cache
def _keys(schema: type) -> frozenset[str]:
    """Return the dotted paths of a schema's settings and sections."""
    names = [name.split(".") for name, _, _ in schema_keys(schema)]
    return frozenset(".".join(parts[:n]) for parts in names for n in range(1, len(parts) + 1))


def unknown_key(path: str, schema: type, groups: tuple[str, ...] = ()) -> str:
    """Return the message for a key that does not exist, naming the nearest that does."""
    known = [name for name, _, _ in schema_keys(schema)]
    sections = {".".join(name.split(".")[:-1]) for name in known} - {""}
    candidates = [*known, *sections, *groups]
    section, _, last = path.rpartition(".")
    last = ALIASES.get(last, last)
    near = [name for name in known if name.split(".")[-1] == last]  # only its section is wrong or missing
    if section:
        near = difflib.get_close_matches(f"{section}.{last}", near, n=1, cutoff=0.6)
    near = near or difflib.get_close_matches(path, candidates, n=1, cutoff=0.6)
    if not near:
        by_last = {name.split(".")[-1]: name for name in candidates}
        near = [by_last[n] for n in difflib.get_close_matches(last, list(by_last), n=1, cutoff=0.75)]
    return f"{path} is not a setting" + (f"; did you mean {' or '.join(near)}?" if near else "; --help lists them all")

"""What a schema is made of, and a composed configuration validated by it: all problems at once, and what a key means.

The schemas themselves are the other modules of `audiotag.config`: frozen dataclasses whose types, ranges and choices
pydantic checks. A docstring stands below each field; `clashes` tells what does not go together.
"""

from __future__ import annotations

import contextlib
import dataclasses
import difflib
import operator
from collections.abc import Iterable, Iterator, Mapping
from functools import cache
from typing import Annotated, Any, TypeVar, dataclass_transform, get_args

from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from pydantic import ConfigDict, Field, ValidationError, ValidationInfo, field_validator
from pydantic.dataclasses import dataclass
from pydantic.fields import FieldInfo
from pydantic_core import ErrorDetails, PydanticKnownError

from audiotag.config.leaf import TARGET, Leaf, import_from, is_own, leaf_problems, trust
from audiotag.config.messages import OUT_OF_RANGE, message, parts
from audiotag.errors import ConfigError

Schema = TypeVar("Schema", bound="Settings")
Class = TypeVar("Class")

# What other programs call it.
ALIASES = {"lr": "learning_rate", "bs": "batch_size", "max_epochs": "epochs", "num_epochs": "epochs", "gpus": "devices"}
ALIASES |= {"num_workers": "workers", "n_folds": "folds", "num_folds": "folds"}
ALIASES |= {"n_rounds": "finetune_rounds", "rounds": "finetune_rounds"}

Share = Annotated[float, Field(ge=0, le=1)]
Seed = Annotated[int, Field(ge=1 - 2**63, le=2**63 - 1)]

RULES = ConfigDict(extra="forbid", use_attribute_docstrings=True, allow_inf_nan=False, coerce_numbers_to_str=True)


@dataclass_transform(frozen_default=True)
def settings(cls: type[Class]) -> type[Class]:
    """Make a class a frozen dataclass whose values are validated, also by `dataclasses.replace`."""
    made = dataclass(frozen=True, config=RULES)(cls)
    for field in made.__pydantic_fields__.values():
        field.description = " ".join((field.description or "").split())
    return made  # type: ignore[return-value]


@settings
class Settings:
    """A section of settings."""

    @field_validator("*", mode="before")
    @classmethod
    def _as_meant(cls, value: Any, info: ValidationInfo) -> Any:
        return _as_meant(value, parts(_fields(cls)[str(info.field_name)].annotation))

    def problems(self, prefix: str = "") -> list[str]:
        """Return what does not go together in this section and those below it; `prefix` is its path, with a dot."""
        found = []
        for name in _fields(type(self)):
            value = getattr(self, name)
            if isinstance(value, Settings):
                found += value.problems(f"{prefix}{name}.")
        return [*found, *self.clashes(prefix)]

    def clashes(self, prefix: str) -> Iterable[str]:
        """Return what does not go together in this section."""
        return ()


@settings
class Program(Settings):
    """All settings of a program. Raises ConfigError if they do not go together."""

    def __post_init__(self) -> None:
        found = self.problems()
        if found:
            raise ConfigError("The configuration cannot be run:", found)


def validate(composed: DictConfig, schema: type[Schema]) -> Schema:
    """Return a composed configuration as its schema, frozen.

    Raises ConfigError with every unknown key, wrong type, value out of range and impossible combination.
    """
    try:
        values: Any = OmegaConf.to_container(composed, resolve=True)
    except OmegaConfBaseException as error:
        raise ConfigError("The configuration cannot be resolved:", [str(error).splitlines()[0]]) from error
    config, wrong, impossible = _checked(values, schema)
    if config is None or wrong:
        raise ConfigError("The configuration cannot be run:", [*wrong, *impossible])
    return config


def type_problems(path: str, value: Any, schema: type[Settings]) -> list[str]:
    """Return what is unknown or of the wrong type in the value of one setting, whatever the others are."""
    return _checked(nested([(path, value)]), schema)[1]


def _checked(values: dict[str, Any], schema: type[Schema]) -> tuple[Schema | None, list[str], list[str]]:
    """Return settings as their schema, what of them is unknown or of the wrong type, and what else cannot be."""
    wrong = [unknown_key(path, schema) for path, _ in leaves(values) if not is_key(path, schema)]
    wrong += [f"{path} is not given" for path, value in leaves(values) if value == "???"]
    known = nested((path, value) for path, value in leaves(values) if is_key(path, schema) and value != "???")
    try:
        return schema(**known), wrong, []
    except ConfigError as error:
        return None, wrong, error.problems
    except ValidationError as error:
        outside = [problem for problem in error.errors() if problem["type"] in OUT_OF_RANGE]
        wrong += [_message(problem, schema) for problem in error.errors() if problem not in outside]
        together = _unchecked(schema, known).problems() if len(outside) == error.error_count() else []
        return None, wrong, [*(_message(problem, schema) for problem in outside), *together]


def check_leaves(config: Settings) -> None:
    """Raise ConfigError with everything that is wrong with the leaves of a configuration; imports their classes."""
    found = [
        problem
        for setting, mark, leaf in _leaves_of(config)
        for problem in leaf_problems(leaf, setting, mark.given, mark.offered)
    ]
    if found:
        raise ConfigError("The configuration cannot be run:", found)


def strange_classes(config: Settings) -> list[str]:
    """Return the classes that a configuration names and that are not audiotag's own."""
    named = [leaf.get(TARGET) for _, _, leaf in _leaves_of(config)]
    return [target for target in named if isinstance(target, str) and not is_own(target)]


def as_own(config: Schema) -> Schema:
    """Return settings of the user's own, whose classes may be built from now on, unlike those that a run names."""
    if folder := getattr(config, "config_dir", None):
        import_from(folder)
    trust(*strange_classes(config), *getattr(config, "trust", ()))
    return config


def _leaves_of(config: Settings) -> Iterator[tuple[str, Leaf, dict[str, Any]]]:
    """Yield every leaf of a configuration with its path and its mark."""
    schema: type = type(config)
    for path, field in schema_fields(schema).items():
        if (mark := _leaf(field)) and (leaf := operator.attrgetter(path)(config)):
            named = {f"{path}.{name}": one for name, one in leaf.items()} if mark.several else {path: leaf}
            yield from ((setting, mark, one) for setting, one in named.items())


def _as_meant(value: Any, kinds: tuple[Any, ...]) -> Any:
    """Return a value as a setting takes it: "3", which the environment may hold, as 3, but never true or 1.0 as 1."""
    number = float if float in kinds else int if int in kinds else None
    if number is None:
        return value
    if isinstance(value, bool) or (number is int and isinstance(value, float)):
        raise PydanticKnownError("int_type" if number is int else "float_type")
    with contextlib.suppress(ValueError, OverflowError):
        return number(value) if isinstance(value, str | int) else value
    return value


def _unchecked(schema: type[Schema], values: Mapping[str, Any]) -> Schema:
    """Return settings of the right types though some are out of range, to ask what else is wrong with them."""
    made = object.__new__(schema)
    for name, field in _fields(schema).items():
        inner = _section(field)
        value = values.get(name, field.default)
        if inner is not None and isinstance(value, dict):
            value = _unchecked(inner, value)
        object.__setattr__(made, name, _as_meant(value, parts(field.annotation)))
    return made


def _message(problem: ErrorDetails, schema: type) -> str:
    path = ".".join(name for name in problem["loc"] if isinstance(name, str))
    return message(path, problem, schema_fields(schema)[path].annotation if problem["type"] in OUT_OF_RANGE else None)


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


def _fields(schema: type) -> dict[str, FieldInfo]:
    found: dict[str, FieldInfo] = schema.__pydantic_fields__  # type: ignore[attr-defined]
    return found


def _section(field: FieldInfo) -> type[Settings] | None:
    kind = field.annotation
    return kind if isinstance(kind, type) and issubclass(kind, Settings) else None


def _leaf(field: FieldInfo) -> Leaf | None:
    return next((mark for mark in field.metadata if isinstance(mark, Leaf)), None)


@cache
def schema_fields(schema: type, prefix: str = "") -> dict[str, FieldInfo]:
    """Return every setting of a schema by its dotted path, sections themselves left out."""
    found: dict[str, FieldInfo] = {}
    for name, field in _fields(schema).items():
        section: type | None = _section(field)
        found |= {f"{prefix}{name}": field} if section is None else schema_fields(section, f"{prefix}{name}.")
    return found


def is_text(field: FieldInfo) -> bool:
    """Return whether a setting may be a text."""
    return not {str, Any}.isdisjoint([field.annotation, *get_args(field.annotation)])


@cache
def leaf_paths(schema: type) -> tuple[str, ...]:
    """Return the dotted paths of the leaves of a schema."""
    return tuple(path for path, field in schema_fields(schema).items() if _leaf(field))


def in_leaf(path: str, schema: type) -> bool:
    """Return whether a dotted path lies below a leaf, whose class says which keys there are."""
    return path.startswith(tuple(f"{leaf}." for leaf in leaf_paths(schema)))


def is_key(path: str, schema: type) -> bool:
    """Return whether a dotted path names a setting or a section of the schema, or lies in a leaf."""
    return path in _keys(schema) or in_leaf(path, schema)


@cache
def _keys(schema: type) -> frozenset[str]:
    """Return the dotted paths of a schema's settings and sections."""
    names = [name.split(".") for name in schema_fields(schema)]
    return frozenset(".".join(parts[:n]) for parts in names for n in range(1, len(parts) + 1))


def unknown_key(path: str, schema: type, groups: tuple[str, ...] = ()) -> str:
    """Return the message for a key that does not exist, naming the nearest that does."""
    defaults = nested((name, field.default) for name, field in schema_fields(schema).items())
    known = [name for name, _ in leaves(defaults) if not name.endswith(TARGET)]  # with the arguments of leaves
    marks = {name: mark for name, field in schema_fields(schema).items() if (mark := _leaf(field))}
    known += [f"{name}.{argument}" for name, mark in marks.items() for argument in mark.usual]
    candidates = sorted({*_keys(schema), *known, *groups})
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

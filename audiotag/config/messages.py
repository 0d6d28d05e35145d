"""What pydantic finds wrong with a value, said to a person."""

from __future__ import annotations

from typing import Any, Literal, get_args, get_origin

from pydantic_core import ErrorDetails

from audiotag.errors import Nearest

# What is said of pydantic's errors: of a value of the right type, and of one of a wrong type.
OUT_OF_RANGE = {
    "literal_error": "{path}={value} is not one of {allowed}{near}",
    "greater_than_equal": "{path}={value} must be {ge:g} or more",
    "greater_than": "{path}={value} must be above {gt:g}",
    "less_than": "{path}={value} must be below {lt:g}",
    "less_than_equal": "{path}={value} is out of all proportion: {le:,} is the largest that makes sense",
    "share": "{path}={value} must lie in 0 to 1",
}
EXPECTED = {
    "int": "a whole number",
    "float": "a number",
    "bool": "true or false",
    "string": "text",
    "list": "a list, such as [A,B]",
    "tuple": "a list, such as [A,B]",
    "dict": "a section: name its settings one by one",
    "dataclass": "a section: name its settings one by one",
    "finite": "a finite number",
}


def message(path: str, problem: ErrorDetails, annotation: Any) -> str:
    """Return what is wrong with the value of a setting, in a line; `annotation` is the type that it should have."""
    value, limits, kind = problem["input"], problem.get("ctx", {}), problem["type"]
    if kind in OUT_OF_RANGE:
        allowed = [str(choice) for choice in choices(annotation)]
        form = OUT_OF_RANGE["share" if limits.get("le") == 1 else kind]
        return form.format(
            path=path, value=value, allowed=", ".join(allowed), near=Nearest(allowed)(str(value)), **limits
        )
    expected = EXPECTED.get(kind.split("_")[0])
    if expected is None:
        return f"{path}={value!r}: {problem['msg']}"
    if any(isinstance(name, int) for name in problem["loc"]):
        return f"{path} holds {value!r}, which is not {expected}"
    return f"{path}={value if isinstance(value, float) else repr(value)} is not {expected}"


def parts(kind: Any) -> tuple[Any, ...]:
    """Return the types that a type is made of, itself included."""
    inner = () if get_origin(kind) is Literal else get_args(kind)
    return (kind, *(part for one in inner for part in parts(one)))


def choices(kind: Any) -> tuple[Any, ...]:
    """Return the values that a type allows, if they can be counted."""
    return next((get_args(part) for part in parts(kind) if get_origin(part) is Literal), ())

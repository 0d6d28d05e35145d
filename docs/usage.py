"""Usage lines in docstrings, which mkdocstrings would read as Markdown: shown as the commands that they are."""

import re
from typing import Any

import griffe


class UsageAsCode(griffe.Extension):
    """Indents the lines of a docstring that begin with "usage:", which makes them code in Markdown."""

    def on_object(self, *, obj: griffe.Object, **_: Any) -> None:
        """Change the docstring of one object."""
        if obj.docstring is not None:
            obj.docstring.value = re.sub(r"(?m)^(usage: .*(?:\n +.*)*)$", _indented, obj.docstring.value)


def _indented(usage: re.Match[str]) -> str:
    return "\n".join(f"    {line}" for line in usage[0].splitlines())

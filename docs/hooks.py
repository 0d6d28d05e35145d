"""Pages that are made from the code whenever the site is built: settings, ready-made options, API.

MkDocs calls the functions named `on_...` (mkdocs.yml, `hooks`).
"""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
from pathlib import Path
from typing import Annotated, Any, Literal, get_args, get_origin

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import BuildError
from mkdocs.structure.files import File, Files

import audiotag
from audiotag import config as schemas
from audiotag.cli.arguments import CONF, groups
from audiotag.cli.composition import composed_defaults
from audiotag.config.messages import choices
from audiotag.config.schema import Program, leaves, schema_fields

TOP = CONF.parent
LOADED = re.compile(r"<(?:script|img|iframe|audio|video|source|embed)\b[^>]*\ssrc=\"?(?:https?:)?//[^\s\">]+")
LINKED = re.compile(
    r"<link\b(?=[^>]*rel=\"?(?:stylesheet|preconnect|preload|icon))[^>]*href=\"?(?:https?:)?//[^\s\">]+"
)
SHOWN = re.compile(r"<(?:img|audio|video|source)\b[^>]*\s(?:src|srcset)=\"?(?!data:|(?:https?:)?//)([^\s\">#]+)")

FIRST = ["train", "verify", "predict"]  # programs, in the order in which they are met

TYPES = {
    str: "text",
    int: "whole number",
    float: "number",
    bool: "true or false",
    type(None): "null",
    Any: "text or list",
    list[str]: "list of texts",
    list[list[str]]: "list of lists of texts",
    dict[str, Any]: "a class and its arguments",
}


def on_config(config: MkDocsConfig) -> MkDocsConfig:
    """Put the pages of the API into the navigation, behind all others."""
    assert config.nav is not None, "mkdocs.yml has one"
    config.nav.append({"API": [{title: f"api/{name}.md"} for name, title in rooms().items()]})
    return config


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the pages made here."""
    pages = {"configuration.md": settings_page(), "options.md": options_page()}
    pages |= {f"api/{name}.md": api_page(name, title) for name, title in rooms().items()}
    for path, text in pages.items():
        files.append(File.generated(config, path, content=text))
    return files


def on_post_build(config: MkDocsConfig) -> None:
    """Raise BuildError where a page or a style sheet would load something from elsewhere, or show what is not there."""
    site = Path(config.site_dir)
    found, missing = [], []
    for page in sorted(site.rglob("*.html")):
        text = page.read_text(encoding="utf-8")
        shown = [page.parent / name for name in SHOWN.findall(text)]  # in HTML, too, where MkDocs does not look
        missing += [f"{page.relative_to(site)}: {file.name}" for file in shown if not file.is_file()]
        found += [f"{page.relative_to(site)}: {match[0]}" for p in (LOADED, LINKED) for match in p.finditer(text)]
    for sheet in sorted(site.rglob("*.css")):
        links = re.findall(r"(?:url\(|@import )[\"']?(?:https?:)?//[^)\"']+", sheet.read_text(encoding="utf-8"))
        found += [f"{sheet.relative_to(site)}: {link}" for link in links]
    if found:
        raise BuildError("\n".join(["The site must not load anything from elsewhere:", *found]))
    if missing:
        raise BuildError("\n".join(["These pages show what is not there:", *missing]))


def programs() -> dict[str, type]:
    """Return the schema of every program's settings, by the command that starts it."""
    found = [one for one in vars(schemas).values() if inspect.isclass(one) and issubclass(one, Program)]
    named = {schema.__name__.removesuffix("Config").lower(): schema for schema in found}
    names = [*FIRST, *(name for name in named if name not in FIRST)]
    return {
        f"python {name}.py" if (TOP / f"{name}.py").is_file() else f"python -m audiotag.{name}": named[name]
        for name in names
    }


def settings_page() -> str:
    """Return the page of all settings: type, default and meaning."""
    lines = [
        "# Settings",
        "",
        "A setting is given on the command line as `SETTING=VALUE`, as in `python train.py seed=1 folds=5`; "
        "shown is its default. A [ready-made option](options.md) sets several at once. `--help` prints the same, "
        "and [variables of the environment](environment.md) have a page of their own.",
        "",
    ]
    for command, schema in programs().items():
        lines += [f"## {command}", "", inspect.getdoc(schema) or "", ""]
        defaults = composed_defaults(schema)
        sections: dict[str, list[str]] = {}
        for path, field in schema_fields(schema).items():
            values = {name: "null" if value is None else value for name, value in leaves({path: defaults[path]})}
            first, *others = [f"`{name}={value}`" for name, value in values.items()]  # several are those of a leaf
            shown = f"{first}{{ #{_anchor(command, path)} }} {', '.join(others) or _type(field.annotation)}"
            sections.setdefault(path.rpartition(".")[0], []).extend([shown, f":   {field.description}", ""])
        for section, entries in sections.items():
            lines += [f"### {section} {{ #{_anchor(command, section)} }}", ""] if section else []
            lines += entries
    return "\n".join(lines)


def _type(kind: Any) -> str:
    """Return a type in words."""
    if kind in TYPES:
        return TYPES[kind]
    if get_origin(kind) is Literal:
        return "one of " + ", ".join(map(str, choices(kind)))
    if get_origin(kind) is list:
        return f"list, each {_type(*get_args(kind))}"
    if get_origin(kind) is Annotated:
        return _type(get_args(kind)[0])
    return " or ".join(map(_type, get_args(kind)))


def _anchor(command: str, path: str) -> str:
    return f"{command.split()[-1].removesuffix('.py').removeprefix('audiotag.')}-{path}"


def options_page() -> str:
    """Return the page of all options of all groups, each with the file that sets it."""
    used: dict[str, list[str]] = {}
    for command, schema in programs().items():
        for group in groups(schema):
            used.setdefault(group, []).append(command.split()[-1])
    folders = sorted({file.parent for file in CONF.glob("*/**/*.yaml")})
    lines = [
        "# Options",
        "",
        "A group sets several [settings](configuration.md) at once: `GROUP=OPTION` takes them from "
        "`conf/GROUP/OPTION.yaml`, shown here as it was when this site was built. A setting named on the command line "
        "always wins.",
        "",
    ]
    for folder in folders:
        group = folder.relative_to(CONF).as_posix()
        programs_with = ", ".join(f"`{name}`" for name in used.get(group, ["train.py", "verify.py", "predict.py"]))
        lines += [f"## {group}", "", f"Of {programs_with}.", ""]
        for file in sorted(folder.glob("*.yaml")):
            text = file.read_text(encoding="utf-8").strip()
            lines += [f"### {group}={file.stem}", "", "```yaml", text, "```", ""]
    return "\n".join(lines)


def rooms() -> dict[str, str]:
    """Return what has a page of the API, by name: `audiotag.api`, the packages, and the modules beside them."""
    found = {"api": "audiotag.api", "audiotag": "audiotag"}
    return found | {m.name: f"audiotag.{m.name}" for m in pkgutil.iter_modules(audiotag.__path__) if m.ispkg}


def api_page(name: str, title: str) -> str:
    """Return the page of one package, its docstring and then all of its modules, or that of one module."""
    package = importlib.import_module(title)
    inside = pkgutil.iter_modules(getattr(package, "__path__", []), f"{title}.")
    modules = [m.name for m in inside if not m.ispkg and m.name not in rooms().values()]
    lines = [f"# {title}", "", (inspect.getdoc(package) or "") if modules else f"::: {title}", ""]
    for module in modules:
        lines += [f"::: {module}", ""]
    return "\n".join(lines)

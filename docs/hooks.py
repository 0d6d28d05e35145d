"""Pages that are made from the code whenever the site is built: settings, ready-made options, API.

MkDocs calls the functions named `on_...` (mkdocs.yml, `hooks`).
"""

from __future__ import annotations

import dataclasses
import importlib
import inspect
import pkgutil
import re
from collections.abc import Iterator
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.exceptions import BuildError
from mkdocs.structure.files import File, Files

import audiotag
from audiotag.cli.arguments import CONF, groups
from audiotag.cli.program import composed_defaults
from audiotag.config.schema import field_docs, leaves, schema_keys

TOP = CONF.parent
LOADED = re.compile(r"<(?:script|img|iframe|audio|video|source|embed)\b[^>]*\ssrc=\"?(?:https?:)?//[^\s\">]+")
LINKED = re.compile(
    r"<link\b(?=[^>]*rel=\"?(?:stylesheet|preconnect|preload|icon))[^>]*href=\"?(?:https?:)?//[^\s\">]+"
)
SHOWN = re.compile(r"<(?:img|audio|video|source)\b[^>]*\s(?:src|srcset)=\"?(?!data:|(?:https?:)?//)([^\s\">#]+)")

FIRST = ["train", "verify", "predict"]  # programs, in the order in which they are met

TYPES = {
    "str": "text",
    "int": "whole number",
    "float": "number",
    "bool": "true or false",
    "list[str]": "list of texts",
    "list[list[str]]": "list of lists of texts",
    "Any": "text or list",
    "None": "null",
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
    schemas: list[type] = []
    for module in pkgutil.iter_modules(audiotag.__path__, "audiotag."):
        classes = [m for m in vars(importlib.import_module(module.name)).values() if inspect.isclass(m)]
        own = [m for m in classes if m.__module__.startswith(module.name) and m.__name__.endswith("Config")]
        schemas += filter(dataclasses.is_dataclass, own)
    named = {schema.__name__.removesuffix("Config").lower(): schema for schema in schemas}
    names = [*FIRST, *(name for name in named if name not in FIRST)]
    return {
        f"python {name}.py" if (TOP / f"{name}.py").is_file() else f"python -m audiotag.{name}": named[name]
        for name in names
    }


def settings_page() -> str:
    """Return the page of all settings: type, value where nothing is said, and meaning."""
    lines = [
        "# Settings",
        "",
        "A setting is given on the command line as `SETTING=VALUE`, as in `python train.py seed=1 model.width=12`; "
        "shown is its default. A [ready-made option](options.md) sets several at once. `--help` prints the same, "
        "and [variables of the environment](environment.md) have a page of their own.",
        "",
    ]
    for command, schema in programs().items():
        lines += [f"## {command}", "", inspect.getdoc(schema) or "", ""]
        defaults = _defaults(schema)
        for section, members in _sections(schema):
            if section:
                lines += [f"### {section} {{ #{_anchor(command, section)} }}", ""]
            for path, type_, doc in members:
                default = "null" if defaults[path] is None else str(defaults[path])
                lines += [f"`{path}={default}`{{ #{_anchor(command, path)} }} {type_}", f":   {doc}", ""]
    return "\n".join(lines)


def _sections(schema: type, prefix: str = "") -> Iterator[tuple[str, list[tuple[str, str, str]]]]:
    """Yield (section, its own settings as (path, type, meaning)), those without a section first."""
    docs = field_docs(schema)
    entries = dataclasses.fields(schema)
    factories = {entry.name: entry.default_factory for entry in entries}
    inner: dict[str, type] = {n: f for n, f in factories.items() if inspect.isclass(f) and dataclasses.is_dataclass(f)}
    own = [(f"{prefix}{e.name}", _type(str(e.type)), docs[e.name]) for e in entries if e.name not in inner]
    if own:
        yield prefix.removesuffix("."), own
    for name, factory in inner.items():
        yield from _sections(factory, f"{prefix}{name}.")


def _defaults(schema: type) -> dict[str, object]:
    """Return what settings are where nothing is said: in the composed configuration of a program that has one."""
    if (CONF / f"{schema.__name__.removesuffix('Config').lower()}.yaml").is_file():
        return dict(leaves(composed_defaults(schema)))
    return {path: default for path, default, _ in schema_keys(schema)}


def _type(annotation: str) -> str:
    return " or ".join(TYPES[name] for name in annotation.split(" | "))


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
    """Return the packages below `audiotag` and what each is for, by name; "audiotag" is what stands above them all."""
    found = {"audiotag": "audiotag"}
    return found | {m.name: f"audiotag.{m.name}" for m in pkgutil.iter_modules(audiotag.__path__) if m.ispkg}


def api_page(name: str, title: str) -> str:
    """Return the page of one package: its docstring, then all of its modules."""
    package = importlib.import_module(title)
    modules = [m.name for m in pkgutil.iter_modules(package.__path__, f"{title}.") if not m.ispkg]
    lines = [f"# {title}", "", inspect.getdoc(package) or "", ""]
    for module in modules:
        lines += [f"::: {module}", ""]
    return "\n".join(lines)

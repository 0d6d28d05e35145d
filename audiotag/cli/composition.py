"""From a command line to settings: it is checked, composed by Hydra with what is in conf/, and validated."""

from __future__ import annotations

import functools
import sys
from collections.abc import Sequence
from typing import Any

import hydra
from hydra.core.config_store import ConfigStore
from hydra.core.global_hydra import GlobalHydra
from hydra.core.plugins import Plugins
from hydra.errors import HydraException
from omegaconf import DictConfig, OmegaConf
from omegaconf.errors import OmegaConfBaseException
from rich.console import Console
from rich.markup import escape
from rich.padding import Padding

from audiotag.cli.arguments import (
    CONF,
    CONFIG_DIR,
    SEVERAL,
    argument_problems,
    groups,
    in_order,
    own_folders,
    quoted,
    settings_of,
)
from audiotag.config.leaf import import_from
from audiotag.config.schema import Schema, as_own, is_key, leaf_paths, leaves, nested, schema_fields, validate
from audiotag.console import as_called
from audiotag.errors import AudiotagError, ConfigError


def compose_config(schema: type[Schema], arguments: Sequence[str]) -> Schema:
    """Return the settings that a command line makes, in whatever process this is, such as a notebook's.

    Raises ConfigError with everything that is misspelt, of the wrong type, or does not fit together.
    """
    arguments = check_command_line(schema, arguments)
    flags = [text for text in arguments if text.startswith("-") and text.partition("=")[0] not in CONFIG_DIR]
    if flags:
        raise ConfigError("These are not settings:", [f"{flag} is not known here" for flag in flags])
    return as_own(validate(compose(schema, arguments), schema))


def check_command_line(schema: type, arguments: Sequence[str]) -> list[str]:
    """Return the arguments as Hydra needs them; answers --help, and raises ConfigError with everything misspelt."""
    if not CONF.is_dir():
        raise AudiotagError(
            f"{CONF} is not there, so the package is not whole: install it again, from a checkout with pip install -e ."
        )
    arguments = quoted(in_order(arguments), schema)
    for folder in own_folders(arguments):
        import_from(str(folder))
        if is_key("config_dir", schema):
            arguments += quoted([f"config_dir={folder.absolute()}"], schema)
    if {"--help", "-h"} & set(arguments):
        print_help(schema)
        sys.exit(0)
    problems = argument_problems(arguments, schema)
    if problems:
        raise ConfigError("The command line has settings that do not exist or do not fit:", problems)
    return arguments


def compose(schema: type, arguments: Sequence[str] = ()) -> DictConfig:
    """Return what Hydra composes of a command line, inside its jobs too; raises ConfigError if it cannot."""
    register(schema)
    folders, settings = own_folders(arguments), settings_of(arguments)
    if folders:
        paths = [str(folder.absolute()).replace("\\", "\\\\").replace("'", "\\'") for folder in folders]
        places = ",".join(f"'file://{path}'" for path in paths)
        settings.append(f"hydra.searchpath=[{places}]")
    job, GlobalHydra.instance().hydra = GlobalHydra.instance().hydra, None
    try:
        with hydra.initialize_config_dir(str(CONF), version_base="1.3"):
            return hydra.compose(config_name(schema), settings)
    except RecursionError as error:
        problem = f"{', '.join(map(str, folders))}: an option includes itself, or what includes it"
        raise ConfigError("The configuration cannot be composed:", [problem]) from error
    except (HydraException, OmegaConfBaseException, ValueError) as error:
        raise ConfigError("The configuration cannot be composed:", [" ".join(str(error).split())]) from error
    finally:
        GlobalHydra.instance().hydra = job  # composing has replaced the instance


def config_name(schema: type) -> str:
    """Return the name of a program's file in conf/, or of its schema if it has none."""
    name = schema.__name__.removesuffix("Config").lower()
    return name if (CONF / f"{name}.yaml").is_file() else f"{name}_schema"


def register(schema: type) -> None:
    """Give Hydra every setting's default, for the first line of a defaults list."""
    of_class = leaf_paths(schema)
    fields = schema_fields(schema).items()
    defaults = nested((path, {} if path in of_class and field.default else field.default) for path, field in fields)
    ConfigStore.instance().store(name=f"{config_name(schema).removesuffix('_schema')}_schema", node=defaults)
    OmegaConf.register_new_resolver(
        "audiotag.devices", lambda devices: 1 if devices in (None, "auto") else devices, replace=True
    )
    _rename_launchers()


def _rename_launchers() -> None:
    """Store the launcher plugins' own configurations as NAME_plugin, for our files of their names to build upon.

    Under one name Hydra would take theirs for the schema of ours, and warn at every job that this will be removed.
    """
    Plugins.instance()  # they store their configurations when they are first looked for
    store = ConfigStore.instance()
    launchers = store.repo["hydra"]["launcher"]
    for file in (CONF / "hydra" / "launcher").glob("*.yaml"):
        plugin = launchers.pop(file.name, None)
        if plugin is not None:
            values = OmegaConf.to_container(plugin.node)
            store.store(group="hydra/launcher", name=f"{file.stem}_plugin", node=values, provider=plugin.provider)


def composed_defaults(schema: type) -> dict[str, Any]:
    """Return what the settings of a program are if none is given, by dotted path."""
    composed: Any = OmegaConf.to_container(compose(schema))
    return {path: functools.reduce(dict.__getitem__, path.split("."), composed) for path in schema_fields(schema)}


def print_help(schema: type) -> None:
    """Print what a person can set: groups with their options, then every setting with meaning and default."""
    screen = Console(soft_wrap=False, emoji=False)
    program = f"{schema.__name__.removesuffix('Config').lower()}.py"
    screen.print(f"[bold]{as_called(program)}[/]: {as_called(str(schema.__doc__))}\n")
    screen.print(
        f"usage: {as_called(f'python {program}')} \\[GROUP=OPTION ...] \\[SETTING=VALUE ...]\n", highlight=False
    )
    screen.print("[bold]Groups[/] (conf/GROUP/OPTION.yaml)")
    for name, options in groups(schema).items():
        screen.print(f"  {name}={'|'.join(options)}", soft_wrap=True, highlight=False)
        if name in SEVERAL:
            screen.print(f"      several of them: {name}=\\[{','.join(options[:2])}]", highlight=False)
    screen.print()
    screen.print("[bold]Settings[/], and their defaults")
    defaults = composed_defaults(schema)
    for path, field in schema_fields(schema).items():
        for name, value in leaves({path: defaults[path]}):  # several are those of a leaf
            default = "null" if value is None else str(value)
            screen.print(f"  [bold]{name}[/]={escape(default)}", soft_wrap=True, highlight=False)
        screen.print(Padding(escape(as_called(str(field.description))), (0, 0, 0, 6)), highlight=False)
    screen.print(
        "\nA group sets several settings at once; a setting named on the command line always wins. --cfg job prints "
        "the composed configuration; -m with comma-separated values runs a sweep, one job after another, or side by "
        "side with hydra/launcher=joblib, submitit_local or submitit_slurm; --hydra-help lists Hydra's own options.",
        highlight=False,
    )

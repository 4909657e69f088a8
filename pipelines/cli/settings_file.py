"""``--config FILE.toml`` and ``--dump-config``: the options of a command, in a file.

A key is an option's name without its dashes: ``lr = 1e-3``, ``backbone = ["ir50@a.pth", "ir50@b.pth"]``.
``--set KEY=VALUE`` is a table there: ``set.trunks = 3``.
"""

from __future__ import annotations

import difflib
import json
import sys
from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

import click

from .framework import DUMP, OTHER, InputError, group, is_given

if sys.version_info >= (3, 11):
    import tomllib
else:
    import tomli as tomllib

NEVER = ("config", "dump_config")
TABLE = "KEY=VALUE"


def settable(command: click.Command) -> dict[str, click.Option]:
    """Return key → option, for all options that a file may set."""
    return {
        option.opts[0].removeprefix("--"): option
        for option in command.params
        if isinstance(option, click.Option) and option.expose_value and option.name not in NEVER
    }


def read(path: Path, context: click.Context) -> dict[str, Any]:
    """Read the settings in a file, by the names of the command's parameters.

    Raises:
        InputError: the file cannot be read, or a key or value is invalid.
    """
    return checked(toml(path), context, str(path))


def toml(path: Path) -> dict[str, Any]:
    """Parse a TOML file.

    Raises:
        InputError: it cannot be read.
    """
    try:
        return tomllib.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise InputError(f"{path} cannot be read: {error.strerror}") from error
    except ValueError as error:
        raise InputError(f"{path} is not TOML: {error}") from error


def checked(found: Mapping[str, Any], context: click.Context, where: str) -> dict[str, Any]:
    """Return settings by the names of the command's parameters; a key may be an option or its parameter.

    Raises:
        InputError: a key or value is invalid.
    """
    options = settable(context.command)
    by_name = {option.name: option for option in options.values()}
    settings = {}
    for key, value in found.items():
        option = options.get(key) or by_name.get(key)
        if option is None:
            hint = nearest(key, options)
            raise InputError(f"{where}: {context.command.name} has no option {key!r}; {hint}")
        if option.metavar == TABLE and isinstance(value, dict):
            texts = {name: each if isinstance(each, str) else literal(each) for name, each in value.items()}
            value = [f"{name}={text}" for name, text in texts.items()]
        wanted, fits = _expected(option, value)
        if not fits:
            raise InputError(f"{where}: {key} = {literal(value)}: expected {wanted}")
        try:
            option.process_value(context, value)
        except click.BadParameter as error:
            raise InputError(f"{where}: {key} = {literal(value)}: {error.message}") from error
        settings[option.name or ""] = value
    return settings


def nearest(key: str, known: Iterable[str]) -> str:
    """Return a hint for an unknown ``key``."""
    known = list(known)
    near = difflib.get_close_matches(key, known, 1)
    return f"did you mean {near[0]}?" if near else f"expected one of {', '.join(known)}"


def value_of(text: str) -> Any:
    """Parse a value typed on the command line: as TOML if it is valid, else as text."""
    try:
        return tomllib.loads(f"value = {text}")["value"]
    except ValueError:
        return text


def _expected(option: click.Option, value: Any) -> tuple[str, bool]:
    """Describe the value that an option expects, and say whether ``value`` is one."""
    if option.multiple:
        what = "a table" if option.metavar == TABLE else "a list of texts"
        return what, isinstance(value, list) and all(isinstance(each, str) for each in value)
    if option.is_flag:
        return "true or false", isinstance(value, bool)
    if isinstance(option.type, click.types.FloatParamType):
        return "a number", isinstance(value, (int, float)) and not isinstance(value, bool)
    if isinstance(option.type, click.types.IntParamType):
        return "a whole number", isinstance(value, int) and not isinstance(value, bool)
    return "a text in quotes", isinstance(value, str)


def literal(value: Any) -> str:
    """Format a value as TOML."""
    if isinstance(value, (bool, int, float)):
        return repr(value).lower()
    if type(value) in (list, tuple):
        return f"[{', '.join(map(literal, value))}]"
    return json.dumps(str(value), ensure_ascii=False).replace("\x7f", "\\u007f")  # JSON leaves it unescaped


def dumped(command: click.Command, values: Mapping[str, Any]) -> str:
    """Format the settings in force as TOML; defaults are comments, as a given option must not be idle."""
    lines = [f"# Settings of {command.name}, for --config. Lines with # are defaults."]
    if values.get("preset"):
        lines.append("# The preset overrides these defaults.")
    for key, option in settable(command).items():
        name = option.name or ""
        value = values.get(name)
        if isinstance(value, Mapping):
            lines += [f"{key}.{part} = {literal(own)}" for part, own in value.items()]
        elif value is not None:
            lines.append(f"{'' if is_given(name) else '# '}{key} = {literal(value)}")
    return "\n".join(lines)


def _load(context: click.Context, _: click.Parameter, path: Path | None) -> None:
    if path is not None:
        context.default_map = read(path, context)


def _ask_for_dump(context: click.Context, _: click.Parameter, wanted: bool) -> None:
    if wanted:
        context.meta[DUMP] = dumped


config_options = group(
    OTHER,
    click.option(
        "--config",
        type=click.Path(path_type=Path, dir_okay=False),
        is_eager=True,
        expose_value=False,
        callback=_load,
        metavar="FILE.toml",
        help="Read settings from a file; options on the command line override it.",
    ),
    click.option(
        "--dump-config",
        is_flag=True,
        expose_value=False,
        callback=_ask_for_dump,
        help="Print the settings as TOML for --config, and exit.",
    ),
)

"""One word, one thing: no two classes share a name, and an option takes the same kind of value everywhere."""

from __future__ import annotations

import ast
from collections import defaultdict
from collections.abc import Iterator
from pathlib import Path

import click

from avemo.pipelines.cli.main import main

ROOT = Path(__file__).resolve().parents[1]
ROOMS = ("cache", "extract", "fusion", "pretrain", "pipelines")
SAME_KIND = {"--out", "--store"}
"""Where a command writes to, and what it reads: a folder of one, a file of the other."""


def test_no_two_public_classes_share_a_name() -> None:
    places = defaultdict(list)
    for room in ROOMS:
        for path in sorted((ROOT / room).rglob("*.py")):
            for node in ast.parse(path.read_text(encoding="utf-8")).body:
                if isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
                    places[node.name].append(str(path.relative_to(ROOT)))

    assert len(places) > 200
    assert {name: found for name, found in places.items() if len(found) > 1} == {}


def test_an_option_takes_the_same_kind_of_value_everywhere() -> None:
    kinds: defaultdict[str, dict[tuple[str, str], str]] = defaultdict(dict)
    for name, command in commands(main, "avemo"):
        for option in command.params:
            if isinstance(option, click.Option) and option.opts[0] not in SAME_KIND:
                text = isinstance(option.type, click.Choice) and option.metavar
                kind = "StringParamType" if text else type(option.type).__name__
                kinds[option.opts[0]].setdefault((kind, option.metavar or ""), name)

    assert len(kinds) > 50
    assert {option: found for option, found in kinds.items() if len(found) > 1} == {}


def commands(group: click.Command, name: str) -> Iterator[tuple[str, click.Command]]:
    if not isinstance(group, click.Group):
        yield name, group
        return
    context = click.Context(group)
    for child in group.list_commands(context):
        command = group.get_command(context, child)
        assert command is not None
        yield from commands(command, f"{name} {child}")

"""``avemo-fuse heads``: list the heads, and explain their settings."""

from __future__ import annotations

import inspect
import re
from typing import TYPE_CHECKING, Any

import click

from ..completion import FUSIONS, names
from ..framework import command, json_result, tell_result, wants_json
from ..table import aligned, records

if TYPE_CHECKING:
    from ....fusion.heads.base import Head

EXAMPLES = """
\b
Examples:
  avemo-fuse heads
  avemo-fuse heads am-fbp
  avemo-fuse train --fusion am-fbp --set trunks=3 --set ag_norm=true
"""


@command("heads", epilog=EXAMPLES)
@click.argument("name", required=False, shell_complete=names(FUSIONS))
@json_result
def heads(name: str | None) -> None:
    """List the heads, or explain one with the keys that --set and --grid take for it."""
    from ....fusion.heads.registry import HEADS, head_class

    if name is None:
        rows = [
            [head.name, " ".join(head.streams), " ".join(_about(head).partition("\n\n")[0].split())]
            for head in HEADS.values()
        ]
        if wants_json():
            tell_result(records(("name", "reads", "is"), rows))
        else:
            click.echo(aligned(["head", "reads", ""], rows))
        return
    head = head_class(name)
    keys = keys_of(head)
    if wants_json():
        tell_result({"name": name, "reads": list(head.streams), "is": _about(head), "keys": keys})
        return
    click.echo(f"{_about(head)}\n\nReads: {', '.join(head.streams)}.\n")
    for key in keys:
        click.echo(f"{key['name']}  [{key['expected']}; default: {key['default']}]")
        click.echo(f"    {key['means']}{' (' + key['source'] + ')' if key['source'] else ''}")


def keys_of(head: type[Head]) -> list[dict[str, Any]]:
    """Return the keys that act in a head, with their defaults."""
    from ....fusion.heads.registry import acting, complete, settings_for
    from ....fusion.heads.settings import KEYS

    plain = settings_for(head.name)
    able, whole = acting(plain), complete(plain)
    found = []
    for key in KEYS.values():
        if key.of[0] in able or (key.name in ("outputs", "factors") and "whole" in head.options):
            own: Any = whole
            for name in key.of:
                own = getattr(own, name, None)
            default = key.default if own is None else own
            shown = str(default).lower() if isinstance(default, bool) else str(default)
            found.append(
                {
                    "name": key.name,
                    "expected": key.expected,
                    "default": shown,
                    "means": key.text,
                    "source": key.source,
                }
            )
    return found


def _about(head: type[Head]) -> str:
    """Return a head's documentation without Sphinx markup."""
    return re.sub(r":\w+:`[~.]*([^`]+)`", r"\1", inspect.getdoc(head) or "")

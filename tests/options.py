"""Options that keep heads small in tests, for whatever head is trained."""

from __future__ import annotations

import re
from collections.abc import Sequence
from itertools import pairwise

from avemo.fusion.errors import FusionError
from avemo.fusion.heads.registry import HEADS, acting, settings_for

SIZES = ("hidden", "outputs", "factors")


def keys(*texts: str) -> list[str]:
    """``--set`` before each of ``KEY=VALUE``."""
    return [word for text in texts for word in ("--set", text)]


def without_idle(arguments: Sequence[object]) -> list[str]:
    """The arguments of a command, less sizes and a rate that would do nothing and be refused."""
    words = [str(argument) for argument in arguments]
    given = dict(pairwise(words))
    able: set[str] = set()
    for fusion in re.findall(r"[a-z][a-z-]*", given.get("--fusion", "fbp")):
        attentions = {}
        for stream in ("visual", "audio"):
            name = given.get(f"--{stream}-attention", given.get("--attention"))
            if name and fusion in HEADS and HEADS[fusion].attends:
                attentions[f"{stream}_attention"] = name
        try:
            able |= acting(settings_for(fusion, **attentions))
        except FusionError:
            return words
    sizes = {*SIZES} - able
    sets = enumerate(pairwise(words))
    idle = {place for place, (word, key) in sets if word == "--set" and key.partition("=")[0] in sizes}
    idle |= {place for place, word in enumerate(words) if word == "--lr" and "lr=" in given.get("--grid", "")}
    return [word for place, word in enumerate(words) if not {place, place - 1} & idle]

"""Options that keep heads small in tests, for whatever head is trained."""

from __future__ import annotations

from collections.abc import Sequence
from itertools import pairwise

from avemo.fusion.errors import FusionError
from avemo.fusion.heads.registry import HEADS, acting, settings_for

SIZES = ("--hidden", "--outputs", "--factors", "--lr")


def without_idle(arguments: Sequence[object]) -> list[str]:
    """The arguments of a command, less sizes and a rate that would do nothing and be refused."""
    words = [str(argument) for argument in arguments]
    given = dict(pairwise(words))
    fusion = given.get("--fusion", "fbp")
    attentions = {}
    for stream in ("visual", "audio"):
        name = given.get(f"--{stream}-attention", given.get("--attention"))
        if name and fusion in HEADS and HEADS[fusion].attends:
            attentions[f"{stream}_attention"] = name
    try:
        able = acting(settings_for(fusion, **attentions))
    except FusionError:
        return words
    able |= set() if "lr=" in given.get("--grid", "") else {"lr"}
    idle = {place for place, word in enumerate(words) if word in SIZES and word[2:] not in able}
    return [word for place, word in enumerate(words) if not {place, place - 1} & idle]

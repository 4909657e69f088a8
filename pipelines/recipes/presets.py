"""``--preset PAPER``: the network of a paper, given by ``[[network]]`` in its recipe."""

from __future__ import annotations

from collections.abc import Collection
from typing import Any, TypeVar

from ..cli.framework import InputError
from ..fuse.settings import HeadTraining
from .recipe import load, names

MARKERS = "markers"
Settings = TypeVar("Settings", bound=HeadTraining)


def presets() -> list[str]:
    """Return the recipes that have a network."""
    return [name for name in names() if load(name).network]


def with_preset(settings: Settings, paper: str | None, given: Collection[str]) -> Settings:
    """Fill open settings with the network of a paper.

    Args:
        settings: settings as given.
        paper: one of :func:`presets`; None for none.
        given: fields of ``settings`` that must not change; the keys of its head do not change either.

    Raises:
        InputError: there is no such paper, or it has no such head.
    """
    if paper is None:
        return settings
    network, fixed = load(paper).network, {*given, *settings.head}
    if not network:
        raise InputError(f"{paper} has no network of its own; expected {' or '.join(presets())}")
    heads = network[0].heads
    fusion = settings.fusion if "fusion" in fixed else heads[0]
    if fusion not in heads:
        raise InputError(
            f"{paper} has no {fusion}; it has {', '.join(heads)}: use one of these, or leave out --preset"
        )
    markers = "visual" in fixed and settings.visual == MARKERS
    chosen: dict[str, Any] = {"fusion": fusion}
    for part in network:
        if fusion in part.heads and (markers or not part.markers):
            chosen |= part.settings
    if "attention" in fixed:  # it sets both streams
        fixed |= {"visual_attention", "audio_attention"}
    made = settings.changed(**{name: value for name, value in chosen.items() if name not in fixed})
    if "halve_after" not in fixed and made.epochs and (made.halve_after or 0) >= made.epochs:
        return made.changed(halve_after=None)  # a training shorter than the paper's never reaches it
    return made

"""Heads: the streams of a batch in, class logits out.

A new head is a class with a ``name`` and the ``streams`` it reads, decorated with :func:`.head.register`,
and imported here or in a file of the user's own (:mod:`.plugins`). A clip that lacks a stream gives that
stream's attention no frame and so a vector of zeros: a fused head then judges by the other stream (for
bilinear pooling through the biases of its projections), and a head of the one missing stream by its class
biases alone.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from . import heads_bilinear, heads_joined, heads_segments  # noqa: F401 (they register their heads)
from .attention import attention_class
from .encoders import EncoderSettings
from .errors import FusionError
from .head import HEADS, Head
from .head_settings import HeadSettings, SegmentSettings, TrunkSettings
from .plugins import VARIABLE, load_plugins

__all__ = [
    "HEADS",
    "EncoderSettings",
    "Head",
    "HeadSettings",
    "SegmentSettings",
    "TrunkSettings",
    "build_head",
    "complete",
    "described",
    "head_class",
    "settings_for",
    "settings_of_run",
    "up_to_date",
]

OPTIONAL = ("trunks", "segments", "ag_norm", "decision_weight")  # what only some heads read
ATTENDING = (  # what only those with attention read
    "visual_attention",
    "audio_attention",
    "lambda_visual",
    "lambda_audio",
    "visual_encoder",
    "audio_encoder",
)
NO_WEIGHTS: Mapping[str, Mapping[str, Tensor]] = {}


def head_class(name: str) -> type[Head]:
    """The head called ``name``.

    Raises:
        FusionError: there is none.
    """
    if name not in HEADS:
        raise FusionError(
            f"there is no fusion {name!r}; there are {', '.join(HEADS)}, and those in the files of {VARIABLE}"
        )
    return HEADS[name]


def build_head(
    settings: HeadSettings,
    features: Mapping[str, int],
    classes: int,
    weights: Mapping[str, Mapping[str, Tensor]] = NO_WEIGHTS,
) -> Head:
    """The head that ``settings`` ask for, with random weights.

    Args:
        settings: what it is like.
        features: D of each stream.
        classes: C.
        weights: stream → tensors that its encoder starts from instead, by their names in their file.

    Raises:
        FusionError: there is no such head, attention or encoder, or a setting or file is none of its.
    """
    head = head_class(settings.fusion)(complete(settings), features, classes)
    head.start_from(weights)
    return head


def settings_for(fusion: str, **given: Any) -> HeadSettings:
    """The settings of a head: those given, else those of its paper, else the defaults.

    Raises:
        FusionError: there is no such head or attention, or it does not read what is given.
    """
    head = head_class(fusion)
    values = {"fusion": fusion, **head.preset, **given}
    for stream in head.streams:
        attention = HeadSettings(**values).attention(stream)
        if f"lambda_{stream}" not in given and not attention_class(attention).tempered:
            values[f"lambda_{stream}"] = 1.0
    settings = HeadSettings(**values)
    complete(settings)  # for its complaints: what is not given stays so until a head is built
    return settings


def complete(settings: HeadSettings) -> HeadSettings:
    """With the head's own defaults for what only some heads read.

    Raises:
        FusionError: there is no such head, or it does not read something that is set.
    """
    head = head_class(settings.fusion)
    options = head.options
    for name in OPTIONAL:
        if getattr(settings, name) is not None and name not in options:
            readers = " and ".join(other.name for other in HEADS.values() if name in other.options)
            raise FusionError(f"the fusion {settings.fusion} has no {name.replace('_', ' ')}; {readers} have")
    plain = HeadSettings()
    for name in ATTENDING:
        if not head.attends and getattr(settings, name) != getattr(plain, name):
            raise FusionError(f"the fusion {settings.fusion} has no {name.replace('_', ' ')}; leave it out")
    missing = {name: value for name, value in options.items() if getattr(settings, name) is None}
    return replace(settings, **missing)


def described(settings: HeadSettings) -> dict[str, Any]:
    """Complete settings as JSON values, with the version of the head."""
    return {**complete(settings).described(), "version": head_class(settings.fusion).version}


def up_to_date(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """What :func:`described` gave once, with what came later at its default; as it is where it is strange."""
    try:
        return {**described(HeadSettings.of(_settings(values))), "version": values.get("version", 1)}
    except (FusionError, TypeError):
        return values


def settings_of_run(values: Mapping[str, Any], path: Path) -> HeadSettings:
    """Of what :func:`described` gave, for a run in ``path``; runs that have no version are of the first.

    Raises:
        FusionError: the head means something else now than when the run was trained.
        TypeError: there is something in it that this version does not know.
    """
    settings = HeadSettings.of(_settings(values))
    theirs, ours = values.get("version", 1), head_class(settings.fusion).version
    if theirs != ours:
        raise FusionError(
            f"{path} was trained with version {theirs} of the head {settings.fusion}, and this avemo has "
            f"version {ours}, whose scores would differ; use the avemo that trained it, or train again"
        )
    return settings


def _settings(values: Mapping[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in values.items() if name != "version"}


load_plugins()

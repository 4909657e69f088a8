"""The registry of heads, and their settings.

A head is a class with a ``name`` and the ``streams`` it reads, decorated with :func:`.base.register`. It is
imported here or defined in the user's own file (:mod:`.plugins`).

If a clip lacks a stream, its attention sees no frames and returns zeros. A fused head then decides by the
other stream (with bilinear pooling, through the biases of its projections). A head that reads only the
missing stream decides by its class biases.
"""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from torch import Tensor

from ..errors import FusionError
from ..features.recipes import AUDIO, VISUAL
from . import fbp, joined, segments  # noqa: F401 (they register their heads)
from .attention import ATTENTIONS, attention_class
from .base import HEADS, Head
from .plugins import VARIABLE, load_plugins
from .settings import ATTENDING, OPTIONAL, EncoderSettings, HeadSettings, SegmentSettings, TrunkSettings

__all__ = [
    "HEADS",
    "EncoderSettings",
    "Head",
    "HeadSettings",
    "SegmentSettings",
    "TrunkSettings",
    "acting",
    "build_head",
    "check_acting",
    "complete",
    "described",
    "head_class",
    "settings_for",
    "settings_of_run",
    "up_to_date",
]

STREAMS = {VISUAL: "pictures", AUDIO: "sound"}
NO_WEIGHTS: Mapping[str, Mapping[str, Tensor]] = {}


def head_class(name: str) -> type[Head]:
    """Return the head class called ``name``.

    Raises:
        FusionError: there is no such head.
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
    """Build a head with random weights.

    Args:
        settings: the head's settings.
        features: D of each stream.
        classes: C.
        weights: stream → pretrained tensors of its encoder, by their names in the file.

    Raises:
        FusionError: there is no such head, attention or encoder, the head does not read a setting, or the
            pretrained weights do not fit.
    """
    head = head_class(settings.fusion)(complete(settings), features, classes)
    head.start_from(weights)
    return head


def settings_for(fusion: str, **given: Any) -> HeadSettings:
    """Return the settings of a head: given values, else those of its paper, else the defaults.

    Raises:
        FusionError: there is no such head or attention, or the head does not read a given setting.
    """
    head = head_class(fusion)
    values = {"fusion": fusion, **head.preset, **given}
    for stream in head.streams:
        attention = HeadSettings(**values).attention(stream)
        if f"lambda_{stream}" not in given and not attention_class(attention).tempered:
            values[f"lambda_{stream}"] = 1.0
    settings = HeadSettings(**values)
    complete(settings)  # only to raise errors; unset values are filled in when a head is built
    return settings


def complete(settings: HeadSettings) -> HeadSettings:
    """Fill in the head's own defaults for optional settings.

    Raises:
        FusionError: there is no such head, or it does not read one of the settings that are set.
    """
    head = head_class(settings.fusion)
    options = head.options
    for name in sorted(OPTIONAL - options.keys()):
        if getattr(settings, name) is not None:
            raise FusionError(_idle(settings, name))
    plain = HeadSettings()
    for name in sorted(ATTENDING):
        if not head.attends and getattr(settings, name) != getattr(plain, name):
            raise FusionError(_idle(settings, name))
    missing = {name: value for name, value in options.items() if getattr(settings, name) is None}
    return replace(settings, **missing)


def acting(settings: HeadSettings) -> frozenset[str]:
    """Return the names of the fields of ``settings`` that affect the output of their head.

    Raises:
        FusionError: there is no such head or attention.
    """
    return head_class(settings.fusion).acting(settings)


def check_acting(settings: HeadSettings, names: Iterable[str]) -> None:
    """Check that all ``names``, fields of ``settings``, are :func:`acting`.

    Raises:
        FusionError: a field has no effect (the message says why), or there is no such head or attention.
    """
    found = acting(settings)
    for name in names:
        if name not in found:
            raise FusionError(_idle(settings, name))


def _idle(settings: HeadSettings, name: str) -> str:
    """Return the reason why a setting has no effect, and what it would have an effect on."""
    head, text = head_class(settings.fusion), name.replace("_", " ")
    if head.attends:
        for stream, word in STREAMS.items():
            own = f"lambda_{stream}"
            if stream in name.split("_") and stream not in head.streams:
                return f"the fusion {head.name} reads no {word}, so it has no {text}; leave it out"
            if name == own:
                able = [kind.name for kind in ATTENTIONS.values() if kind.tempered]
                return f"{settings.attention(stream)} attention has no λ; {_have(able)}"
        able = [kind.name for kind in ATTENTIONS.values() if name in kind.uses]
        if able:
            here = " and ".join(dict.fromkeys(settings.attention(stream) for stream in head.streams))
            return f"{here} attention has no {text}; {_have(able)}"
    if name in ("outputs", "factors") and "trunks" in head.options:
        return f"the fusion {head.name} does not pool the whole clip; set trunk_{name}, or whole=true"
    readers = [other.name for other in HEADS.values() if name in other.acting(HeadSettings(other.name))]
    return f"the fusion {head.name} has no {text}; {_have(readers)}"


def _have(names: Sequence[str]) -> str:
    *most, last = names or ["none"]
    return f"{', '.join(most)} and {last} have" if most else f"{last} has"


def described(settings: HeadSettings) -> dict[str, Any]:
    """Return complete settings as JSON values, with the version of the head."""
    return {**complete(settings).described(), "version": head_class(settings.fusion).version}


def up_to_date(values: Mapping[str, Any]) -> Mapping[str, Any]:
    """Add settings that are newer than a result of :func:`described`, at their defaults.

    Invalid values are returned unchanged.
    """
    try:
        return {**described(HeadSettings.of(_settings(values))), "version": values.get("version", 1)}
    except (FusionError, TypeError):
        return values


def settings_of_run(values: Mapping[str, Any], path: Path) -> HeadSettings:
    """Restore settings from :func:`described` for the run in ``path``; no version means version 1.

    Raises:
        FusionError: the head's version has changed since the run was trained.
        TypeError: a setting is unknown to this version of avemo.
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

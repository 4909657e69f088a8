"""The face networks that can be named."""

from __future__ import annotations

from ..errors import ExtractError
from . import dlib_resnet, irnet, mobilefacenet, torchvision_nets, vggface
from .spec import BackboneSpec

DEFAULT = dlib_resnet.SPEC.name

_SPECS: dict[str, BackboneSpec] = {
    spec.name: spec
    for spec in (dlib_resnet.SPEC, mobilefacenet.SPEC, irnet.SPEC, vggface.SPEC, *torchvision_nets.SPECS)
}


def names() -> tuple[str, ...]:
    """The names of all face networks, the default first."""
    return tuple(_SPECS)


def get(name: str) -> BackboneSpec:
    """The network called ``name``; raises :class:`ExtractError`, which lists the names, where none is."""
    if name not in _SPECS:
        raise ExtractError(f"no backbone is called {name!r}: expected one of {', '.join(_SPECS)}")
    return _SPECS[name]

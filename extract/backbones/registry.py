"""The registry of face networks."""

from __future__ import annotations

from ..errors import ExtractError
from .spec import ONNX, TIMM, BackboneSpec
from .specs import SPECS

_SPECS: dict[str, BackboneSpec] = {spec.name: spec for spec in SPECS}


def names() -> tuple[str, ...]:
    """Return the names of avemo's own face networks, the default first."""
    return tuple(_SPECS)


def get(name: str) -> BackboneSpec:
    """Return the network called ``name``, or timm's ``timm:NAME``.

    Raises :class:`ExtractError`, which lists the names, if there is none. An ONNX file has no spec until
    it is read.
    """
    if name.startswith(TIMM):
        from .timm_nets import timm_spec

        return timm_spec(name.removeprefix(TIMM))
    if name == ONNX:
        raise ExtractError(f"the backbone {ONNX!r} is a file: give it as {ONNX}@FILE.onnx")
    if name not in _SPECS:
        raise ExtractError(
            f"no backbone is called {name!r}: expected one of {', '.join(_SPECS)}, {TIMM}NAME or "
            f"{ONNX}@FILE.onnx"
        )
    return _SPECS[name]

"""Face and audio networks: their names, their weights, and how to run them.

Names that need torch are imported on first use, so that listing networks does not load it.
"""

from importlib import import_module
from typing import TYPE_CHECKING, Any

from ..errors import WeightsError
from .audio_spec import audio_names
from .registry import get, names
from .spec import BackboneSpec

if TYPE_CHECKING:
    from .audio import AudioBackbone, load_audio_backbone
    from .backbone import Backbone, load_backbone, random_backbone

__all__ = [
    "AudioBackbone",
    "Backbone",
    "BackboneSpec",
    "WeightsError",
    "audio_names",
    "get",
    "load_audio_backbone",
    "load_backbone",
    "names",
    "random_backbone",
]

_LATER = {
    "AudioBackbone": ".audio",
    "load_audio_backbone": ".audio",
    "Backbone": ".backbone",
    "load_backbone": ".backbone",
    "random_backbone": ".backbone",
}


def __getattr__(name: str) -> Any:
    if name not in _LATER:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_LATER[name], __name__), name)

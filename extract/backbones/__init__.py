"""Face and audio networks: which there are, their weights, and running them."""

from .audio import AudioBackbone, audio_names, load_audio_backbone
from .backbone import Backbone, load_backbone, random_backbone
from .registry import get, names
from .spec import BackboneSpec
from .weights import WeightsError

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

"""All streams, and the selection that a plan asks for."""

from __future__ import annotations

from typing import Any

from ...cache.keys import FeatureKey
from ..decode.heard import SETTINGS as SOUND_SETTINGS
from ..plan import Plan
from .audio_network import AudioNetworkStream
from .base import SoundStream, Stream
from .descriptors import DescriptorStream
from .faces import FACES, FaceStream
from .logmel import LogMelStream
from .segments import SegmentStream
from .spectrogram import SpectrogramStream
from .views import ViewStream

STREAMS: tuple[type[Stream[Any]], ...] = (
    FaceStream,
    ViewStream,
    SpectrogramStream,
    LogMelStream,
    DescriptorStream,
    AudioNetworkStream,
    SegmentStream,
)
"""Enter new streams here. They are computed in this order, and know the settings of earlier ones."""


def planned(plan: Plan) -> list[tuple[Stream[Any], dict[str, FeatureKey]]]:
    """Return what ``plan`` asks for, each with the keys of its streams.

    Raises:
        ExtractError: a detector, view set, network, weights file or device cannot be used.
    """
    settings_by_stream: dict[str, dict[str, Any]] = {}
    streams = []
    for stream in (stream for kind in STREAMS for stream in kind.planned(plan)):
        of_source = SOUND_SETTINGS if isinstance(stream, SoundStream) else settings_by_stream.get(FACES, {})
        own_settings = {
            name: {**of_source, **own} for name, own in stream.settings(settings_by_stream).items()
        }
        settings_by_stream.update(own_settings)
        streams.append(
            (stream, {name: FeatureKey(name, settings) for name, settings in own_settings.items()})
        )
    return streams


def keys_of(plan: Plan) -> dict[str, FeatureKey]:
    """Return the key of each stream that ``plan`` asks for; see :func:`planned`."""
    return {name: key for _, keys in planned(plan) for name, key in keys.items()}

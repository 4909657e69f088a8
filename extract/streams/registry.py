"""All streams, and what a plan asks for of them."""

from __future__ import annotations

from typing import Any

from ...cache.keys import FeatureKey
from ..decode.heard import SETTINGS as HEARD
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
"""A new stream is entered here. They are made in this order, and know the settings of those before them."""


def planned(plan: Plan) -> list[tuple[Stream[Any], dict[str, FeatureKey]]]:
    """What ``plan`` asks for, each with the keys of the streams that it gives.

    Raises:
        ExtractError: a detector, view set, network, weights file or device that cannot be used.
    """
    found: dict[str, dict[str, Any]] = {}
    streams = []
    for stream in (stream for kind in STREAMS for stream in kind.planned(plan)):
        of_source = HEARD if isinstance(stream, SoundStream) else found.get(FACES, {})
        given = {name: {**of_source, **own} for name, own in stream.settings(found).items()}
        found.update(given)
        streams.append((stream, {name: FeatureKey(name, settings) for name, settings in given.items()}))
    return streams


def keys_of(plan: Plan) -> dict[str, FeatureKey]:
    """The key of each stream that ``plan`` gives; see :func:`planned`."""
    return {name: key for _, keys in planned(plan) for name, key in keys.items()}

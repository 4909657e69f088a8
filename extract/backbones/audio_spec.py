"""Specifications of the audio networks, for their keys, without torch."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import Any

from ..errors import ExtractError
from .spec import IMAGENET_MEAN, IMAGENET_STD
from .specs import ALEXNET
from .weights_folder import find

# The trunk halves the spectrogram five times; fewer than 63 frames give no vector.
MIN_FRAMES = 63
DYNAMIC_RANGE_DB = 80.0
ROWS = 200  # of a log-Mel picture, as of a spectrogram, so that both give as many vectors


@dataclass(frozen=True)
class AudioSpec:
    """An audio network, and the stream that it ``reads``.

    ``first`` is the centre of that stream's first frame in seconds; ``extra_settings`` holds further
    settings that affect the vectors.
    """

    name: str
    reads: str
    first: float
    extra_settings: tuple[tuple[str, Any], ...] = ()

    def settings(self, weights_sha256: str) -> dict[str, Any]:
        """Return all settings that affect the vectors, for their key."""
        return {
            "name": self.name,
            "weights_sha256": weights_sha256,
            "layer": "last pooling",
            "dynamic_range_db": DYNAMIC_RANGE_DB,
            "min_frames": MIN_FRAMES,
            "mean": list(IMAGENET_MEAN),
            "std": list(IMAGENET_STD),
            "precision": "fp32",
            **dict(self.extra_settings),
        }


OF_SPECTROGRAM = AudioSpec(ALEXNET.name, "spectrogram", 0.02)
OF_LOG_MEL = AudioSpec(
    "alexnet-logmel", "logmel", 0.0125, (("rows", ROWS), ("colours", "static, delta, delta-delta"))
)
_SPECS = {spec.name: spec for spec in (OF_SPECTROGRAM, OF_LOG_MEL)}


def audio_names() -> tuple[str, ...]:
    """Return the names of all audio networks."""
    return tuple(_SPECS)


def audio_spec(name: str) -> AudioSpec:
    """Return the audio network called ``name``.

    Raises :class:`ExtractError`, which lists the names, if there is none.
    """
    if name not in _SPECS:
        raise ExtractError(
            f"no audio backbone is called {name!r}: expected one of {', '.join(audio_names())}"
        )
    return _SPECS[name]


def find_audio(text: str) -> tuple[str, Path, str]:
    """Return the name, the file and the label of ``NAME``, ``NAME@FILE`` or ``NAME@TAG``."""
    name, _, wanted = text.partition("@")
    spec = audio_spec(name)
    return name, *find(name, wanted, twin="" if spec is OF_SPECTROGRAM else OF_SPECTROGRAM.name)

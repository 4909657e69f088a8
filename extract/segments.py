"""Segments of a clip's speech: MFCC images of 655 ms each, and their vectors by an image network.

priyasad2019 §3.1-3.2: speech is found, its ends are trimmed, and what is left is cut into segments, which
hold their start and end in the clip's own time, so that its faces can be cut alike.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from .backbones import Backbone
from .mfcc_image import MFCC_IMAGE_SETTINGS, mfcc_blocks, segment_images, segment_starts, segment_times
from .sound import Doubles, Floats
from .spool import OnDisk, gathered
from .voice_activity import Span, VoiceActivity, speech_span


@dataclass(frozen=True)
class Segments:
    """The segments of a clip.

    Attributes:
        speech: the seconds that were cut into segments; None where no speech was found, and all of the clip
            was.
        images: ``[S, 64, 64, 3]`` uint8, S ≥ 1; see :mod:`.mfcc_image`.
        times: ``[S, 2]`` seconds, start and end of each; the one of a clip shorter than it ends behind it.
    """

    speech: Span | None
    images: np.ndarray | OnDisk
    times: Doubles


def cut_into_segments(
    blocks: Callable[[], Iterable[Floats]], samples: int, voice: VoiceActivity, spool: Path
) -> Segments:
    """The segments of a sound.

    Args:
        blocks: gives the sound, mono at 16 kHz, in blocks of any size, as often as it is called.
        samples: its length, ≥ 1.
        voice: what tells speech.
        spool: folder for arrays too long for memory.

    Raises:
        ValueError: samples that are not finite.
    """
    seconds = samples / MFCC_IMAGE_SETTINGS.sample_rate
    speech = speech_span(voice, blocks(), seconds)
    held = gathered(mfcc_blocks(blocks()), spool)
    mfcc = held.open() if isinstance(held, OnDisk) else held
    starts = segment_starts(len(mfcc), *(speech or (0.0, seconds)))
    return Segments(speech, gathered(segment_images(mfcc, starts), spool), segment_times(starts))


def segment_settings(voice: VoiceActivity) -> dict[str, Any]:
    """What changes the segments, for their key."""
    mfcc = {f"mfcc.{name}": value for name, value in MFCC_IMAGE_SETTINGS.settings().items()}
    return {**mfcc, "mfcc.stretched": "by segment", **voice.settings()}


def segment_vectors(network: Backbone, images: np.ndarray, batch: int) -> Iterator[np.ndarray]:
    """The network's float32 vectors ``[s, D]`` of images ``[S, 64, 64, 3]``, ``batch`` at a time.

    An image is resized to the network's input, whole (its ``window`` is how it frames faces), and is then
    an RGB picture to it like any other.
    """
    for start in range(0, len(images), batch):
        yield network(resized(images[start : start + batch], network.spec.input_size)).numpy()


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """``[s, size, size, 3]`` uint8 of images ``[s, 64, 64, 3]``, s ≥ 1."""
    interpolation = cv2.INTER_AREA if size < images.shape[1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, (size, size), interpolation=interpolation) for image in images])


def vector_settings(network: Backbone, voice: VoiceActivity) -> dict[str, Any]:
    """What changes the vectors, for their key."""
    of_network = {name: value for name, value in network.settings().items() if name != "window"}
    return {**segment_settings(voice), **of_network}

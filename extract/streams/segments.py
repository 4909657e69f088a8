"""The streams ``segments``: MFCC images of speech, 655 ms each, and ``segments/NETWORK``, vectors of them.

priyasad2019 §3.1-3.2: speech is detected, its ends are trimmed, and the rest is cut into segments. These keep
their start and end in the clip's own time, so that its faces can be cut accordingly.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import cv2
import numpy as np

from ...cache.keys import FeatureKey
from ...cache.writer import Outcome
from ..apart import RemoteBackbone
from ..mfcc_image import MFCC_IMAGE_SETTINGS, mfcc_blocks, segment_images, segment_starts, segment_times
from ..networks import planned_segment_networks, segment_networks_at_hand, views_at_once
from ..plan import Plan
from ..sound import Doubles, Floats
from ..spool import discard, gathered
from ..voice_activity import Span, VoiceActivity, load_voice_activity, speech_span
from .base import ClipSound, Settings, SoundStream

if TYPE_CHECKING:
    from ..backbones import Backbone

SEGMENTS = "segments"


@dataclass(frozen=True)
class SpeechSegments:
    """The segments of a clip.

    Attributes:
        speech: the seconds that were cut into segments; None if no speech was found and the whole clip was
            cut.
        images: ``[S, 64, 64, 3]`` uint8, S ≥ 1; see :mod:`.mfcc_image`.
        times: ``[S, 2]`` seconds, start and end of each; a clip shorter than a segment ends before it does.
    """

    speech: Span | None
    images: np.ndarray
    times: Doubles


def cut_into_segments(
    blocks: Callable[[], Iterable[Floats]], samples: int, voice: VoiceActivity, spool: Path
) -> SpeechSegments:
    """Cut a sound into segments.

    Args:
        blocks: function that returns the sound, mono at 16 kHz, in blocks of any size; called repeatedly.
        samples: number of samples, ≥ 1.
        voice: voice activity detector.
        spool: folder for arrays too long for memory.

    Raises:
        ValueError: samples are not finite.
    """
    seconds = samples / MFCC_IMAGE_SETTINGS.sample_rate
    speech = speech_span(voice, blocks(), seconds)
    mfcc = gathered(mfcc_blocks(blocks()), spool)
    starts = segment_starts(len(mfcc), *(speech or (0.0, seconds)))
    images = gathered(segment_images(mfcc, starts), spool)
    discard(mfcc)
    return SpeechSegments(speech, images, segment_times(starts))


def segment_settings(voice: VoiceActivity) -> dict[str, Any]:
    """Return the settings that affect the segments, for their key."""
    mfcc = {f"mfcc.{name}": value for name, value in MFCC_IMAGE_SETTINGS.settings().items()}
    return {**mfcc, "mfcc.stretched": "by segment", **voice.settings()}


def segment_vectors(
    network: Backbone | RemoteBackbone, images: np.ndarray, batch: int
) -> Iterator[np.ndarray]:
    """Yield the network's float32 vectors ``[s, D]`` of images ``[S, 64, 64, 3]``, ``batch`` at a time.

    The whole image is resized to the network's input (its ``window`` applies only to faces) and treated like
    any RGB picture.
    """
    for start in range(0, len(images), batch):
        yield np.asarray(network(resized(images[start : start + batch], network.spec.input_size)))


def resized(images: np.ndarray, size: int) -> np.ndarray:
    """Resize images ``[s, 64, 64, 3]``, s ≥ 1, to ``[s, size, size, 3]`` uint8."""
    interpolation = cv2.INTER_AREA if size < images.shape[1] else cv2.INTER_LINEAR
    return np.stack([cv2.resize(image, (size, size), interpolation=interpolation) for image in images])


def vector_settings(network: Mapping[str, Any], voice: VoiceActivity) -> dict[str, Any]:
    """Return the settings that affect the vectors of a ``network`` with these settings, for their key."""
    of_network = {name: value for name, value in network.items() if name != "window"}
    return {**segment_settings(voice), **of_network}


class SegmentStream(SoundStream):
    """``image`` ``[S, 64, 64, 3]`` of S segments, and ``vectors`` ``[S, D]`` of each network on these images.

    Both come with ``times`` ``[S, 2]``.
    """

    @classmethod
    def planned(cls, plan: Plan) -> Sequence[SoundStream]:
        return [cls(plan)] if plan.segments or plan.segment_backbones else []

    def settings(self, others: Settings) -> Settings:
        voice = load_voice_activity(self.plan.voice_activity)
        networks = planned_segment_networks(self.plan)
        return {
            SEGMENTS: segment_settings(voice),
            **{_name(network.label): vector_settings(network.settings, voice) for network in networks},
        }

    def load(self) -> None:
        segment_networks_at_hand(self.plan)

    def make(self, sound: ClipSound, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        voice = load_voice_activity(self.plan.voice_activity)
        segments = cut_into_segments(sound.blocks, len(sound.samples), voice, sound.spool)
        if segments.speech is None:
            sound.note("has no detected speech; its segments cover the whole clip")
        if SEGMENTS in wanted:
            info = {
                "segments": len(segments.times),
                "speech": None if segments.speech is None else list(segments.speech),
            }
            yield Outcome(
                wanted[SEGMENTS], info=info, arrays={"image": segments.images, "times": segments.times}
            )
        for network in segment_networks_at_hand(self.plan):
            if _name(network.label) in wanted:
                vectors = segment_vectors(network, segments.images, views_at_once(self.plan))
                arrays = {"vectors": gathered(vectors, sound.spool), "times": segments.times}
                yield Outcome(wanted[_name(network.label)], arrays=arrays)


def _name(label: str) -> str:
    return f"{SEGMENTS}/{label}"

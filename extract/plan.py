"""What to extract, with which settings, and the keys under which that is stored."""

from __future__ import annotations

from dataclasses import dataclass
from functools import cache
from typing import Any

import torch

from ..cache.keys import FeatureKey
from . import DEFAULT_BACKBONE
from .backbones import Backbone, load_backbone
from .backbones.audio import AudioBackbone, load_audio_backbone
from .decode.heard import SETTINGS as HEARD
from .descriptors import DESCRIPTOR_SETTINGS
from .detectors import load_detector
from .errors import ExtractError
from .segments import segment_settings, vector_settings
from .sound import LOG_MEL_SETTINGS, SPECTROGRAM_SETTINGS
from .track import SETTINGS as TRACK_SETTINGS
from .views import VIEW_SETS
from .voice_activity import VoiceActivity, load_voice_activity

FACES = "faces"
SPECTROGRAM = "spectrogram"
LOG_MEL = "logmel"
DESCRIPTORS = "descriptors"
SEGMENTS = "segments"


@dataclass(frozen=True)
class Plan:
    """The choices of a run. Those that change values end up in the keys; ``device`` does not.

    Attributes:
        detector: ``NAME`` or ``NAME@FILE``.
        backbones: ``NAME`` or ``NAME@FILE`` each.
        view_sets: names in :data:`.views.VIEW_SETS`.
        audio: audio backbones, ``NAME@FILE`` each.
        max_frames: at most so many frames a clip, spread evenly; None for all.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``.
        precision: ``fp32``, ``bf16`` or ``auto``: bf16 where the processor computes in it.
        batch: views that pass through a network at once; None for what suits the device.
        pictures: false for clips of sound alone, whose faces nobody need look for.
        segments: whether speech is cut into segments, as MFCC images (priyasad2019).
        segment_audio: image networks over these images, ``NAME`` or ``NAME@FILE`` each, which imply them.
        voice_activity: what tells speech, a name in :data:`.voice_activity.VOICE_ACTIVITY`.
        labels: ``(NAME@FILE, LABEL)`` each, for weights that are called otherwise than by their file's name.
        face_seconds: the main face is that of so many seconds around each frame; None: of the whole clip.
    """

    detector: str = "dlib"
    backbones: tuple[str, ...] = (DEFAULT_BACKBONE,)
    view_sets: tuple[str, ...] = ("default",)
    audio: tuple[str, ...] = ()
    max_frames: int | None = None
    device: str = "auto"
    precision: str = "auto"
    batch: int | None = None
    pictures: bool = True
    segments: bool = False
    segment_audio: tuple[str, ...] = ()
    voice_activity: str = "energy"
    face_seconds: float | None = None
    labels: tuple[tuple[str, str], ...] = ()

    def networks(self) -> list[Backbone]:
        """The face networks, loaded once a process."""
        return [self._backbone(text) for text in self.backbones]

    def audio_networks(self) -> list[AudioBackbone]:
        """The audio networks, loaded once a process."""
        return [_audio_backbone(text, self.torch_device, self._label(text)) for text in self.audio]

    def segment_networks(self) -> list[Backbone]:
        """The image networks over segments, loaded once a process."""
        return [self._backbone(text) for text in self.segment_audio]

    def _backbone(self, text: str) -> Backbone:
        return _backbone(text, self.torch_device, self.precision, self._label(text))

    def _label(self, text: str) -> str:
        return dict(self.labels).get(text, "")

    def segment_streams(self) -> list[str]:
        """The streams that are made of segments."""
        if not (self.segments or self.segment_audio):
            return []
        return [SEGMENTS, *map(segment_stream, self.segment_networks())]

    def voice(self) -> VoiceActivity:
        """What tells speech from all else."""
        return load_voice_activity(self.voice_activity)

    @property
    def torch_device(self) -> str:
        """The device's name, ``auto`` resolved.

        Raises:
            ExtractError: there is no such device here.
        """
        return best_device() if self.device == "auto" else _present(self.device)

    @property
    def views_at_once(self) -> int:
        """``batch``, or 36 on a processor, whose caches more would overflow, and 288 elsewhere."""
        return self.batch or (36 if self.torch_device == "cpu" else 288)

    def keys(self) -> dict[str, FeatureKey]:
        """The key of each stream that this plan gives.

        Raises:
            ExtractError: a detector, view set, backbone or weights file that cannot be used.
        """
        unknown = [name for name in self.view_sets if name not in VIEW_SETS]
        if unknown:
            raise ExtractError(f"there is no view set {unknown[0]!r}; there are {', '.join(VIEW_SETS)}")
        keys = self._seen() if self.pictures else {}
        keys[SPECTROGRAM] = {**HEARD, **SPECTROGRAM_SETTINGS.settings()}
        keys[LOG_MEL] = {**HEARD, **LOG_MEL_SETTINGS.settings()}
        keys[DESCRIPTORS] = {**HEARD, **DESCRIPTOR_SETTINGS.settings()}
        for audio in self.audio_networks():
            keys[audio.label] = {**keys[audio.reads], **audio.settings()}
        if self.segments or self.segment_audio:
            keys.update(self._spoken())
        return {stream: FeatureKey(stream, settings) for stream, settings in keys.items()}

    def _seen(self) -> dict[str, dict[str, Any]]:
        """Settings of the streams that are made of pictures."""
        faces = {**TRACK_SETTINGS, **load_detector(self.detector).settings(), "max_frames": self.max_frames}
        if self.face_seconds is not None:
            faces["track.seconds"] = self.face_seconds
        settings = {FACES: faces}
        for network in self.networks():
            for name in self.view_sets:
                stream = f"{network.label}/{name}"
                if stream in settings:
                    raise _asked_twice(network)
                settings[stream] = {**faces, **VIEW_SETS[name].settings(), **network.settings()}
        return settings

    def _spoken(self) -> dict[str, dict[str, Any]]:
        """Settings of the streams that are made of segments."""
        voice = self.voice()
        settings = {SEGMENTS: {**HEARD, **segment_settings(voice)}}
        for network in self.segment_networks():
            if segment_stream(network) in settings:
                raise _asked_twice(network)
            settings[segment_stream(network)] = {**HEARD, **vector_settings(network, voice)}
        return settings


def segment_stream(network: Backbone) -> str:
    """The stream of a network's vectors of segments."""
    return f"{SEGMENTS}/{network.label}"


def _asked_twice(network: Backbone) -> ExtractError:
    return ExtractError(f"{network.label} is asked for twice; rename one of the weights files")


def best_device() -> str:
    """``cuda`` or ``mps`` where there is one, else ``cpu``."""
    if torch.cuda.is_available():
        return "cuda"
    return "mps" if torch.backends.mps.is_available() else "cpu"


@cache
def _present(device: str) -> str:
    try:
        if torch.device(device).type == "cuda" and torch.cuda.is_available():
            _counted(torch.device(device))  # a tensor there would cost this process some 300 MB of its memory
        else:
            torch.empty(1, device=device).cpu()
    except (RuntimeError, AssertionError) as error:
        raise ExtractError(
            f"there is no device {device!r} here ({str(error).splitlines()[0]}); use --device auto or cpu"
        ) from error
    return device


def _counted(device: torch.device) -> None:
    count = torch.cuda.device_count()
    if (device.index or 0) >= count:
        raise RuntimeError(f"there are {count}, counted from 0")


@cache
def _backbone(text: str, device: str, precision: str, label: str) -> Backbone:
    network = load_backbone(text, device=device, precision=precision)
    network.label = label or network.label
    return network


@cache
def _audio_backbone(text: str, device: str, label: str) -> AudioBackbone:
    network = load_audio_backbone(text, device=device)
    network.label = label or network.label
    return network

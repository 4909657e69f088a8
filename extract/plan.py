"""The plan: what to extract, and with which settings."""

from __future__ import annotations

from dataclasses import dataclass

from . import DEFAULT_BACKBONE


@dataclass(frozen=True)
class Plan:
    """The settings of an extraction; :func:`.streams.registry.keys_of` gives the resulting streams.

    Settings that change values are part of the streams' keys; ``device`` and ``batch`` are not.

    Attributes:
        detector: face detector, ``NAME`` or ``NAME@FILE``.
        backbones: face networks, ``NAME`` or ``NAME@FILE`` each.
        view_sets: names in :data:`.views.VIEW_SETS`.
        audio_backbones: networks over spectrograms, ``NAME@FILE`` each.
        max_frames: maximum number of frames per clip, spread evenly; None for all.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``; ``cuda:0,1`` for several.
        precision: ``fp32``, ``bf16``, ``int8`` or ``auto``: bf16 if the device has bf16 instructions.
        batch: views per pass through a network; None for the device's default.
        pictures: whether to extract faces; false for clips with sound only.
        segments: whether to cut speech into segments, as MFCC images (priyasad2019).
        segment_backbones: image networks over these images, ``NAME`` or ``NAME@FILE`` each; they imply
            ``segments``.
        voice_activity: speech detector, a name in :data:`.voice_activity.VOICE_ACTIVITY`.
        face_seconds: length of the window around each frame that decides the main face; None for the whole
            clip.
        labels: ``(NAME@FILE, LABEL)`` pairs, for networks that should not be named after their files.
        detect_every: detect faces in every Nth of the frames used, and interpolate between them.
    """

    detector: str = "dlib"
    backbones: tuple[str, ...] = (DEFAULT_BACKBONE,)
    view_sets: tuple[str, ...] = ("default",)
    audio_backbones: tuple[str, ...] = ()
    max_frames: int | None = None
    device: str = "auto"
    precision: str = "auto"
    batch: int | None = None
    pictures: bool = True
    segments: bool = False
    segment_backbones: tuple[str, ...] = ()
    voice_activity: str = "energy"
    face_seconds: float | None = None
    labels: tuple[tuple[str, str], ...] = ()
    detect_every: int = 1

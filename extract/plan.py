"""What to extract, and with which settings."""

from __future__ import annotations

from dataclasses import dataclass

from . import DEFAULT_BACKBONE


@dataclass(frozen=True)
class Plan:
    """The choices of an extraction; :func:`.streams.registry.keys_of` tells which streams they give.

    Those that change values are in the streams' keys; ``device`` and ``batch`` are not.

    Attributes:
        detector: ``NAME`` or ``NAME@FILE``.
        backbones: face networks, ``NAME`` or ``NAME@FILE`` each.
        view_sets: names in :data:`.views.VIEW_SETS`.
        audio_backbones: networks over spectrograms, ``NAME@FILE`` each.
        max_frames: at most so many frames a clip, spread evenly; None for all.
        device: ``cpu``, ``cuda``, ``cuda:1``, ``mps`` or ``auto``; ``cuda:0,1`` for several.
        precision: ``fp32``, ``bf16``, ``int8`` or ``auto``: bf16 where the processor computes in it.
        batch: views that pass through a network at once; None for what suits the device.
        pictures: whether faces are looked for; false for clips of sound alone.
        segments: whether speech is cut into segments, as MFCC images (priyasad2019).
        segment_backbones: image networks over these images, ``NAME`` or ``NAME@FILE`` each; they imply
            ``segments``.
        voice_activity: what finds speech, a name in :data:`.voice_activity.VOICE_ACTIVITY`.
        face_seconds: the main face is that of so many seconds around each frame; None: of the whole clip.
        labels: ``(NAME@FILE, LABEL)`` each, for networks that are not to be called after their files.
        detect_every: look for faces in every Nth of the frames used; the face moves evenly between.
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

"""Plan how to extract a trained run's features from other clips."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from ..cache.keys import FeatureKey
from ..extract.errors import ExtractError
from ..extract.plan import Plan
from .detector_choice import AUTO


def plan_again(
    keys: Mapping[str, FeatureKey],
    detector: str | None = None,
    backbones: Sequence[str] = (),
    audio: Sequence[str] = (),
    device: str = "auto",
    segment_audio: Sequence[str] = (),
) -> Plan:
    """Return the plan that makes streams with exactly these keys.

    Args:
        keys: keys of the streams wanted, visual ones (``BACKBONE/VIEWSET``) and others.
        detector, backbones, audio, segment_audio: ``NAME@FILE`` of networks that need a file of weights;
            networks of a package need none.
        device: device for the networks.

    Raises:
        ExtractError: a file is not named, or a file or another setting differs from what the keys record.
    """
    from ..extract.markers import MARKERS
    from ..extract.streams.registry import keys_of
    from ..extract.streams.segments import SEGMENTS

    if MARKERS in keys:
        raise ExtractError(
            "the run reads facial markers, which clips alone do not have; extract the corpus into a "
            "store with avemo-extract, and name that store"
        )
    for stream, key in keys.items():
        if key.settings.get("imported"):
            raise ExtractError(
                f"the run reads {stream!r}, which was imported and cannot be made here; extract these "
                "clips into a store, add their features with avemo store import, and name that store"
            )
    segment_streams = {name: key.settings for name, key in keys.items() if name.partition("/")[0] == SEGMENTS}
    face_streams = {
        name: key.settings for name, key in keys.items() if "/" in name and name not in segment_streams
    }
    audio_streams = {
        name: key.settings for name, key in keys.items() if name not in {*face_streams, *segment_streams}
    }
    face_networks = {stream.rpartition("/")[0]: settings for stream, settings in face_streams.items()}
    segment_networks = {
        stream.partition("/")[2]: settings for stream, settings in segment_streams.items() if "/" in stream
    }
    precisions = {
        str(settings["precision"]) for settings in (*face_networks.values(), *segment_networks.values())
    }
    face_settings: Mapping[str, Any] = next(iter(face_streams.values()), {})
    face_files = _files("--backbone", face_networks, backbones)
    audio_networks = {
        name: settings for name, settings in audio_streams.items() if "weights_sha256" in settings
    }
    audio_files = _files("--audio-backbone", audio_networks, audio)
    segment_files = _files("--segment-backbone", segment_networks, segment_audio)
    plan = Plan(
        detector=str(face_settings.get("detector", "dlib")) if detector in (None, AUTO) else detector,
        backbones=tuple(face_files.values()),
        view_sets=tuple(dict.fromkeys(stream.rpartition("/")[2] for stream in face_streams)),
        audio_backbones=tuple(audio_files.values()),
        max_frames=face_settings.get("max_frames"),
        device=device,
        precision=precisions.pop() if len(precisions) == 1 else "auto",
        segments=bool(segment_streams),
        segment_backbones=tuple(segment_files.values()),
        voice_activity=next((str(settings["vad"]) for settings in segment_streams.values()), "energy"),
        detect_every=int(face_settings.get("detect_every", 1)),
        labels=tuple(
            (text, label)
            for files in (face_files, audio_files, segment_files)
            for label, text in files.items()
        ),
    )
    _require_same_keys(keys, keys_of(plan))
    return plan


def _files(option: str, wanted: Mapping[str, Mapping[str, Any]], given: Iterable[str]) -> dict[str, str]:
    """Map each wanted label to ``NAME`` or ``NAME@FILE``: the file with its checksum, else with its name."""
    given = tuple(given)
    known = {_label(text): text for text in given}
    checksums = {text: _sha256(text) for text in given}
    files = {}
    for label, settings in wanted.items():
        name, _, stem = label.partition("@")
        wanted_sum = str(settings.get("weights_sha256", "")).partition("+")[0]
        matching = [
            text for text in given if text.partition("@")[0] == name and checksums[text] == wanted_sum
        ]
        if stem and label not in known and not matching:
            raise ExtractError(
                f"the run reads features of {label}: name its weights with {option} {name}@FILE, a file of "
                f"SHA-256 {settings['weights_sha256']}, once called {stem}"
                + (f"; given: {', '.join(known.values())}" if known else "")
            )
        files[label] = matching[0] if matching else known.get(label, label)
    return files


def _sha256(text: str) -> str | None:
    """Return the SHA-256 of the file of ``NAME@FILE`` or ``NAME@TAG``; None if there is no file."""
    from ..extract.backbones import WeightsError
    from ..extract.backbones.weights_folder import find
    from ..extract.digest import sha256_of

    name, _, file = text.partition("@")
    try:
        return sha256_of(find(name, file)[0]) if file else None
    except (WeightsError, OSError):
        return None


def _label(text: str) -> str:
    name, _, file = text.partition("@")
    return f"{name}@{Path(file).stem}" if file else name


def _require_same_keys(wanted: Mapping[str, FeatureKey], planned: Mapping[str, FeatureKey]) -> None:
    for stream, key in wanted.items():
        if planned[stream] != key:
            changes = "; ".join(key.differences(planned[stream]))
            raise ExtractError(
                f"the run reads {stream!r}, which was extracted with other settings than here "
                f"({changes}: trained / here); name the files used for training, or train again"
            )

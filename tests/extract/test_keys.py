"""Keys are what they were: were one another, every store made before would be extracted again."""

from __future__ import annotations

import pytest

from avemo.extract.plan import Plan
from avemo.extract.streams.registry import keys_of

SOUND = {"spectrogram": "766b1034e76a6966", "logmel": "8d2f7fa16951b8ff", "descriptors": "9ce9ee225461916d"}
SPEECH = {"segments": "dabe3c7c365f4c1e", "segments/ferresnet": "cf8d65200192e181"}
FACES = {"faces": "31d96b4405d2686a"}
OLD = ("ferresnet",)
"""The default network of the stores that were made before 2026-11-28."""
BEFORE = [
    (Plan(precision="fp32"), {**FACES, "ferplusnet/default": "272bf7e517aebd1c", **SOUND}),
    (Plan(precision="fp32", backbones=OLD), {**FACES, "ferresnet/default": "46c72340229b9017", **SOUND}),
    (
        Plan(precision="fp32", backbones=OLD, view_sets=("none",), max_frames=8, face_seconds=4.0),
        {"faces": "c6cdfdffecd56a1f", "ferresnet/none": "03c065fd33442fea", **SOUND},
    ),
    (
        Plan(precision="fp32", backbones=OLD, view_sets=("default", "wide", "none"), segment_backbones=OLD),
        {
            **FACES,
            "ferresnet/default": "46c72340229b9017",
            "ferresnet/wide": "97b1219bec7b6755",
            "ferresnet/none": "0e9c72291fa8ed54",
            **SOUND,
            **SPEECH,
        },
    ),
    (Plan(precision="fp32", pictures=False, segment_backbones=OLD), {**SOUND, **SPEECH}),
    (
        Plan(precision="fp32", backbones=(), segments=True, voice_activity="none"),
        {**FACES, **SOUND, "segments": "72735546dd7a255c"},
    ),
]


@pytest.mark.parametrize(
    ("plan", "before"),
    BEFORE,
    ids=["default", "old-network", "few-frames", "all", "sound-alone", "no-network"],
)
def test_a_plans_keys_are_those_of_stores_made_before(plan: Plan, before: dict[str, str]) -> None:
    """The digests, and the order in which streams are made, were printed by commit 2583991; the digest of
    ``ferplusnet`` when it became the default."""
    assert [(stream, key.digest) for stream, key in keys_of(plan).items()] == list(before.items())

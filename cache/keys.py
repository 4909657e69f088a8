"""Provenance of stored arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class FeatureKey:
    """Everything but the clip that changes the values of a stream.

    ``stream`` names what it is (``faces``, ``spectrogram``, ``resnet18/default``); ``settings`` holds
    the detector, alignment, view set, backbone, weights' SHA-256, precision and other numbers, as JSON
    values. Settings that do not change the values (device, workers, batch size) do not belong here.
    """

    stream: str
    settings: Mapping[str, Any] = field(hash=False)

    @cached_property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the canonical JSON form."""
        text = json.dumps([self.stream, self.settings], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: FeatureKey) -> list[str]:
        """One line for each setting in which ``other`` differs: ``name: this value / that value``."""
        names = sorted({*self.settings, *other.settings})
        absent = "(not set)"
        return [
            f"{name}: {self.settings.get(name, absent)} / {other.settings.get(name, absent)}"
            for name in names
            if self.settings.get(name, absent) != other.settings.get(name, absent)
        ]

"""Keys: the provenance of stored arrays."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any


@dataclass(frozen=True)
class FeatureKey:
    """Everything except the clip that changes the values of a stream.

    Attributes:
        stream: name of the stream, such as ``faces``, ``spectrogram`` or ``resnet18/default``.
        settings: detector, alignment, view set, backbone, SHA-256 of the weights, precision and so on, as
            JSON values. Settings that do not change values (device, workers, batch size) are left out.
    """

    stream: str
    settings: Mapping[str, Any] = field(hash=False)

    @cached_property
    def digest(self) -> str:
        """The first 16 hex digits of the SHA-256 of the key's canonical JSON form."""
        text = json.dumps([self.stream, self.settings], sort_keys=True, separators=(",", ":"))
        return hashlib.sha256(text.encode()).hexdigest()[:16]

    def differences(self, other: FeatureKey) -> list[str]:
        """Return one line for each setting that differs in ``other``: ``name: own value / other value``."""
        names = sorted({*self.settings, *other.settings})
        absent = "(not set)"
        return [
            f"{name}: {self.settings.get(name, absent)} / {other.settings.get(name, absent)}"
            for name in names
            if self.settings.get(name, absent) != other.settings.get(name, absent)
        ]

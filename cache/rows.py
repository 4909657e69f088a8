"""A clip in a store: its file and the outcome of each stream."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

from .clips import Clip
from .keys import FeatureKey
from .shards import ArrayRef

RANK = {"ok": 0, "absent": 1, "failed": 2}
"""The statuses of an outcome, most useful first."""


@dataclass(frozen=True, slots=True)
class Source:
    """A clip's file: its checksum, and its size and modification time to detect changes cheaply."""

    sha256: str
    size: int
    mtime_ns: int


@dataclass(frozen=True, slots=True)
class Entry:
    """The outcome of one stream for one clip.

    Attributes:
        key: provenance of the arrays.
        status: ``ok`` (arrays are stored), ``absent`` (the clip has no such stream, for example no sound) or
            ``failed``.
        reason: why the stream is absent or failed.
        info: small facts, such as numbers of frames and faces.
        arrays: name → location of the array.
    """

    key: FeatureKey
    status: str
    reason: str = ""
    info: Mapping[str, Any] = field(default_factory=dict)
    arrays: Mapping[str, ArrayRef] = field(default_factory=dict)


@dataclass
class Row:
    """A clip with everything stored for it; ``entries`` has the newest outcome of each stream."""

    clip: Clip
    source: Source | None = None
    entries: dict[str, Entry] = field(default_factory=dict)

    def has(self, stream: str) -> bool:
        """Whether the clip has arrays of ``stream``."""
        return stream in self.entries and self.entries[stream].status == "ok"

    @property
    def failures(self) -> dict[str, str]:
        """Stream → reason, for each stream that failed."""
        return {name: entry.reason for name, entry in self.entries.items() if entry.status == "failed"}

    @property
    def has_face(self) -> bool:
        """Whether a face was found in any frame."""
        return self.has("faces") and self.entries["faces"].info.get("faces", 0) > 0

"""Figures of a clip's face track that reveal a wrong face."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from ....cache.clips import Clip
from ....cache.errors import StoreError
from ....cache.rows import Row
from ....cache.store import FeatureStore
from ....extract.clip import read_source
from ....extract.streams.faces import FACES
from ....extract.track import overlap

Track = Mapping[str, np.ndarray]


@dataclass(frozen=True)
class TrackFacts:
    """The figures of a track; those of boxes are None if there is no face.

    Attributes:
        frames, faces: that were looked at, and in how many of them the face was found.
        seconds: how long the pictures last, told by the times of the frames that were looked at.
        confidence, lowest_confidence: the detector's score, its mean and least over frames with the face.
        smallest_face: the shorter side of a box, in pixels, where that is least.
        largest_jump: the share (0-1) that boxes of neighbouring frames do not have in common (1 less their
            intersection over union), where that is greatest.
    """

    frames: int
    faces: int
    seconds: float
    confidence: float | None = None
    lowest_confidence: float | None = None
    smallest_face: float | None = None
    largest_jump: float | None = None

    @property
    def rate(self) -> float:
        """The share of frames with the face."""
        return self.faces / self.frames if self.frames else 0.0

    @property
    def cells(self) -> tuple[str | None, ...]:
        """Rate, confidence, smallest face and largest jump as they are printed."""
        figures = (self.confidence, ".2f"), (self.smallest_face, ".0f"), (self.largest_jump, ".0%")
        return f"{self.rate:.1%}", *(None if value is None else f"{value:{spec}}" for value, spec in figures)


@dataclass(frozen=True)
class Subject:
    """A clip on the page.

    Attributes:
        clip: it.
        track: its face track in figures; None where none is stored.
        problem: why it failed, or the empty string.
        notes: what else is to be known of it.
        content: what tells its file and its track from others: they are drawn anew when it changes.
    """

    clip: Clip
    track: TrackFacts | None
    problem: str
    notes: tuple[str, ...]
    content: str

    @property
    def rank(self) -> tuple[bool, float, float]:
        """For sorting: what failed, then by detection rate and confidence, then what has no pictures."""
        if self.track is None:
            return (not self.problem, 2.0, 0.0)
        return (not self.problem, self.track.rate, self.track.confidence or 0.0)


def subject_of(store: FeatureStore, row: Row) -> Subject:
    """What is known of a clip; its file is not decoded."""
    entry = row.entries.get(FACES)
    facts, damage = _facts(store, row) if row.has(FACES) else (None, "")
    gone, changed = _file(row)
    failures = row.failures
    failure = failures.get(FACES) or (next(iter(failures.values()), "") if entry is None else "")
    notes = [changed] if changed else []
    if not failure:
        notes += [f"{stream} failed: {reason}" for stream, reason in failures.items()]
    if entry is None and not failure:
        notes.append("no face track is stored of it")
    elif entry and entry.status == "absent":
        notes.append(f"{entry.reason}: sound alone")
    elif entry and entry.info.get("warning"):
        notes.append(f"damaged: {entry.info['warning']}")
    if facts and not facts.faces:
        notes.append("no face in any frame")
    content = f"{row.source and row.source.sha256} {entry and entry.key.digest} {gone} {changed}"
    return Subject(row.clip, facts, gone or failure or damage, tuple(notes), content)


def track_facts(track: Track) -> TrackFacts:
    """The figures of a stored track (see :func:`.face_arrays`), of which ``points`` are not needed."""
    times, boxes = track["times"], track["box"].astype(np.float64)
    seen = np.flatnonzero(track["has_face"])
    if len(seen) == 0:
        return TrackFacts(len(times), 0, seconds_of(times))
    confidence = track["confidence"][seen]
    return TrackFacts(
        len(times),
        len(seen),
        seconds_of(times),
        float(confidence.mean()),
        float(confidence.min()),
        float((boxes[seen, 2:] - boxes[seen, :2]).min()),
        float(jumps(track).max(initial=0.0)),
    )


def jumps(track: Track) -> np.ndarray:
    """``[T]``: the share (0-1) of a frame's box not in common with the frame before; 0 where one has none."""
    boxes, seen = track["box"].astype(np.float64), track["has_face"]
    both = np.flatnonzero(seen[1:] & seen[:-1]) + 1
    found = np.zeros(len(seen))
    found[both] = [1 - overlap(boxes[i - 1], boxes[i]) for i in both]
    return found


def seconds_of(times: np.ndarray) -> float:
    """How long the pictures last whose frames, all or some spread evenly, have these times.

    Frames spread over a clip begin half a step after its start and end half a step before its end.
    """
    if len(times) < 2:
        return float(times[-1]) if len(times) else 0.0
    step = float(times[-1] - times[0]) / (len(times) - 1)
    return float(times[-1]) + max(0.0, step - float(times[0]))


def _facts(store: FeatureStore, row: Row) -> tuple[TrackFacts | None, str]:
    try:
        return track_facts(store.read(row, FACES, ["times", "box", "confidence", "has_face"])), ""
    except StoreError as error:
        return None, f"its stored face track cannot be read: {error}"


def _file(row: Row) -> tuple[str, str]:
    """Why the clip's file cannot be shown, and whether it is another than the one that was extracted."""
    path = Path(row.clip.path)
    try:
        stat = path.stat()
        if row.source is None or (stat.st_size, stat.st_mtime_ns) == (row.source.size, row.source.mtime_ns):
            return "", ""
        same = stat.st_size == row.source.size and read_source(path).sha256 == row.source.sha256
    except OSError as error:
        return f"its file is gone: {path} ({error.strerror or error})", ""
    return "", "" if same else "its file was changed after its faces were found"

"""Statistics of a clip's face track that can reveal a wrong face."""

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
    """Statistics of a face track; all but the first three are None if there is no face.

    Attributes:
        frames: number of frames in the track.
        faces: number of frames with the face.
        seconds: duration of the pictures, estimated from the times of the frames.
        confidence: mean score of the detector over frames with the face.
        lowest_confidence: lowest score of the detector over frames with the face.
        smallest_face: shortest side of any box, in pixels.
        largest_jump: largest jump between neighbouring frames, 0 to 1: one minus the intersection over union
            of their boxes.
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
        """Rate, confidence, smallest face and largest jump, formatted for display."""
        figures = (self.confidence, ".2f"), (self.smallest_face, ".0f"), (self.largest_jump, ".0%")
        return f"{self.rate:.1%}", *(None if value is None else f"{value:{spec}}" for value, spec in figures)


@dataclass(frozen=True)
class Subject:
    """A clip on the page.

    Attributes:
        clip: the clip.
        track: statistics of its face track; None if none is stored.
        problem: why it failed, or the empty string.
        notes: other remarks.
        content: identity of the file and the track; the sheet is redrawn when it changes.
    """

    clip: Clip
    track: TrackFacts | None
    problem: str
    notes: tuple[str, ...]
    content: str

    @property
    def rank(self) -> tuple[bool, float, float]:
        """Sort key: failed clips first, others by detection rate and confidence, those without track last."""
        if self.track is None:
            return (not self.problem, 2.0, 0.0)
        return (not self.problem, self.track.rate, self.track.confidence or 0.0)


def subject_of(store: FeatureStore, row: Row) -> Subject:
    """Collect what is known of a clip without decoding its file."""
    entry = row.entries.get(FACES)
    facts, damage = _facts(store, row) if row.has(FACES) else (None, "")
    missing, changed = _file_state(row)
    failures = row.failures
    failure = failures.get(FACES) or (next(iter(failures.values()), "") if entry is None else "")
    notes = [changed] if changed else []
    if not failure:
        notes += [f"{stream} failed: {reason}" for stream, reason in failures.items()]
    if entry is None and not failure:
        notes.append("no face track is stored")
    elif entry and entry.status == "absent":
        notes.append(f"{entry.reason}: sound only")
    elif entry and entry.info.get("warning"):
        notes.append(f"damaged: {entry.info['warning']}")
    if facts and not facts.faces:
        notes.append("no face in any frame")
    content = f"{row.source and row.source.sha256} {entry and entry.key.digest} {missing} {changed}"
    return Subject(row.clip, facts, missing or failure or damage, tuple(notes), content)


def track_facts(track: Track) -> TrackFacts:
    """Compute the statistics of a stored track (see :func:`.face_arrays`); ``points`` are not needed."""
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
    """Return one minus the IoU of each frame's box with the previous one, ``[T]``; 0 if one has no face."""
    boxes, seen = track["box"].astype(np.float64), track["has_face"]
    both = np.flatnonzero(seen[1:] & seen[:-1]) + 1
    result = np.zeros(len(seen))
    result[both] = [1 - overlap(boxes[i - 1], boxes[i]) for i in both]
    return result


def seconds_of(times: np.ndarray) -> float:
    """Estimate the duration of the pictures from the times of all frames or of evenly spaced ones.

    Evenly spaced frames begin half a step after the start and end half a step before the end.
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


def _file_state(row: Row) -> tuple[str, str]:
    """Return why the clip's file cannot be shown, and a note if it has changed since extraction."""
    path = Path(row.clip.path)
    try:
        stat = path.stat()
        if row.source is None or (stat.st_size, stat.st_mtime_ns) == (row.source.size, row.source.mtime_ns):
            return "", ""
        same = stat.st_size == row.source.size and read_source(path).sha256 == row.source.sha256
    except OSError as error:
        return f"its file is gone: {path} ({error.strerror or error})", ""
    return "", "" if same else "its file has changed since its faces were found"

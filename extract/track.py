"""Face tracking: from detections in single frames to the main face of a clip."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass, field

import numpy as np

from .align import CHIP_SIZE, PADDING, face_transform, frame_transform
from .detectors import Face

MIN_OVERLAP = 0.3
MAX_GAP_SECONDS = 0.5

SETTINGS: dict[str, object] = {
    "track.min_overlap": MIN_OVERLAP,
    "track.max_gap_seconds": MAX_GAP_SECONDS,
    "track.max_gap_frames": 1,
    "chip.size": CHIP_SIZE,
    "chip.padding": PADDING,
}


@dataclass
class Track:
    """One person's face over time; ``faces`` maps frame numbers to detections."""

    faces: dict[int, Face] = field(default_factory=dict)
    last_time: float = 0.0

    @property
    def weight(self) -> float:
        """Area × duration: the sum of the face's area over the frames in which it is seen."""
        return sum(area(face.box) for face in self.faces.values())

    @property
    def last_number(self) -> int:
        return next(reversed(self.faces))

    @property
    def last_box(self) -> np.ndarray:
        return next(reversed(self.faces.values())).box


class Tracker:
    """Links detections over frames by the overlap of their boxes, greedily, best overlap first.

    A track continues after a gap of up to half a second (a missed detection, a turned head) if the face
    reappears in the same place. It also continues between successive frames, however far apart in time, as
    only a few frames of a long clip may be used.
    """

    def __init__(self) -> None:
        self.tracks: list[Track] = []

    def add(self, number: int, time: float, faces: list[Face]) -> None:
        """Add the detections of frame ``number`` at ``time`` seconds."""
        live = [
            track
            for track in self.tracks
            if time - track.last_time <= MAX_GAP_SECONDS or number - track.last_number <= 1
        ]
        pairs = sorted(
            (-overlap(track.last_box, face.box), i, j)
            for i, track in enumerate(live)
            for j, face in enumerate(faces)
        )
        linked: dict[int, Track] = {}
        used: set[int] = set()
        for negative, i, j in pairs:
            if -negative >= MIN_OVERLAP and i not in used and j not in linked:
                linked[j] = live[i]
                used.add(i)
        for j, face in enumerate(faces):
            if j not in linked:
                linked[j] = Track()
                self.tracks.append(linked[j])
            linked[j].faces[number] = face
            linked[j].last_time = time

    def main(self) -> Track:
        """Return the track with the greatest area × duration; an empty one if no face was seen."""
        return max(self.tracks, key=lambda track: track.weight, default=Track())

    def main_around(self, times: Sequence[float], seconds: float) -> Track:
        """Return a track that follows the main face of the ``seconds`` around each frame.

        That window is shifted to lie within the clip, so for a clip no longer than ``seconds`` the result is
        :meth:`main`.

        Args:
            times: times in seconds of all frames, increasing.
            seconds: length of the window, > 0.
        """
        at = np.array(times)
        starts = np.clip(at - seconds / 2, at[0], max(at[0], at[-1] - seconds))
        ends = starts + seconds
        best = np.zeros(len(at))
        owners = np.full(len(at), -1)
        for index, track in enumerate(self.tracks):
            seen = at[list(track.faces)]
            near = slice(np.searchsorted(ends, seen[0]), np.searchsorted(starts, seen[-1], "right"))
            areas = np.cumsum([0.0, *(area(face.box) for face in track.faces.values())])
            first, stop = np.searchsorted(seen, starts[near]), np.searchsorted(seen, ends[near], "right")
            weights = areas[stop] - areas[first]
            better = weights > best[near]
            best[near][better] = weights[better]
            owners[near][better] = index
        mains = ((number, self.tracks[owner].faces) for number, owner in enumerate(owners) if owner >= 0)
        return Track({number: faces[number] for number, faces in mains if number in faces})


def face_arrays(
    times: list[float], track: Track, sizes: list[tuple[int, int]], layout: str
) -> dict[str, np.ndarray]:
    """Return the arrays stored for a clip's main face, one row per frame.

    Args:
        times: time in seconds of each frame.
        track: the main face.
        sizes: ``(height, width)`` of each frame.
        layout: the detector's point layout.

    Returns:
        ``times`` [T] float64 seconds; ``box`` [T, 4] and ``points`` [T, 5, 2] float32 pixels, NaN without a
        face, and ``points`` also if the detector finds none; ``confidence`` [T] float32, 0 without a face;
        ``has_face`` [T] bool; ``transform`` [T, 2, 3] float64 from the frame to the chip. Without a face, the
        chip shows the whole frame (zhou2019 §2.1).
    """
    count = len(times)
    arrays: dict[str, np.ndarray] = {
        "times": np.array(times, np.float64),
        "box": np.full((count, 4), np.nan, np.float32),
        "points": np.full((count, 5, 2), np.nan, np.float32),
        "confidence": np.zeros(count, np.float32),
        "has_face": np.zeros(count, bool),
        "transform": np.array([frame_transform(*size) for size in sizes]).reshape(count, 2, 3),
    }
    for number, face in track.faces.items():
        arrays["box"][number] = face.box
        if face.points is not None:
            arrays["points"][number] = face.points
        arrays["confidence"][number] = face.confidence
        arrays["has_face"][number] = True
        arrays["transform"][number] = face_transform(face.box, face.points, layout)
    return arrays


def overlap(a: np.ndarray, b: np.ndarray) -> float:
    """Return the intersection over union of two boxes ``x0 y0 x1 y1``."""
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    intersection = float(np.prod(np.clip(high - low, 0, None)))
    union = area(a) + area(b) - intersection
    return intersection / union if union > 0 else 0.0


def area(box: np.ndarray) -> float:
    """Return the area of a box ``x0 y0 x1 y1``."""
    return float((box[2] - box[0]) * (box[3] - box[1]))

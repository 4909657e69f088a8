"""Assigns frames of a clip to the segments of its sound (priyasad2019 §3.3).

A segment is places in the clip's own frames: nothing is computed or stored twice where segments overlap.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SECONDS, SHIFT = 0.655, 0.3  # of a segment, and from one to the next (§3.2)
SAME = 1e-6  # seconds: a frame this close before a segment's start or end is taken to be on it
NONE = -1


@dataclass(frozen=True, eq=False)
class SegmentFeatures:
    """The segments of N clips, end to end; every clip has one at least.

    Attributes:
        frames: ``[ΣS, L]`` int64, places in the clip's own frames in their order, -1 behind the last: clips
            of a lower rate have fewer than L, and segments without pictures none.
        counts: ``[N]`` segments of each clip; those with sound have as many as that.
    """

    frames: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, clips: Sequence[np.ndarray]) -> SegmentFeatures:
        """Of each clip's ``[S, L]``, where L may differ."""
        width = max([1, *(part.shape[1] for part in clips)])
        counts = np.array([len(part) for part in clips], dtype=np.int64)
        frames = np.full((counts.sum(), width), NONE, dtype=np.int64)
        for part, start in zip(clips, np.cumsum(counts) - counts, strict=True):
            frames[start : start + len(part), : part.shape[1]] = part
        return cls(frames, counts)


def segments_of(times: np.ndarray, has_face: np.ndarray, spans: np.ndarray | None) -> np.ndarray:
    """The frames of each segment of a clip.

    Args:
        times: ``[T]`` seconds of the clip's frames, rising.
        has_face: ``[T]`` whether there is a face in each.
        spans: ``[S, 2]`` seconds in which the segments of its sound begin and end; None for a clip without
            sound, whose frames are cut as sound would be.

    Returns:
        ``[S, L]``, the L frames of each by :func:`frames_between`; L is 0 where no frame has a face, and S 1
        where there is nothing at all.
    """
    if not has_face.any():
        return np.empty((1 if spans is None else len(spans), 0), dtype=np.int64)
    if spans is None:
        spans = shifted_spans(times)
    count = frames_a_segment(times)
    faces = nearest_faces(times, has_face)
    return np.stack([faces[frames_between(times, start, end, count)] for start, end in spans])


def frames_a_segment(times: np.ndarray) -> int:
    """655 ms at the mean rate of a clip's frames, rounded: 20 at 30 a second; 1 for a single frame."""
    duration = times[-1] - times[0]
    return max(1, round(SECONDS * (len(times) - 1) / duration)) if duration > 0 else 1


def nearest_faces(times: np.ndarray, has_face: np.ndarray) -> np.ndarray:
    """For each frame itself, or where it has no face the nearest in time that has one (§3.3, 1.).

    Args:
        times, has_face: see :func:`segments_of`; one frame at least has a face.

    Returns:
        ``[T]`` int64 places of frames.
    """
    (faces,) = np.nonzero(has_face)
    return faces[nearest(times[faces], times)]


def frames_between(times: np.ndarray, start: float, end: float, count: int) -> np.ndarray:
    """The ``count`` frames that stand for the time from ``start`` to before ``end`` (§3.3, 2. and 3.).

    Of n frames, where n is more than ``count``, half of the rest is left out at either end; where it is
    less, the first and the last are repeated for half of the missing ones each. Of an odd number, the odd
    one is at the end. Where there is no frame, the nearest to the middle stands for all.

    Args:
        times: ``[T]`` seconds of the clip's frames, rising; one at least.
        start, end: seconds.
        count: how many are wanted.

    Returns:
        ``[count]`` int64 places of frames.
    """
    first, stop = np.searchsorted(times, (start - SAME, end - SAME))
    if first == stop:
        return np.full(count, nearest(times, np.array((start + end) / 2)))
    spare = (stop - first - count) // 2 if stop - first > count else -((count - (stop - first)) // 2)
    return np.arange(first + spare, first + spare + count).clip(first, stop - 1)


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """The place of the nearest of ``times`` ``[T]``, rising and one at least, to each of ``wanted`` seconds;
    of two equally near, the earlier.
    """
    after = np.searchsorted(times, wanted).clip(max=len(times) - 1)
    before = (after - 1).clip(min=0)
    return np.where(np.abs(wanted - times[before]) <= np.abs(times[after] - wanted) + SAME, before, after)


def shifted_spans(times: np.ndarray) -> np.ndarray:
    """``[S, 2]`` seconds of segments every 300 ms from the first of a clip's frames: as many as end by its
    last one, or one."""
    room = times[-1] - times[0] - SECONDS + SAME
    starts = times[0] + SHIFT * np.arange(max(0, int(room // SHIFT)) + 1)
    return np.stack([starts, starts + SECONDS], axis=1)

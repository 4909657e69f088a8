"""Assigns frames of a clip to the segments of its sound (priyasad2019 §3.3).

A segment is a list of frame indices, so overlapping segments are not computed or stored twice.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

SECONDS, SHIFT = 0.655, 0.3  # length of a segment, and step to the next (§3.2)
SAME = 1e-6  # seconds; a frame this close before a segment's start or end counts as on it
NONE = -1


@dataclass(frozen=True, eq=False)
class SegmentFeatures:
    """The segments of N clips, concatenated; every clip has at least one.

    Attributes:
        frames: ``[ΣS, L]`` int64 frame indices within the clip, in order, padded with -1: clips of a lower
            frame rate have fewer than L, segments without pictures none.
        counts: ``[N]`` number of segments of each clip; equal to that of its sound, if it has any.
    """

    frames: np.ndarray
    counts: np.ndarray

    @classmethod
    def of(cls, clips: Sequence[np.ndarray]) -> SegmentFeatures:
        """Concatenate each clip's ``[S, L]``; L may differ between clips."""
        width = max([1, *(part.shape[1] for part in clips)])
        counts = np.array([len(part) for part in clips], dtype=np.int64)
        frames = np.full((counts.sum(), width), NONE, dtype=np.int64)
        for part, start in zip(clips, np.cumsum(counts) - counts, strict=True):
            frames[start : start + len(part), : part.shape[1]] = part
        return cls(frames, counts)


def segments_of(times: np.ndarray, has_face: np.ndarray, spans: np.ndarray | None) -> np.ndarray:
    """Return the frames of each segment of a clip.

    Args:
        times: ``[T]`` seconds of the clip's frames, ascending.
        has_face: ``[T]`` whether each frame has a face.
        spans: ``[S, 2]`` start and end in seconds of the segments of the sound; None for a clip without
            sound, whose frames are cut as sound would be.

    Returns:
        ``[S, L]``, the L frames of each segment by :func:`frames_between`. L is 0 if no frame has a face; S
        is 1 if there is no sound either.
    """
    if not has_face.any():
        return np.empty((1 if spans is None else len(spans), 0), dtype=np.int64)
    if spans is None:
        spans = shifted_spans(times)
    count = frames_a_segment(times)
    faces = nearest_faces(times, has_face)
    return np.stack([faces[frames_between(times, start, end, count)] for start, end in spans])


def frames_a_segment(times: np.ndarray) -> int:
    """Return the number of frames in 655 ms at the clip's mean frame rate: 20 at 30/s; at least 1."""
    duration = times[-1] - times[0]
    return max(1, round(SECONDS * (len(times) - 1) / duration)) if duration > 0 else 1


def nearest_faces(times: np.ndarray, has_face: np.ndarray) -> np.ndarray:
    """Return for each frame the nearest frame with a face, itself if it has one (§3.3, 1.).

    Args:
        times, has_face: see :func:`segments_of`; at least one frame has a face.

    Returns:
        ``[T]`` int64 frame indices.
    """
    (faces,) = np.nonzero(has_face)
    return faces[nearest(times[faces], times)]


def frames_between(times: np.ndarray, start: float, end: float, count: int) -> np.ndarray:
    """Return ``count`` frames for the time from ``start`` to before ``end`` (§3.3, 2. and 3.).

    Surplus frames are dropped equally at both ends. Missing frames are filled by repeating the first and the
    last frame equally often. If the number to drop or fill is odd, the odd one is at the end. If there is no
    frame, the one nearest to the middle is repeated.

    Args:
        times: ``[T]`` seconds of the clip's frames, ascending, at least one.
        start, end: seconds.
        count: number of frames to return.

    Returns:
        ``[count]`` int64 frame indices.
    """
    first, stop = np.searchsorted(times, (start - SAME, end - SAME))
    if first == stop:
        return np.full(count, nearest(times, np.array((start + end) / 2)))
    spare = (stop - first - count) // 2 if stop - first > count else -((count - (stop - first)) // 2)
    return np.arange(first + spare, first + spare + count).clip(first, stop - 1)


def nearest(times: np.ndarray, wanted: np.ndarray) -> np.ndarray:
    """Return the index of the nearest of ``times`` to each of ``wanted`` seconds; the earlier one on a tie.

    Args:
        times: ``[T]`` seconds, ascending, at least one.
        wanted: seconds to look up.
    """
    after = np.searchsorted(times, wanted).clip(max=len(times) - 1)
    before = (after - 1).clip(min=0)
    return np.where(np.abs(wanted - times[before]) <= np.abs(times[after] - wanted) + SAME, before, after)


def shifted_spans(times: np.ndarray) -> np.ndarray:
    """Return start and end in seconds ``[S, 2]`` of segments every 300 ms from the clip's first frame.

    All segments end by the last frame; if none fits, there is one.
    """
    room = times[-1] - times[0] - SECONDS + SAME
    starts = times[0] + SHIFT * np.arange(max(0, int(room // SHIFT)) + 1)
    return np.stack([starts, starts + SECONDS], axis=1)

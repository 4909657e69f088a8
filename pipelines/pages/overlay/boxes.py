"""Interpolates the face box between the frames of a face track."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np

MIN_OVERLAP = 0.1  # least overlap of two boxes of the same face, as a share of the smaller; less means a cut


class Boxes:
    """The face box at any time.

    Between two boxes of the same face, the box is interpolated linearly. Next to a frame without a face, and
    between boxes that are far apart, the nearest frame of the track decides.

    Args:
        faces: ``times`` ``[T]`` in seconds, increasing, and ``box`` ``[T, 4]`` in pixels, NaN without a face.
    """

    def __init__(self, faces: Mapping[str, np.ndarray]) -> None:
        self._times, self._boxes = faces["times"], faces["box"].astype(np.float64)

    def at(self, seconds: float) -> np.ndarray | None:
        """Return ``x0 y0 x1 y1``, or None if there is no face."""
        after = int(np.searchsorted(self._times, seconds))
        before = max(0, after - 1)
        after = min(after, len(self._times) - 1)
        start, end = self._times[before], self._times[after]
        share = float(np.clip((seconds - start) / (end - start), 0, 1)) if end > start else 0.0
        a, b = self._boxes[before], self._boxes[after]
        box = (1 - share) * a + share * b if _same_face(a, b) else (a if share < 0.5 else b)
        return None if np.isnan(box).any() else box


def _same_face(a: np.ndarray, b: np.ndarray) -> bool:
    low, high = np.maximum(a[:2], b[:2]), np.minimum(a[2:], b[2:])
    both = np.prod(np.clip(high - low, 0, None))  # NaN without a face: the comparison is then False
    return bool(both > MIN_OVERLAP * min(np.prod(a[2:] - a[:2]), np.prod(b[2:] - b[:2])))

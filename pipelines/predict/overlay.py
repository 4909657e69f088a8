"""Draws the expressions of a film on the film."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np

from ..pages.overlay.boxes import Boxes
from ..pages.overlay.picture import Canvas
from ..pages.overlay.video import Film, write_overlay
from .expressions import FilmExpressions

STEP = 0.1
"""Seconds between updates of the bars, which show the smoothed probabilities."""
MARK = "expression as raters name it"


def draw(found: FilmExpressions, target: Path, reached: Callable[[float], None]) -> Film:
    """Write the film with the face's box, its expression and a bar for each class.

    Raises:
        ClipError: the film can no longer be read.
        InputError, FusionError: ``target`` cannot be written.
    """
    grid = np.arange(0.0, found.times[-1] + STEP, STEP)
    after = np.clip(np.searchsorted(found.times, grid), 1, len(found.times)) - 1
    later = np.minimum(after + 1, len(found.times) - 1)
    nearest = np.where(found.times[later] - grid < grid - found.times[after], later, after)
    seen = found.has_face[nearest]
    canvas = Canvas(
        found.classes,
        np.where(seen[:, None], found.probabilities[nearest], 0),
        [f"{time:.1f} s" if has else f"{time:.1f} s, no face" for time, has in zip(grid, seen, strict=True)],
        seen,
        None,
        found.seconds,
        lambda times: np.clip(np.round(times / STEP), 0, len(grid) - 1).astype(np.int64),
        MARK,
    )
    boxes = Boxes({"times": found.times, "box": found.boxes})
    return write_overlay(
        found.film, target, lambda frame: canvas(frame.image, boxes.at(frame.time), frame.time), reached
    )

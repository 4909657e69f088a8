"""Facial markers: where they are over a clip, out of the recording of motion that the clip was cut from.

A recording is a text: header lines, then 120 times a second a line with a frame's number, its seconds, and
x, y, z of each of 55 markers in the head's own coordinates, NaN where the cameras did not see one.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np

from .errors import ClipError

MARKERS = "markers"
COUNT, AXES, RATE = 55, 3, 120
MARGIN = 1.0  # seconds on either side of a clip in which what fills a gap at its ends is looked for
FEWEST, WHOLE, MOST = 0.5, 0.9, 1.5  # of the frames that a clip's seconds promise
LONGEST_LINE = 1 << 16

SETTINGS: dict[str, Any] = {"markers": COUNT, "rate": RATE, "gaps": "linear in time", "margin": MARGIN}
"""What changes the values, for the stream's key."""


@dataclass(frozen=True)
class MarkerSpan:
    """Where a clip's markers are.

    Attributes:
        path: the recording.
        start, end: the clip's first and last moment in it, in seconds.
        absent: why the clip has no markers; empty where it has.
    """

    path: str
    start: float
    end: float
    absent: str = ""


@dataclass(frozen=True, eq=False)
class Markers:
    """A clip's markers.

    Attributes:
        positions: ``[T, 3, 55]`` float32, x, y, z of each marker in the recording's unit (millimetres). NaN
            throughout for a marker that is never seen.
        times: ``[T]`` seconds since the start of the clip.
        warning: what of the recording could not be read; empty where all could.
    """

    positions: np.ndarray
    times: np.ndarray
    warning: str = ""

    @property
    def unseen(self) -> int:
        """How many markers are never seen."""
        return int(np.isnan(self.positions).any(axis=(0, 1)).sum())


def read_markers(span: MarkerSpan) -> Markers:
    """The frames of a recording from ``span.start`` until ``span.end``, the gaps in them filled.

    Where a marker was not seen, its position is interpolated linearly in time; up to a second on either side
    of the clip is looked at for that. Before it is first and after it is last seen, it stays where it is.

    Raises:
        ClipError: the recording cannot be read, or holds no such frames or far from 120 of them a second.
    """
    times: list[float] = []
    rows: list[np.ndarray] = []
    broken: list[int] = []
    last = np.nan
    for number, line in enumerate(_lines(Path(span.path)), start=1):
        time, values = _parts(line)
        if time < span.start - MARGIN or time > span.end + MARGIN:
            last = np.nan
            continue
        last = last if np.isnan(time) else time
        positions = _positions(values)
        if positions is not None and not np.isnan(time) and not (times and time < times[-1]):
            times.append(time)
            rows.append(positions)
        elif span.start <= last < span.end:  # a line without a time lies where the one before it does
            broken.append(number)
    clock = np.array(times)
    inside = (clock >= span.start) & (clock < span.end)
    warning = _checked(span, int(inside.sum()), broken)
    filled = without_gaps(np.stack(rows), clock)[inside]
    if np.isnan(filled).all():
        raise ClipError(f"no marker is seen in any of {len(filled)} frames of {Path(span.path).name}")
    return Markers(filled, clock[inside] - span.start, warning)


def without_gaps(positions: np.ndarray, times: np.ndarray) -> np.ndarray:
    """NaN replaced by what lies between the values before and after it, linearly in time.

    At either end the nearest value stands. A column of NaN throughout stays as it is.

    Args:
        positions: ``[T, ...]``.
        times: ``[T]`` seconds, not decreasing.
    """
    columns = positions.reshape(len(positions), -1).copy()
    missing = np.isnan(columns)
    for place in np.flatnonzero(missing.any(axis=0) & ~missing.all(axis=0)):
        gaps, column = missing[:, place], columns[:, place]
        column[gaps] = np.interp(times[gaps], times[~gaps], column[~gaps])
    return columns.reshape(positions.shape)


def _lines(path: Path) -> Iterator[bytes]:
    """The lines of a file, one at a time: a recording of minutes is tens of megabytes."""
    try:
        with path.open("rb") as file:
            yield from iter(partial(file.readline, LONGEST_LINE), b"")
    except OSError as error:
        raise ClipError(f"{path.name} cannot be read: {error.strerror}") from error


def _parts(line: bytes) -> tuple[float, bytes]:
    """A line's seconds, NaN where it has none, and what follows them."""
    parts = line.split(None, 2)
    try:
        return float(parts[1]), parts[2]
    except (ValueError, IndexError):
        return np.nan, b""


def _positions(values: bytes) -> np.ndarray | None:
    """``[3, 55]`` float32, what is not finite as NaN; None for anything but 165 numbers."""
    try:
        numbers = np.array([float(value) for value in values.split()])
    except ValueError:
        return None
    if len(numbers) != COUNT * AXES:
        return None
    with np.errstate(over="ignore"):  # becomes infinite, and so NaN
        positions = numbers.astype(np.float32).reshape(COUNT, AXES).T
    return np.where(np.isfinite(positions), positions, np.float32(np.nan))


def _checked(span: MarkerSpan, frames: int, broken: list[int]) -> str:
    """What is wrong with so many frames of a span and the numbers of lines that could not be read.

    Raises:
        ClipError: they are too few or too many.
    """
    name, seconds = Path(span.path).name, span.end - span.start
    promised = seconds * RATE
    unread = (
        f"{len(broken)} lines of {name} from line {broken[0]} on are no frame of {COUNT} markers"
        if broken
        else ""
    )
    if not frames or not FEWEST * promised <= frames <= MOST * promised:
        told = f"{name} has {frames} frames from {span.start:.2f} to {span.end:.2f} s"
        raise ClipError(f"{told}, {RATE} a second are expected{unread and f'; {unread}'}")
    if not unread and frames < WHOLE * promised:
        return f"{name} has {frames} frames for {seconds:.2f} s, {promised:.0f} are expected"
    return unread

"""Facial markers: their positions during a clip, from the motion-capture recording the clip was cut from.

A recording is a text file: header lines, then 120 lines a second with the frame's number, its time in seconds
and x, y, z of each of 55 markers in head coordinates, NaN for markers not seen by the cameras.
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
MARGIN = 1.0  # seconds on either side of a clip that may be used to fill gaps at its ends
FEWEST, WHOLE, MOST = 0.5, 0.9, 1.5  # shares of the frames expected for a clip's duration
LONGEST_LINE = 1 << 16

SETTINGS: dict[str, Any] = {"markers": COUNT, "rate": RATE, "gaps": "linear in time", "margin": MARGIN}
"""Settings that change the values, for the stream's key."""


@dataclass(frozen=True)
class MarkerSpan:
    """The location of a clip's markers.

    Attributes:
        path: the recording.
        start, end: the clip's start and end in the recording, in seconds.
        absent: why the clip has no markers; empty if it has.
    """

    path: str
    start: float
    end: float
    absent: str = ""


@dataclass(frozen=True, eq=False)
class Markers:
    """A clip's markers.

    Attributes:
        positions: ``[T, 3, 55]`` float32, x, y, z of each marker in the recording's unit (millimetres). All
            NaN for a marker that is never seen.
        times: ``[T]`` seconds since the start of the clip.
        warning: what could not be read or is missing; empty if nothing.
    """

    positions: np.ndarray
    times: np.ndarray
    warning: str = ""

    @property
    def unseen(self) -> int:
        """Number of markers that are never seen."""
        return int(np.isnan(self.positions).any(axis=(0, 1)).sum())


def read_markers(span: MarkerSpan) -> Markers:
    """Read the frames of a recording from ``span.start`` until ``span.end`` and fill their gaps.

    Positions of unseen markers are interpolated linearly in time, using up to a second on either side of the
    clip. Before a marker is first seen and after it is last seen, the nearest position is repeated.

    Raises:
        ClipError: the recording cannot be read, or has no frames in the span or far from 120 a second.
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
        elif span.start <= last < span.end:  # a line without a time belongs to the time of the previous one
            broken.append(number)
    clock = np.array(times)
    inside = (clock >= span.start) & (clock < span.end)
    warning = _warning_of(span, int(inside.sum()), broken)
    filled = without_gaps(np.stack(rows), clock)[inside]
    if np.isnan(filled).all():
        raise ClipError(f"no marker is seen in any of {len(filled)} frames of {Path(span.path).name}")
    return Markers(filled, clock[inside] - span.start, warning)


def without_gaps(positions: np.ndarray, times: np.ndarray) -> np.ndarray:
    """Replace NaN by linear interpolation in time.

    At either end, the nearest value is repeated. Columns that are all NaN stay as they are.

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
    """Yield the lines of a file one at a time: a recording of a few minutes takes tens of megabytes."""
    try:
        with path.open("rb") as file:
            yield from iter(partial(file.readline, LONGEST_LINE), b"")
    except OSError as error:
        raise ClipError(f"{path.name} cannot be read: {error.strerror}") from error


def _parts(line: bytes) -> tuple[float, bytes]:
    """Split a line into its time in seconds (NaN if it has none) and its values."""
    parts = line.split(None, 2)
    try:
        return float(parts[1]), parts[2]
    except (ValueError, IndexError):
        return np.nan, b""


def _positions(values: bytes) -> np.ndarray | None:
    """Parse ``[3, 55]`` float32, with NaN for values that are not finite; None unless there are 165."""
    try:
        numbers = np.array([float(value) for value in values.split()])
    except ValueError:
        return None
    if len(numbers) != COUNT * AXES:
        return None
    with np.errstate(over="ignore"):  # overflow becomes infinity, then NaN
        positions = numbers.astype(np.float32).reshape(COUNT, AXES).T
    return np.where(np.isfinite(positions), positions, np.float32(np.nan))


def _warning_of(span: MarkerSpan, frames: int, broken: list[int]) -> str:
    """Return a warning, or the empty string, for a span with so many frames and these broken lines.

    Raises:
        ClipError: there are too few or too many frames.
    """
    name, seconds = Path(span.path).name, span.end - span.start
    expected = seconds * RATE
    broken_note = (
        f"{len(broken)} lines of {name} from line {broken[0]} on are not frames of {COUNT} markers"
        if broken
        else ""
    )
    if not frames or not FEWEST * expected <= frames <= MOST * expected:
        count_text = f"{name} has {frames} frames from {span.start:.2f} to {span.end:.2f} s"
        raise ClipError(f"{count_text}, {RATE} a second are expected{broken_note and f'; {broken_note}'}")
    if not broken_note and frames < WHOLE * expected:
        return f"{name} has {frames} frames for {seconds:.2f} s, {expected:.0f} are expected"
    return broken_note

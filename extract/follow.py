"""Follows a film's main face: looks for faces in every Nth frame, and moves evenly between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass

import numpy as np

from .align import face_transform
from .decode.media import Frame, Media
from .detectors import Detector, Face
from .errors import ClipError
from .track import MIN_OVERLAP, Track, Tracker, area, overlap


@dataclass(frozen=True, eq=False)
class FollowedFace:
    """Where the main face is in each of T frames.

    Attributes:
        times: ``[T]`` rising seconds.
        boxes: ``[T, 4]`` ``x0 y0 x1 y1`` in pixels, NaN where there is no face.
        points: ``[T, 5, 2]`` pixels, NaN without a face, and with a detector that finds none.
        shots: ``[T]`` a number that grows wherever the face is elsewhere than before: a cut, or another
            person.
        examined: in how many frames faces were looked for.
        crowded: in how many of these more than one was found.
        layout: the template of the detector's points.
    """

    times: np.ndarray
    boxes: np.ndarray
    points: np.ndarray
    shots: np.ndarray
    examined: int
    crowded: int
    layout: str

    @property
    def has_face(self) -> np.ndarray:
        """``[T]`` whether there is a face."""
        return ~np.isnan(self.boxes[:, 0])

    def transform(self, number: int) -> np.ndarray:
        """``[2, 3]`` from a frame that has a face to the aligned chip."""
        points = self.points[number]
        return face_transform(
            self.boxes[number], None if np.isnan(points).any() else points.astype(np.float64), self.layout
        )


def follow(
    media: Media,
    detector: Detector,
    every: int,
    seconds: float,
    on_frame: Callable[[float], None],
) -> FollowedFace:
    """Look for faces in every Nth frame of a film, and in the last, and follow the main one.

    One frame is in memory at a time. A face that is found in two examined frames, in boxes that overlap as
    those of a track do, moves evenly from one to the other. Any other frame is as the nearest one that was
    examined.

    Args:
        media: the film.
        detector: finds faces.
        every: N; 1 looks in every frame.
        seconds: of the faces in view, the main one has the greatest area × duration in so many seconds around
            the frame.
        on_frame: called with each frame's time.

    Raises:
        ClipError: the film cannot be read, or has no frame that can be decoded.
    """
    if not media.has_video:
        raise ClipError("has no video stream; name a film")
    tracker = Tracker()
    times: list[float] = []
    examined: list[int] = []
    crowded = 0

    def examine(frame: Frame) -> None:
        nonlocal crowded
        faces = detector(frame.image)
        tracker.add(len(examined), frame.time, faces)
        examined.append(len(times) - 1)
        crowded += len(faces) > 1

    waiting: Frame | None = None
    for frame in media.frames():
        times.append(frame.time)
        waiting = frame
        if (len(times) - 1) % every == 0:
            examine(frame)
            waiting = None
        on_frame(frame.time)
    if not times:
        raise ClipError("has a video stream, but no frame of it can be decoded; replace the file")
    if waiting is not None:
        examine(waiting)
    at = np.array(times)
    numbers = np.array(examined)
    main = _main(tracker.tracks, at[numbers], seconds)
    return _filled(at, numbers, main, crowded, detector.layout)


def _main(tracks: Iterable[Track], at: np.ndarray, seconds: float) -> dict[int, Face]:
    """The main face by the number of the examined frame, ``at`` being their times.

    :meth:`.Tracker.main_around` asks who the main person of some time is, in view or not, which after each
    cut leaves frames without a face. Here only those compete who are in view, or lost for a moment.
    """
    best = np.zeros(len(at))
    owners: list[Track | None] = [None] * len(at)
    for track in tracks:
        numbers = np.array(list(track.faces))
        span = np.arange(numbers[0], numbers[-1] + 1)
        areas = np.cumsum([0.0, *(area(face.box) for face in track.faces.values())])
        first = np.searchsorted(at[numbers], at[span] - seconds / 2)
        stop = np.searchsorted(at[numbers], at[span] + seconds / 2, side="right")
        weights = areas[stop] - areas[first]
        for number in span[weights > best[span]].tolist():
            owners[number] = track
        best[span] = np.maximum(best[span], weights)
    return {
        number: track.faces[number] for number, track in enumerate(owners) if track and number in track.faces
    }


def _filled(
    times: np.ndarray, examined: np.ndarray, faces: Mapping[int, Face], crowded: int, layout: str
) -> FollowedFace:
    """The face in every frame from that in the ``examined`` ones (indices, rising)."""
    values = np.full((len(examined), 14), np.nan)
    for number, face in faces.items():
        values[number, :4] = face.box
        if face.points is not None:
            values[number, 4:] = face.points.reshape(-1)
    frames = np.arange(len(times))
    after = np.searchsorted(examined, frames)
    before = np.maximum(after - (examined[after] > frames), 0)
    start, length = times[examined[before]], times[examined[after]] - times[examined[before]]
    share = np.divide(times - start, length, out=np.zeros(len(times)), where=length > 0)
    same = np.array([*map(_same, values, values[1:]), True])[before]
    nearest = np.where(share < 0.5, before, after)
    moved = (1 - share)[:, None] * values[before] + share[:, None] * values[after]
    found = np.where(same[:, None], moved, values[nearest]).astype(np.float32)
    return FollowedFace(
        times,
        found[:, :4],
        found[:, 4:].reshape(-1, 5, 2),
        _shots(values)[nearest],
        len(examined),
        crowded,
        layout,
    )


def _same(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two rows are of one face that moved; NaN is none."""
    return overlap(a[:4], b[:4]) >= MIN_OVERLAP


def _shots(values: np.ndarray) -> np.ndarray:
    """A number for each row, which grows where the face jumps; a row without a face has that before it."""
    shots = np.zeros(len(values), np.int64)
    last: np.ndarray | None = None
    for number, row in enumerate(values):
        shots[number] = shots[max(0, number - 1)]
        if np.isnan(row[0]):
            continue
        if last is not None and not _same(last, row):
            shots[number] += 1
        last = row
    return shots

"""Follows a film's main face: detects faces in every Nth frame and interpolates between them."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from .align import face_transform
from .decode.media import Frame, Media
from .detectors import Detector, Face
from .errors import ClipError
from .track import MIN_OVERLAP, Track, Tracker, area, overlap


class FaceSearch:
    """Detects faces in every Nth frame of a clip, and in the last one.

    If the boxes of a face in two successive examined frames overlap enough for one track, the face is
    interpolated linearly between them. Any other frame takes the face of the nearest examined frame.

    Args:
        detector: the face detector.
        every: N; 1 examines every frame.

    Attributes:
        times: times in seconds of the frames read so far.
        examined: numbers of the examined frames; the tracker numbers frames by position in this list.
        crowded: number of examined frames with more than one face.
        tracker: tracker of the faces found.
    """

    def __init__(self, detector: Detector, every: int) -> None:
        self.times: list[float] = []
        self.examined: list[int] = []
        self.crowded = 0
        self.tracker = Tracker()
        self._detector = detector
        self._every = every

    def frames(self, media: Media) -> Iterator[Frame]:
        """Yield each frame of a clip, examining every Nth. The last one is examined when the iteration ends.

        Raises:
            ClipError: the clip cannot be read, or none of its frames can be decoded.
        """
        waiting: Frame | None = None
        for frame in media.frames():
            self.times.append(frame.time)
            waiting = frame
            if (len(self.times) - 1) % self._every == 0:
                self._examine(frame)
                waiting = None
            yield frame
        if not self.times:
            raise ClipError("has a video stream, but no frame of it can be decoded; replace the file")
        if waiting is not None:
            self._examine(waiting)

    @property
    def times_examined(self) -> list[float]:
        """Times in seconds of the examined frames."""
        return [self.times[number] for number in self.examined]

    def interpolate(self, faces: Mapping[int, Face]) -> dict[int, Face]:
        """Return the main face by frame number, given the faces by position in :attr:`examined`."""
        found, _ = _interpolate(
            np.array(self.times), np.array(self.examined), _values(len(self.examined), faces)
        )
        return {
            number: Face(row[:4], None if np.isnan(row[4]) else row[4:14].reshape(5, 2), float(row[14]))
            for number, row in enumerate(found)
            if not np.isnan(row[0])
        }

    def _examine(self, frame: Frame) -> None:
        faces = self._detector(frame.image)
        self.tracker.add(len(self.examined), frame.time, faces)
        self.examined.append(len(self.times) - 1)
        self.crowded += len(faces) > 1


@dataclass(frozen=True, eq=False)
class FollowedFace:
    """The position of the main face in each of T frames.

    Attributes:
        times: ``[T]`` seconds, increasing.
        boxes: ``[T, 4]`` ``x0 y0 x1 y1`` in pixels, NaN without a face.
        points: ``[T, 5, 2]`` pixels, NaN without a face or if the detector finds no points.
        shots: ``[T]`` number that increases whenever the face jumps, at a cut or to another person.
        examined: number of frames in which faces were searched.
        crowded: number of these with more than one face.
        layout: the detector's point layout.
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
        """``[T]`` whether the frame has a face."""
        return ~np.isnan(self.boxes[:, 0])

    def transform(self, number: int) -> np.ndarray:
        """Return the matrix ``[2, 3]`` from a frame to its aligned chip; the frame must have a face."""
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
    """Detect faces in a film by :class:`FaceSearch` and follow the main one.

    Only one frame is in memory at a time.

    Args:
        media: the film.
        detector: the face detector.
        every: N; 1 examines every frame.
        seconds: length of the window around each frame in which area × duration decides which of the faces in
            view is the main one.
        on_frame: called with each frame's time.

    Raises:
        ClipError: the film cannot be read, or none of its frames can be decoded.
    """
    if not media.has_video:
        raise ClipError("has no video stream; name a film")
    search = FaceSearch(detector, every)
    for frame in search.frames(media):
        on_frame(frame.time)
    main = _main_faces(search.tracker.tracks, np.array(search.times_examined), seconds)
    values = _values(len(search.examined), main)
    times = np.array(search.times)
    found, nearest = _interpolate(times, np.array(search.examined), values)
    found = found.astype(np.float32)
    return FollowedFace(
        times,
        found[:, :4],
        found[:, 4:14].reshape(-1, 5, 2),
        _shots(values)[nearest],
        len(search.examined),
        search.crowded,
        detector.layout,
    )


def _main_faces(tracks: Iterable[Track], at: np.ndarray, seconds: float) -> dict[int, Face]:
    """Return the main face by number of the examined frame; ``at`` has their times.

    :meth:`.Tracker.main_around` finds the main person of a period, in view or not, which leaves frames
    without a face after each cut. Here, only faces compete that are in view or lost for a moment.
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


def _values(count: int, faces: Mapping[int, Face]) -> np.ndarray:
    """Return box, points and confidence of each face as rows ``[count, 15]``, NaN where missing."""
    values = np.full((count, 15), np.nan)
    for number, face in faces.items():
        values[number, :4] = face.box
        if face.points is not None:
            values[number, 4:14] = face.points.reshape(-1)
        values[number, 14] = face.confidence
    return values


def _interpolate(
    times: np.ndarray, examined: np.ndarray, values: np.ndarray
) -> tuple[np.ndarray, np.ndarray]:
    """Interpolate rows for all frames; return them with each frame's nearest examined row.

    Args:
        times: ``[T]`` seconds of all frames.
        examined: increasing frame numbers of the rows in ``values``.
        values: rows of the examined frames.
    """
    frames = np.arange(len(times))
    after = np.searchsorted(examined, frames)
    before = np.maximum(after - (examined[after] > frames), 0)
    start, length = times[examined[before]], times[examined[after]] - times[examined[before]]
    share = np.divide(times - start, length, out=np.zeros(len(times)), where=length > 0)
    same = np.array([*map(_same_face, values, values[1:]), True])[before]
    nearest = np.where(share < 0.5, before, after)
    moved = (1 - share)[:, None] * values[before] + share[:, None] * values[after]
    return np.where(same[:, None], moved, values[nearest]), nearest


def _same_face(a: np.ndarray, b: np.ndarray) -> bool:
    """Whether two rows are of one face that moved; false for NaN."""
    return overlap(a[:4], b[:4]) >= MIN_OVERLAP


def _shots(values: np.ndarray) -> np.ndarray:
    """Number the rows so that the number increases when the face jumps; rows without a face keep it."""
    shots = np.zeros(len(values), np.int64)
    last: np.ndarray | None = None
    for number, row in enumerate(values):
        shots[number] = shots[max(0, number - 1)]
        if np.isnan(row[0]):
            continue
        if last is not None and not _same_face(last, row):
            shots[number] += 1
        last = row
    return shots

"""Follows a film's main face: looks for faces in every Nth frame, and moves evenly between them."""

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
    """Looks for faces in every Nth frame of a clip, and in the last.

    A face that is found in two examined frames that follow each other, in boxes that overlap as those of a
    track do, moves evenly from one to the other. Any other frame is as the nearest one that was examined.

    Args:
        detector: finds faces.
        every: N; 1 looks in every frame.

    Attributes:
        times: seconds of the frames that were read.
        examined: which of them were looked at; the tracker knows them by their places in this list.
        crowded: in how many of these more than one face was found.
        tracker: has their faces.
    """

    def __init__(self, detector: Detector, every: int) -> None:
        self.times: list[float] = []
        self.examined: list[int] = []
        self.crowded = 0
        self.tracker = Tracker()
        self._detector = detector
        self._every = every

    def frames(self, media: Media) -> Iterator[Frame]:
        """Each frame of a clip, looked at if it is to be; the last one is when no more are asked for.

        Raises:
            ClipError: the clip cannot be read, or has no frame that can be decoded.
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
        """Seconds of the frames that were looked at."""
        return [self.times[number] for number in self.examined]

    def between(self, faces: Mapping[int, Face]) -> dict[int, Face]:
        """The main face by the number of the frame, from that by the places of :attr:`examined`."""
        found, _ = _between(np.array(self.times), np.array(self.examined), _values(len(self.examined), faces))
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
    """Look for faces in a film as :class:`FaceSearch` does, and follow the main one.

    One frame is in memory at a time.

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
    search = FaceSearch(detector, every)
    for frame in search.frames(media):
        on_frame(frame.time)
    main = _main(search.tracker.tracks, np.array(search.times_examined), seconds)
    values = _values(len(search.examined), main)
    times = np.array(search.times)
    found, nearest = _between(times, np.array(search.examined), values)
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


def _values(count: int, faces: Mapping[int, Face]) -> np.ndarray:
    """``[count, 15]`` box, points and confidence by the number of the row, NaN where there is none."""
    values = np.full((count, 15), np.nan)
    for number, face in faces.items():
        values[number, :4] = face.box
        if face.points is not None:
            values[number, 4:14] = face.points.reshape(-1)
        values[number, 14] = face.confidence
    return values


def _between(times: np.ndarray, examined: np.ndarray, values: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Rows for all frames from those of the ``examined`` ones (indices, rising), and the nearest of these."""
    frames = np.arange(len(times))
    after = np.searchsorted(examined, frames)
    before = np.maximum(after - (examined[after] > frames), 0)
    start, length = times[examined[before]], times[examined[after]] - times[examined[before]]
    share = np.divide(times - start, length, out=np.zeros(len(times)), where=length > 0)
    same = np.array([*map(_same, values, values[1:]), True])[before]
    nearest = np.where(share < 0.5, before, after)
    moved = (1 - share)[:, None] * values[before] + share[:, None] * values[after]
    return np.where(same[:, None], moved, values[nearest]), nearest


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

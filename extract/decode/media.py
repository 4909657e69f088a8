"""Reads clips: frames with their actual times, and sound as 16 kHz mono."""

from __future__ import annotations

import errno
import itertools
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import cached_property
from itertools import pairwise
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from ..errors import ClipError
from ..stopwatch import DECODE, clocked
from .clock import Clock, start_of
from .deinterlace import Timed, deinterlaced
from .heard import SoundDecoder, sound_stream
from .pictures import MOST_PIXELS, describe, largest_picture, picture, refuse_huge

# Metadata may have any encoding; from version 19 on, PyAV handles that by itself.
_ANY_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

FAR = 20.0  # seconds between wanted frames from which seeking pays; keyframes are closer together
BACK = 1.0  # seconds to seek before a frame: the first frames after a keyframe may lack a reference


@dataclass(frozen=True)
class Frame:
    """A video frame: seconds since the start of the clip, and RGB ``[H, W, 3]`` uint8."""

    time: float
    image: np.ndarray


class Media:
    """A clip's file. Every method opens it anew, so frames can be read more than once.

    Frames and sound are streamed, so memory does not grow with the clip. Both are timed from the start of the
    container; sound that begins later is preceded by silence.

    Args:
        path: any file that FFmpeg reads.
        max_frames: maximum number of frames, spread evenly over the clip; None for all.

    Attributes:
        warnings: defects of the file, as far as it has been read.
        changes: changes to its frames beyond decoding, such as ``deinterlaced``.
        size: width and height of the last frame read.
        notes: remarks on sound that is unusual but intact.

    Raises:
        ClipError: in every method, if the file cannot be opened.
    """

    def __init__(self, path: str | Path, max_frames: int | None = None) -> None:
        self.path = Path(path)
        self.max_frames = max_frames
        self.warnings: list[str] = []
        self.changes: list[str] = []
        self.notes: list[str] = []
        self.size = (0, 0)
        self._lost = 0
        with self.opened() as container:
            video = _video_stream(container)
            self.has_video = video is not None
            self.frame_rate = float(video.average_rate or 0) if video else 0.0
            self.has_sound = sound_stream(container) is not None

    @cached_property
    def clock(self) -> Clock:
        """The clip's clock, continuous where the file's own restarts; building it reads all packets."""
        with self.opened() as container:
            return Clock.of(container)

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    @clocked(DECODE)
    def frames(self) -> Iterator[Frame]:
        """Yield the frames in time order, as a player shows them (:mod:`.pictures`).

        Frames that cannot be decoded are skipped and reported in :attr:`warnings`.
        """
        with self.opened() as container:
            stream = self._readable_stream(container)
            wanted = iter(self._chosen_numbers(stream))
            upcoming = next(wanted, None)
            for number, (time, frame) in enumerate(deinterlaced(self._decoded(container, stream))):
                if upcoming is not None and number + self._lost >= upcoming:
                    image = picture(frame, stream)
                    self.size = image.shape[1], image.shape[0]
                    yield Frame(time, image)
                    upcoming = next(wanted, None)

    def pictures_at(self, times: Sequence[float]) -> list[np.ndarray]:
        """Return the frame nearest to each of ``times`` (ascending seconds) as RGB ``[H, W, 3]`` uint8.

        No other frame is converted to RGB. If the times are far apart and the format has an index of
        keyframes, the frames between them are not even decoded.

        Raises:
            ClipError: no frame can be decoded.
        """
        if not times:
            return []
        spacing = min((later - earlier for earlier, later in pairwise(times)), default=0.0)
        with self.opened() as container:
            indexed = {"mp4", "matroska"} & {*container.format.name.split(",")}
        if not indexed or spacing < FAR or self.clock.restarts:
            return self._nearest(times)
        return [image for time in times for image in self._nearest([time], since=time - BACK)]

    def _nearest(self, times: Sequence[float], since: float = 0.0) -> list[np.ndarray]:
        nearest: list[tuple[float, av.VideoFrame | None]] = [(float("inf"), None)] * len(times)
        with self.opened() as container:
            stream = self._readable_stream(container)
            if since > 0 and stream.time_base:
                container.seek(int((since + self.clock.start) / stream.time_base), stream=stream)
            for number, (time, frame) in enumerate(deinterlaced(self._decoded(container, stream))):
                if since > 0 and number == 0 and time > times[0]:  # the index is wrong
                    return self._nearest(times)
                nearest = [
                    (abs(time - wanted), frame) if abs(time - wanted) < best[0] else best
                    for wanted, best in zip(times, nearest, strict=True)
                ]
                if time > times[-1]:
                    break
            found = [picture(frame, stream) for _, frame in nearest if frame is not None]
        if len(found) < len(times):
            raise ClipError("no frame of it can be decoded")
        return found

    def _readable_stream(self, container: InputContainer) -> VideoStream:
        stream = _video_stream(container)
        if stream is None:
            raise ClipError("it has no pictures, only sound")
        if stream.codec_context is None:
            raise ClipError("its pictures are of a codec that FFmpeg does not know; convert the file")
        refuse_huge(stream)
        self._note_changes(describe(stream))
        return stream

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[Timed]:
        """Yield every frame that can be decoded with its time; skip, count and report the others."""
        stream.thread_count = 1  # clips are processed in parallel; decoder threads would compete
        stream.codec_context.options = {**stream.codec_context.options, **largest_picture()}
        number = self._lost = 0
        packets = self.clock.packets(container)
        while True:
            try:
                packet = next(packets, None)
            except FFmpegError as error:
                self.warn(f"breaks off after {number} frames ({error.strerror})")
                break
            if packet is None:
                if self.clock.restarts:
                    self.note(
                        f"joins {self.clock.restarts + 1} recordings; each continues where the last ends"
                    )
                self._warn_if_cut(container)
                break
            if packet.stream_index != stream.index:
                continue
            try:
                frames = stream.decode(packet)  # in a damaged file, the packet's own stream may differ
            except FFmpegError:
                self._lost += bool(packet.size)
                continue
            for frame in frames:
                if frame.interlaced_frame:
                    self._note_changes(["deinterlaced"])
                yield self._time(frame, stream, number), frame
                number += 1
        if self._lost and not number and not stream.width:
            raise ClipError(
                f"its pictures have no size, or more than {MOST_PIXELS >> 20} million pixels; replace the "
                "file, or scale the video down"
            )
        if self._lost and number:
            count = self.clock.counts[stream.index]
            self.warn(f"{self._lost} of {count} pictures are damaged and cannot be decoded")

    def sound(self) -> Iterator[np.ndarray]:
        """Yield the sound from the start of the clip: float32 blocks, mono, 16 kHz; see :mod:`.heard`.

        Full scale is 1, which lossy sound may overshoot slightly.

        Raises:
            ClipError: none of it can be decoded, or it is far outside [-1, 1].
        """
        return SoundDecoder(self.opened, self.clock, self.warn, self.note).blocks()

    def seconds(self) -> float:
        """Return the clip's duration by its header; without one, or if the clock restarts, by its packets."""
        with self.opened() as container:
            header_end = _header_end(container)
        return self.clock.end if self.clock.restarts or not header_end else header_end

    def _time(self, frame: av.VideoFrame, stream: VideoStream, number: int) -> float:
        seconds = self.clock.seconds(frame)
        if seconds is None:
            pace = self.clock.paces.get(stream.index)
            return number * pace if pace else number / float(stream.average_rate or 25)
        return seconds

    def _chosen_numbers(self, stream: VideoStream) -> Iterable[int]:
        """Return the numbers of the frames to keep, counted from 0."""
        count = self.clock.counts[stream.index]
        if self.max_frames is None or count <= self.max_frames:
            return itertools.count()
        return [int((i + 0.5) * count / self.max_frames) for i in range(self.max_frames)]

    def _warn_if_cut(self, container: InputContainer) -> None:
        expected, reached = _header_end(container), self.clock.end
        if reached < expected - max(0.5, 0.1 * expected):
            self.warn(f"cut short: it ends after {reached:.1f} of {expected:.1f} seconds")

    def _note_changes(self, changes: Iterable[str]) -> None:
        self.changes += [change for change in changes if change not in self.changes]

    def warn(self, text: str) -> None:
        """Add ``text`` to :attr:`warnings`, unless it is there from an earlier reading."""
        if text not in self.warnings:
            self.warnings.append(text)

    def note(self, text: str) -> None:
        """Add ``text`` to :attr:`notes`, unless it is there from an earlier reading."""
        if text not in self.notes:
            self.notes.append(text)

    def opened(self) -> InputContainer:
        """Open the file with PyAV; the caller closes it."""
        if not self.path.exists():
            raise ClipError("there is no such file")
        if self.path.stat().st_size == 0:
            raise ClipError("the file is empty; copy it again")
        try:
            return av.open(str(self.path), options=largest_picture(), **_ANY_TAGS)
        except (FFmpegError, OSError, ValueError) as error:
            if getattr(error, "errno", None) == errno.EACCES:  # FFmpeg uses EPERM (-1) for others
                raise ClipError("the file is not readable; change its permissions") from None
            what = getattr(error, "strerror", None) or str(error)
            raise ClipError(f"not a video or sound that FFmpeg reads ({what}); replace it") from error


def _video_stream(container: InputContainer) -> VideoStream | None:
    """Return the video stream that FFmpeg would show, ignoring cover art."""
    cover = av.stream.Disposition.attached_pic
    moving = [stream for stream in container.streams.video if not stream.disposition & cover]
    best = container.streams.best("video")
    return next((stream for stream in moving if best is not None and stream.index == best.index), None) or (
        moving[0] if moving else None
    )


def _header_end(container: InputContainer) -> float:
    """Return the end of the clip by its header, in seconds; 0 if the header has none."""
    ends = [
        float(((stream.start_time or 0) + stream.duration) * stream.time_base) - start_of(container)
        for stream in container.streams
        if stream.duration and stream.time_base
    ]
    stream = _video_stream(container)
    if stream is not None and stream.average_rate and container.format.name == "avi":
        # FFmpeg shortens the duration of a truncated file.
        ends.append(float(stream.frames / stream.average_rate))
    return max(ends) if ends else (container.duration or 0) / av.time_base

"""Reading clips: frames with their real times, sound as 16 kHz mono."""

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

# Titles and the like come in any encoding; from version 19 on PyAV bears that by itself.
_ANY_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}

FAR = 20.0  # seconds between two frames; the keyframes from which one is decoded lie closer
BACK = 1.0  # seconds before a frame to seek to: the first pictures behind a keyframe may lack another


@dataclass(frozen=True)
class Frame:
    """One picture: seconds since the start of the clip, and RGB ``[H, W, 3]`` uint8."""

    time: float
    image: np.ndarray


class Media:
    """A clip's file. Every method opens it anew, so frames may be read more than once.

    Frames and sound come one piece at a time: memory does not grow with the clip. Both count their time
    from the start of the container, so a sound that begins later is led by silence.

    Args:
        path: any file that FFmpeg reads.
        max_frames: at most so many frames, spread evenly over the clip.

    Attributes:
        warnings: what was wrong with the file, as far as it was read.
        changes: what was done to its pictures beyond decoding, such as ``deinterlaced``.
        size: width and height of the frame that was read last.
        notes: what was done about a sound that is unusual, but whole.

    Raises:
        ClipError: by every method, when the file cannot be opened at all.
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
            pictures = _pictures(container)
            self.has_video = pictures is not None
            self.frame_rate = float(pictures.average_rate or 0) if pictures else 0.0
            self.has_sound = sound_stream(container) is not None

    @cached_property
    def clock(self) -> Clock:
        """The clip's time, which runs on where the file's own clock restarts; all packets are read for it."""
        with self.opened() as container:
            return Clock.of(container)

    def __iter__(self) -> Iterator[Frame]:
        return self.frames()

    @clocked(DECODE)
    def frames(self) -> Iterator[Frame]:
        """The frames in order of time, as a player shows them (:mod:`.pictures`).

        What cannot be decoded is skipped, and :attr:`warnings` say so.
        """
        with self.opened() as container:
            stream = self._readable(container)
            wanted = iter(self._chosen(stream))
            upcoming = next(wanted, None)
            for number, (time, frame) in enumerate(deinterlaced(self._decoded(container, stream))):
                if upcoming is not None and number + self._lost >= upcoming:
                    image = picture(frame, stream)
                    self.size = image.shape[1], image.shape[0]
                    yield Frame(time, image)
                    upcoming = next(wanted, None)

    def pictures_at(self, times: Sequence[float]) -> list[np.ndarray]:
        """The pictures nearest to ``times``, rising seconds: RGB ``[H, W, 3]`` uint8, one for each time.

        No other frame is converted to RGB. If the times lie far apart, frames between them are not even
        decoded, in formats that have an index of keyframes.

        Raises:
            ClipError: no frame can be decoded.
        """
        if not times:
            return []
        apart = min((later - earlier for earlier, later in pairwise(times)), default=0.0)
        with self.opened() as container:
            indexed = {"mp4", "matroska"} & {*container.format.name.split(",")}
        if not indexed or apart < FAR or self.clock.restarts:
            return self._nearest(times)
        return [image for time in times for image in self._nearest([time], since=time - BACK)]

    def _nearest(self, times: Sequence[float], since: float = 0.0) -> list[np.ndarray]:
        nearest: list[tuple[float, av.VideoFrame | None]] = [(float("inf"), None)] * len(times)
        with self.opened() as container:
            stream = self._readable(container)
            if since > 0 and stream.time_base:
                container.seek(int((since + self.clock.start) / stream.time_base), stream=stream)
            for number, (time, frame) in enumerate(deinterlaced(self._decoded(container, stream))):
                if since > 0 and number == 0 and time > times[0]:  # the index leads astray
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

    def _readable(self, container: InputContainer) -> VideoStream:
        stream = _pictures(container)
        if stream is None:
            raise ClipError("it has no pictures, only sound")
        if stream.codec_context is None:
            raise ClipError("its pictures are of a codec that FFmpeg does not know; convert the file")
        refuse_huge(stream)
        self._note_changes(describe(stream))
        return stream

    def _decoded(self, container: InputContainer, stream: VideoStream) -> Iterator[Timed]:
        """Every frame that can be decoded with its time; what cannot is skipped, counted and told."""
        stream.thread_count = 1  # clips are worked on side by side; a decoder's own threads would compete
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
                        f"is {self.clock.restarts + 1} recordings joined; each goes on where the last ends"
                    )
                self._tell_cut(container)
                break
            if packet.stream_index != stream.index:
                continue
            try:
                frames = stream.decode(packet)  # the packet's own stream may be another, in a damaged file
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
        """The sound from the start of the clip as blocks of float32 samples, mono, 16 kHz; see :mod:`.heard`.

        Full scale is 1, which lossy sound may overshoot a little.

        Raises:
            ClipError: none of it can be decoded, or it is far from [-1, 1].
        """
        return SoundDecoder(self.opened, self.clock, self.warn, self.note).blocks()

    def seconds(self) -> float:
        """How long the clip is by its header; where that does not tell, by its packets."""
        with self.opened() as container:
            told = _promised_end(container)
        return self.clock.end if self.clock.restarts or not told else told

    def _time(self, frame: av.VideoFrame, stream: VideoStream, number: int) -> float:
        seconds = self.clock.seconds(frame)
        if seconds is None:
            pace = self.clock.paces.get(stream.index)
            return number * pace if pace else number / float(stream.average_rate or 25)
        return seconds

    def _chosen(self, stream: VideoStream) -> Iterable[int]:
        """Which frames to keep, counted from 0."""
        count = self.clock.counts[stream.index]
        if self.max_frames is None or count <= self.max_frames:
            return itertools.count()
        return [int((i + 0.5) * count / self.max_frames) for i in range(self.max_frames)]

    def _tell_cut(self, container: InputContainer) -> None:
        promised, reached = _promised_end(container), self.clock.end
        if reached < promised - max(0.5, 0.1 * promised):
            self.warn(f"cut short: it ends after {reached:.1f} of {promised:.1f} seconds")

    def _note_changes(self, changes: Iterable[str]) -> None:
        self.changes += [change for change in changes if change not in self.changes]

    def warn(self, text: str) -> None:
        """Add to :attr:`warnings`, once however often the file is read."""
        if text not in self.warnings:
            self.warnings.append(text)

    def note(self, text: str) -> None:
        """Add to :attr:`notes`, once however often the file is read."""
        if text not in self.notes:
            self.notes.append(text)

    def opened(self) -> InputContainer:
        """The file as PyAV sees it, to be closed by the caller."""
        if not self.path.exists():
            raise ClipError("there is no such file")
        if self.path.stat().st_size == 0:
            raise ClipError("the file is empty; copy it again")
        try:
            return av.open(str(self.path), options=largest_picture(), **_ANY_TAGS)
        except (FFmpegError, OSError, ValueError) as error:
            if getattr(error, "errno", None) == errno.EACCES:  # EPERM is -1, which FFmpeg says of some files
                raise ClipError("the file may not be read; change its permissions") from None
            what = getattr(error, "strerror", None) or str(error)
            raise ClipError(f"not a video or sound that FFmpeg reads ({what}); replace it") from error


def _pictures(container: InputContainer) -> VideoStream | None:
    """The video stream that FFmpeg itself would show, of those that move: a song's cover is none."""
    cover = av.stream.Disposition.attached_pic
    moving = [stream for stream in container.streams.video if not stream.disposition & cover]
    best = container.streams.best("video")
    return next((stream for stream in moving if best is not None and stream.index == best.index), None) or (
        moving[0] if moving else None
    )


def _promised_end(container: InputContainer) -> float:
    """Seconds at which the clip ends by its header; 0 where that does not tell."""
    ends = [
        float(((stream.start_time or 0) + stream.duration) * stream.time_base) - start_of(container)
        for stream in container.streams
        if stream.duration and stream.time_base
    ]
    stream = _pictures(container)
    if stream is not None and stream.average_rate and container.format.name == "avi":
        ends.append(float(stream.frames / stream.average_rate))  # FFmpeg shortens the duration of a cut one
    return max(ends) if ends else (container.duration or 0) / av.time_base

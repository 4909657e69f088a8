"""Reading clips: frames with their real times, sound as 16 kHz mono."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import av
import numpy as np
from av.container import InputContainer
from av.error import FFmpegError
from av.video.stream import VideoStream

from .clock import Clock, start_of
from .errors import ClipError

SAMPLE_RATE = 16_000

# Titles and the like come in any encoding; from version 19 on PyAV bears that by itself.
_ANY_TAGS: dict[str, Any] = {"metadata_errors": "replace"} if int(av.__version__.split(".")[0]) < 19 else {}


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

    Raises:
        ClipError: by every method, when the file cannot be opened at all.
    """

    def __init__(self, path: str | Path, max_frames: int | None = None) -> None:
        self.path = Path(path)
        self.max_frames = max_frames
        self.warnings: list[str] = []
        with self.opened() as container:
            pictures = _pictures(container)
            self.has_video = bool(pictures)
            self.frame_rate = float(pictures[0].average_rate or 0) if pictures else 0.0
            self.has_sound = bool(container.streams.audio)

    @cached_property
    def clock(self) -> Clock:
        """The clip's time, which runs on where the file's own clock restarts; all packets are read for it."""
        with self.opened() as container:
            return Clock.of(container)

    def frames(self) -> Iterator[Frame]:
        """The frames in order of time, turned upright.

        A clip that breaks off keeps the frames before the break, and :attr:`warnings` say so.
        """
        chosen = self._chosen()
        decoded = 0
        with self.opened() as container:
            stream = _pictures(container)[0]
            stream.thread_count = 1  # clips are worked on side by side; a decoder's own threads would compete
            try:
                for packet in self.clock.packets(container):
                    if packet.stream_index != stream.index:
                        continue
                    for frame in packet.decode():
                        if chosen is None or decoded in chosen:
                            yield Frame(self._time(frame, stream, decoded), _upright(frame))
                        decoded += 1
            except FFmpegError as error:
                self.warnings.append(f"breaks off after {decoded} frames ({error.strerror})")
            promised, reached = _promised_end(container), self.clock.end
            if not self.warnings and reached < promised - max(0.5, 0.1 * promised):
                self.warnings.append(f"cut short: it ends after {reached:.1f} of {promised:.1f} seconds")

    def sound(self) -> Iterator[np.ndarray]:
        """The sound as blocks of float32 samples in [-1, 1], mono, 16 kHz."""
        with self.opened() as container:
            stream = container.streams.audio[0]
            stream.thread_count = 1
            resampler = av.AudioResampler(format="flt", layout="mono", rate=SAMPLE_RATE)
            try:
                for number, frame in enumerate(container.decode(stream)):
                    if number == 0 and frame.time is not None:
                        lead = round((frame.time - start_of(container)) * SAMPLE_RATE)
                        yield np.zeros(max(0, lead), np.float32)
                    for piece in resampler.resample(frame):
                        yield piece.to_ndarray()[0]
                for piece in resampler.resample(None):
                    yield piece.to_ndarray()[0]
            except FFmpegError as error:
                self.warnings.append(f"the sound breaks off ({error.strerror})")

    def seconds(self) -> float:
        """How long the clip is by its header; where that does not tell, by its packets."""
        with self.opened() as container:
            told = _promised_end(container)
        return self.clock.end if self.clock.restarts or not told else told

    def _time(self, frame: av.VideoFrame, stream: VideoStream, number: int) -> float:
        seconds = self.clock.seconds(frame)
        return number / float(stream.average_rate or 25) if seconds is None else seconds

    def _chosen(self) -> set[int] | None:
        """Which frames to keep, counted from 0; None for all."""
        if self.max_frames is None:
            return None
        with self.opened() as container:
            count = self.clock.counts[_pictures(container)[0].index]
        if count <= self.max_frames:
            return None
        return {int((i + 0.5) * count / self.max_frames) for i in range(self.max_frames)}

    def opened(self) -> InputContainer:
        """The file as PyAV sees it, to be closed by the caller."""
        if not self.path.exists():
            raise ClipError("there is no such file")
        if self.path.stat().st_size == 0:
            raise ClipError("the file is empty; copy it again")
        try:
            return av.open(str(self.path), **_ANY_TAGS)
        except PermissionError:
            raise ClipError("the file may not be read; change its permissions") from None
        except (FFmpegError, OSError, ValueError) as error:
            what = getattr(error, "strerror", None) or str(error)
            raise ClipError(f"not a video or sound that FFmpeg reads ({what}); replace it") from error


def _pictures(container: InputContainer) -> list[VideoStream]:
    """The video streams that move: a song's cover is none."""
    cover = av.stream.Disposition.attached_pic
    return [stream for stream in container.streams.video if not stream.disposition & cover]


def _promised_end(container: InputContainer) -> float:
    """Seconds at which the clip ends by its header; 0 where that does not tell."""
    ends = [
        float(((stream.start_time or 0) + stream.duration) * stream.time_base) - start_of(container)
        for stream in container.streams
        if stream.duration and stream.time_base
    ]
    counted = [
        float(stream.frames / stream.average_rate)  # of a cut AVI, FFmpeg tells the shorter duration
        for stream in _pictures(container)
        if stream.average_rate
    ]
    return max([*ends, *counted]) if ends else (container.duration or 0) / av.time_base


def _upright(frame: av.VideoFrame) -> np.ndarray:
    """The picture as a camera's owner held it: the container's rotation applied."""
    image = frame.to_ndarray(format="rgb24")
    return np.ascontiguousarray(np.rot90(image, round(frame.rotation / 90) % 4))

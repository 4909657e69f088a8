"""Draws on the frames of a video and encodes them as MP4, keeping frame times and sound."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, field
from fractions import Fraction
from itertools import chain
from pathlib import Path
from typing import TYPE_CHECKING, Any

import av
import numpy as np
from av.error import FFmpegError

from ....extract.decode.clock import start_of
from ....extract.decode.media import Frame, Media
from ....extract.errors import ClipError
from ....fusion.files import replacing
from ...cli.framework import InputError

if TYPE_CHECKING:
    from av.container import InputContainer, OutputContainer

ENCODERS = {  # best first; builds of FFmpeg differ in which they have
    "libx264": {"crf": "20", "preset": "veryfast"},
    "libopenh264": {"b": "4M"},
    "mpeg4": {"flags": "+qscale", "global_quality": "354"},
}
COPIED_CODECS = (
    "aac",
    "mp3",
    "ac3",
    "eac3",
    "alac",
)  # sound codecs that MP4 can hold and its players support
CLOCK = Fraction(1, 60_000)  # time base: fine enough for any frame times, and the finest in MPEG-4
BT601 = 6  # colour space of the encoded RGB; if not stated, players assume another for large pictures

Draw = Callable[[Frame], np.ndarray]


@dataclass
class Film:
    """Report on a written file.

    Attributes:
        encoder: name of the video encoder.
        sound: what was done with the sound, as text.
        frames: number of frames.
        problems: problems with the source video.
    """

    encoder: str
    sound: str
    frames: int = 0
    problems: list[str] = field(default_factory=list)


def write_overlay(source: Path, target: Path, draw: Draw, on_frame: Callable[[float], None]) -> Film:
    """Write a copy of ``source`` with every frame redrawn. The file appears only once it is complete.

    Frames keep their times, and only one is in memory at a time. Sound is copied if MP4 supports its codec,
    and otherwise encoded as AAC; any loss is reported.

    Args:
        source: a video.
        target: MP4 file to write or replace; not ``source``.
        draw: function from a frame to the picture shown instead, RGB, all of the same size with even sides.
        on_frame: callback after each frame, with its time in seconds.

    Raises:
        ClipError: the video cannot be read, or none of its frames can be decoded.
        InputError: the file cannot be encoded.
        FusionError: the file cannot be written.
    """
    media = Media(source)
    frames = media.frames()
    first = next(frames, None)
    if first is None:
        raise ClipError("none of its frames can be decoded")
    with replacing(target) as temporary:
        try:
            with av.open(str(temporary), "w", format="mp4") as output:
                return _encode_film(output, media, chain([first], frames), draw, on_frame)
        except FFmpegError as error:
            raise InputError(f"cannot write {target}: {error}") from error


def _encode_film(
    output: OutputContainer,
    media: Media,
    frames: Iterable[Frame],
    draw: Draw,
    on_frame: Callable[[float], None],
) -> Film:
    encoder = next(name for name in ENCODERS if _has_encoder(name))
    video: Any = output.add_stream(encoder, rate=25, options=ENCODERS[encoder])
    video.pix_fmt = "yuv420p"
    video.codec_context.colorspace = BT601
    video.time_base = video.codec_context.time_base = CLOCK
    with media.opened() as container:
        sound = _Sound(output, container, media)
        film = Film(encoder, sound.summary)
        last = -1
        for frame in frames:
            shown = draw(frame)
            if not film.frames:
                video.height, video.width = shown.shape[:2]
            last = max(last + 1, round(frame.time / CLOCK))  # encoders reject equal times
            picture = av.VideoFrame.from_ndarray(shown, format="rgb24")
            picture.pts, picture.time_base = last, CLOCK
            sound.write_up_to(frame.time)
            output.mux(video.encode(picture))
            film.frames += 1
            on_frame(frame.time)
        output.mux(video.encode(None))
        sound.write_up_to(float("inf"))
        film.problems = [*media.warnings, *sound.problems]
    return film


def _has_encoder(encoder: str) -> bool:
    try:
        av.codec.Codec(encoder, "w")
    except ValueError:
        return False
    return True


class _Sound:
    """Transfers the sound of a video piece by piece alongside the pictures.

    Attributes:
        summary: what is done with the sound, as text.
        problems: problems, such as lost sound.
    """

    def __init__(self, output: OutputContainer, container: InputContainer, media: Media) -> None:
        self.summary = "no sound"
        self.problems: list[str] = []
        self._output = output
        self._start = start_of(container)
        self._next: tuple[float, Any] | None = None
        if not media.has_sound:
            return
        stream: Any = container.streams.audio[0]
        if stream.codec_context is None:
            self.problems.append("its sound has an unknown codec and is left out")
            return
        name = stream.codec_context.codec.canonical_name
        if name in COPIED_CODECS:
            self.summary = f"sound copied ({name})"
            self._pieces = self._copied_packets(container, stream, output.add_stream_from_template(stream))
        else:
            self.summary = f"sound encoded as AAC (was {name})"
            channels = "mono" if stream.layout.nb_channels == 1 else "stereo"
            aac = output.add_stream("aac", rate=stream.rate, layout=channels)
            self._pieces = self._encoded_packets(container, stream, aac)
        self._next = next(self._pieces, None)

    def write_up_to(self, seconds: float) -> None:
        """Write the sound that begins up to a time."""
        while self._next and self._next[0] <= seconds:
            self._output.mux(self._next[1])
            self._next = next(self._pieces, None)

    def _copied_packets(
        self, container: InputContainer, stream: Any, copy: Any
    ) -> Iterator[tuple[float, Any]]:
        shift = round(self._start / stream.time_base)
        try:
            for packet in container.demux(stream):
                if packet.dts is None or packet.pts is None:  # demuxing ends with an empty packet
                    continue
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                yield float(packet.pts * stream.time_base), packet
        except FFmpegError as error:
            self.problems.append(f"the sound breaks off ({error.strerror})")

    def _encoded_packets(
        self, container: InputContainer, stream: Any, aac: Any
    ) -> Iterator[tuple[float, Any]]:
        seconds = 0.0
        try:
            for frame in container.decode(stream):
                if frame.pts is not None:
                    seconds = frame.time - self._start
                    frame.pts -= round(self._start / frame.time_base)
                yield seconds, aac.encode(frame)
        except FFmpegError as error:
            self.problems.append(f"the sound breaks off ({error.strerror})")
        yield seconds, aac.encode(None)

"""A continuous clock for a clip, even if the time stamps of its file restart."""

from __future__ import annotations

from collections import Counter, defaultdict
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from itertools import pairwise
from typing import Any

import av
from av.container import InputContainer
from av.error import FFmpegError

from ..stopwatch import step

STEP_BACK = 0.1  # seconds; a larger step back is a restart, as for the ffmpeg command
GOES_ON = 1.0  # seconds; at a joint, streams may end up to this far apart
JUMP = 10.0  # seconds forward, as for ffmpeg; only in formats that FFmpeg flags as discontinuous


@dataclass
class _Part:
    """A part of the file between two restarts, in seconds of the file's clock."""

    start: float = float("inf")
    end: float = float("-inf")


@dataclass
class Clock:
    """Maps the time stamps of a file to seconds since the start of the clip.

    Recordings joined end to end (two ``.ts`` files, a paused camera) keep their own time stamps, so the clock
    restarts mid-file. :meth:`packets` moves the time stamps of each later part to the end of the previous
    one. If the clock never restarts, time stamps are left unchanged.

    Attributes:
        start: start of the clip, in seconds of the file's clock.
        end: end of the last packet, in seconds since the start.
        restarts: number of times that the clock restarts.
        counts: number of packets of each stream, by stream index.
        paces: seconds between packets of streams without time stamps, such as raw H.264.
    """

    start: float = 0.0
    end: float = 0.0
    restarts: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    paces: dict[int, float] = field(default_factory=dict)
    _offsets: list[float] = field(default_factory=lambda: [0.0])

    @classmethod
    def of(cls, container: InputContainer) -> Clock:
        """Build the clock from the packets of ``container``, undecoded, up to the first unreadable one."""
        clock = cls(start=start_of(container))
        parts = [_Part()]
        ends: dict[tuple[int, int], float] = {}
        finder = _PartFinder(container)
        stamped: set[int] = set()
        unstamped: defaultdict[int, float] = defaultdict(float)
        try:
            for packet in packets_of(container):
                step()
                number = finder.part(packet)
                if not packet.size or packet.is_discard:  # outside the edit list: decoded, but not shown
                    continue
                clock.counts[packet.stream_index] += 1
                parts.extend(_Part() for _ in range(len(parts), number + 1))
                if packet.dts is not None:
                    stamped.add(packet.stream_index)
                if packet.pts is None:
                    unstamped[packet.stream_index] += length_of(packet)
                else:
                    begin = float(packet.pts * packet.time_base)
                    part = parts[number]
                    part.start = min(part.start, begin)
                    part.end = max(part.end, begin + length_of(packet))
                    key = packet.stream_index, number
                    ends[key] = max(ends.get(key, begin), begin + length_of(packet))
        except FFmpegError:
            pass  # the decoder meets the same error and reports it
        parts = [part for part in parts if part.end > float("-inf")]
        clock._join(_without_overlaps(parts, ends))
        clock.end = max([clock.end, *unstamped.values()])
        raw = unstamped.keys() - stamped
        clock.paces = {stream: unstamped[stream] / clock.counts[stream] for stream in raw}
        return clock

    def packets(self, container: InputContainer) -> Iterator[av.Packet]:
        """Yield every packet of a newly opened container, with its time stamps on the common clock.

        All streams must be read, even if only one is decoded.

        Raises:
            FFmpegError: a packet cannot be read.
        """
        finder = _PartFinder(container)
        for packet in packets_of(container):
            step()
            offset = self._offsets[min(finder.part(packet), self.restarts)]
            if offset:
                ticks = round(offset / float(packet.time_base))
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
            yield packet

    def seconds(self, piece: av.Packet | av.VideoFrame | av.AudioFrame) -> float | None:
        """Return when a packet or frame begins, in seconds of the clip; None if it has no time stamp."""
        if piece.pts is None or piece.time_base is None:
            return None
        return float(piece.pts * piece.time_base) - self.start

    def _join(self, parts: list[_Part]) -> None:
        if not parts:
            return
        self.restarts = len(parts) - 1
        if self.restarts:
            self.start = parts[0].start  # FFmpeg reports the earliest start of all parts
        for before, after in pairwise(parts):
            self._offsets.append(self._offsets[-1] + before.end - after.start)
        self.end = parts[-1].end + self._offsets[-1] - self.start


def packets_of(container: InputContainer) -> Iterator[av.Packet]:
    """Yield all packets except those of streams that start mid-file, which PyAV cannot handle."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except IndexError:
            packets = container.demux()  # continues after the packet that failed
            continue
        if packet is None:
            return
        yield packet


def _without_overlaps(parts: list[_Part], ends: Mapping[tuple[int, int], float]) -> list[_Part]:
    """Merge the parts that begin only because a single stream steps back.

    Such a step is an overlap within that stream: another stream continues in the previous part.

    Args:
        parts: parts found over all streams.
        ends: end of the packets in seconds, by stream and part.
    """
    for number in range(1, len(parts)):
        stepped_back = [
            end for (stream, part), end in ends.items() if part == number - 1 and (stream, number) in ends
        ]
        continuing = [
            end for (stream, part), end in ends.items() if part == number - 1 and (stream, number) not in ends
        ]
        if stepped_back and continuing and max(continuing) > max(stepped_back) + GOES_ON:
            rest = parts[number - 1 :]
            return [
                *parts[: number - 1],
                _Part(min(part.start for part in rest), max(part.end for part in rest)),
            ]
    return parts


class _PartFinder:
    """Finds the part of the file that a packet belongs to.

    Restarts are counted for each stream, because packets of two parts are interleaved around a joint.
    """

    def __init__(self, container: InputContainer) -> None:
        may_restart: Any = av.format.Flags.ts_discont.value
        self._jumps = bool(container.format.flags & may_restart)
        self._ends: dict[int, float] = {}
        self._parts: Counter[int] = Counter()

    def part(self, packet: av.Packet) -> int:
        stream = packet.stream_index
        if packet.dts is not None:
            now = float(packet.dts * packet.time_base)
            step = now - self._ends.get(stream, now)
            if step < -STEP_BACK or (self._jumps and step > JUMP):
                self._parts[stream] += 1
            self._ends[stream] = now
        return self._parts[stream]


def start_of(container: InputContainer) -> float:
    """Return the start time that the container declares, in seconds of its own clock."""
    return (container.start_time or 0) / av.time_base


def length_of(packet: av.Packet) -> float:
    """Return a packet's duration in seconds; if not stored, the average frame duration of its stream."""
    if packet.duration:
        return float(packet.duration * packet.time_base)
    rate = getattr(packet.stream, "average_rate", None)
    return float(1 / rate) if rate else 0.0

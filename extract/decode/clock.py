"""One continuous time for a clip, also where the file's own clock restarts."""

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

STEP_BACK = 0.1  # seconds; ffmpeg's own command takes a larger step back for a restart
GOES_ON = 1.0  # seconds; by less, streams may end apart where recordings are joined
JUMP = 10.0  # seconds, forward, and only in formats that FFmpeg knows to restart; also ffmpeg's


@dataclass
class _Part:
    """What lies between two restarts, in seconds of the file's clock."""

    start: float = float("inf")
    end: float = float("-inf")


@dataclass
class Clock:
    """Maps the time stamps of a file to seconds since the start of the clip.

    Recordings joined end to end (two ``.ts`` files, a camera that was paused) keep the stamps that each had,
    so the clock restarts in the middle. :meth:`packets` moves the stamps of every later part to where the
    part before ends. Files whose clock never restarts keep their stamps to the last bit.

    Attributes:
        start: seconds of the file's clock at which the clip starts.
        end: seconds since then at which the last packet ends.
        restarts: how often the clock restarts.
        counts: packets of each stream, by its index.
        paces: seconds from one packet to the next in streams without stamps, as raw H.264 is.
    """

    start: float = 0.0
    end: float = 0.0
    restarts: int = 0
    counts: Counter[int] = field(default_factory=Counter)
    paces: dict[int, float] = field(default_factory=dict)
    _offsets: list[float] = field(default_factory=lambda: [0.0])

    @classmethod
    def of(cls, container: InputContainer) -> Clock:
        """Read all packets of ``container``, undecoded; where one cannot be read, those before it count."""
        clock = cls(start=start_of(container))
        parts = [_Part()]
        ends: dict[tuple[int, int], float] = {}
        watch = _Watch(container)
        stamped: set[int] = set()
        unstamped: defaultdict[int, float] = defaultdict(float)
        try:
            for packet in packets_of(container):
                step()
                number = watch.part(packet)
                if not packet.size or packet.is_discard:  # before or behind an edit: decoded, but not shown
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
            pass  # whoever decodes meets it again, and tells
        parts = [part for part in parts if part.end > float("-inf")]
        clock._join(_shared(parts, ends))
        clock.end = max([clock.end, *unstamped.values()])
        raw = unstamped.keys() - stamped
        clock.paces = {stream: unstamped[stream] / clock.counts[stream] for stream in raw}
        return clock

    def packets(self, container: InputContainer) -> Iterator[av.Packet]:
        """Every packet of a freshly opened container, its stamps moved onto the one clock.

        All streams must be read, whichever is decoded.

        Raises:
            FFmpegError: the container cannot be read any further.
        """
        watch = _Watch(container)
        for packet in packets_of(container):
            step()
            offset = self._offsets[min(watch.part(packet), self.restarts)]
            if offset:
                ticks = round(offset / float(packet.time_base))
                packet.pts = None if packet.pts is None else packet.pts + ticks
                packet.dts = None if packet.dts is None else packet.dts + ticks
            yield packet

    def seconds(self, piece: av.Packet | av.VideoFrame | av.AudioFrame) -> float | None:
        """Seconds since the start of the clip at which a packet or frame begins; None if it does not tell."""
        if piece.pts is None or piece.time_base is None:
            return None
        return float(piece.pts * piece.time_base) - self.start

    def _join(self, parts: list[_Part]) -> None:
        if not parts:
            return
        self.restarts = len(parts) - 1
        if self.restarts:
            self.start = parts[0].start  # FFmpeg's is the earliest of all parts
        for before, after in pairwise(parts):
            self._offsets.append(self._offsets[-1] + before.end - after.start)
        self.end = parts[-1].end + self._offsets[-1] - self.start


def packets_of(container: InputContainer) -> Iterator[av.Packet]:
    """All packets, without those of a stream that appears in the middle of a file, which PyAV cannot name."""
    packets = container.demux()
    while True:
        try:
            packet = next(packets, None)
        except IndexError:
            packets = container.demux()  # goes on behind the first of them
            continue
        if packet is None:
            return
        yield packet


def _shared(parts: list[_Part], ends: Mapping[tuple[int, int], float]) -> list[_Part]:
    """The parts of the file, without those that begin where one stream alone steps back.

    That is an overlap within the stream: another one goes on in the part before.

    Args:
        parts: of all streams together.
        ends: seconds at which each stream's packets of each part end.
    """
    for number in range(1, len(parts)):
        stepped = [
            end for (stream, part), end in ends.items() if part == number - 1 and (stream, number) in ends
        ]
        gone_on = [
            end for (stream, part), end in ends.items() if part == number - 1 and (stream, number) not in ends
        ]
        if stepped and gone_on and max(gone_on) > max(stepped) + GOES_ON:
            rest = parts[number - 1 :]
            return [
                *parts[: number - 1],
                _Part(min(part.start for part in rest), max(part.end for part in rest)),
            ]
    return parts


class _Watch:
    """Tells which part of the file a packet belongs to.

    Each stream counts its own restarts, for around a joint packets of one part still come between those
    of the next.
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
    """Seconds of the container's own clock at which it says that it starts."""
    return (container.start_time or 0) / av.time_base


def length_of(packet: av.Packet) -> float:
    """Seconds that a packet lasts: where it does not tell, as long as its stream's average picture."""
    if packet.duration:
        return float(packet.duration * packet.time_base)
    rate = getattr(packet.stream, "average_rate", None)
    return float(1 / rate) if rate else 0.0

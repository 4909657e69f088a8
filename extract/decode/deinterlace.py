"""Deinterlaces video with FFmpeg's own filter."""

from __future__ import annotations

from collections import deque
from collections.abc import Iterable, Iterator

import av
from av.error import BlockingIOError, EOFError
from av.filter import Graph

Timed = tuple[float, av.VideoFrame]

# One frame out for each frame in; frames not flagged as interlaced pass through unchanged.
FILTER, SETTINGS = "bwdif", "mode=send_frame:parity=auto:deint=interlaced"


def deinterlaced(frames: Iterable[Timed]) -> Iterator[Timed]:
    """Deinterlace the frames that are flagged as interlaced; times and number of frames stay the same.

    A flagged frame shows two moments, one in its even lines and one in its odd lines. Frames before the first
    flagged one bypass the filter.
    """
    filters: _Filters | None = None
    for time, frame in frames:
        if filters is None and not frame.interlaced_frame:
            yield time, frame
            continue
        if filters is not None and not filters.fits(frame):
            yield from filters.rest()
            filters = None
        filters = filters or _Filters(frame)
        yield from filters.put(time, frame)
    if filters is not None:
        yield from filters.rest()


class _Filters:
    """A filter graph for frames of one size and format, with one frame of lookahead."""

    def __init__(self, frame: av.VideoFrame) -> None:
        self._shape = _shape(frame)
        self._times: deque[float] = deque()
        self._graph = Graph()
        source = self._graph.add_buffer(
            width=frame.width, height=frame.height, format=frame.format, time_base=frame.time_base
        )
        self._graph.link_nodes(source, self._graph.add(FILTER, SETTINGS), self._graph.add("buffersink"))
        self._graph.configure()

    def fits(self, frame: av.VideoFrame) -> bool:
        return _shape(frame) == self._shape

    def put(self, time: float, frame: av.VideoFrame) -> Iterator[Timed]:
        self._times.append(time)
        self._graph.vpush(frame)
        yield from self._pulled()

    def rest(self) -> Iterator[Timed]:
        self._graph.vpush(None)
        yield from self._pulled()

    def _pulled(self) -> Iterator[Timed]:
        while self._times:
            try:
                frame = self._graph.vpull()
            except (BlockingIOError, EOFError):  # it needs another frame first, or is drained
                return
            yield self._times.popleft(), frame


def _shape(frame: av.VideoFrame) -> tuple[int, int, str]:
    return frame.width, frame.height, frame.format.name

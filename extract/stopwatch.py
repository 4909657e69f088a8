"""Where the time of a clip goes: each stage is clocked as it works, at a cost of microseconds a frame."""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from functools import wraps
from inspect import isgeneratorfunction
from typing import Any, NamedTuple, ParamSpec, TypeVar, cast

P = ParamSpec("P")
R = TypeVar("R")

DECODE, DETECT, WARP, NETWORK, SOUND, WRITE = "decode", "detect", "warp", "network", "sound", "write"
REST = "rest"
"""What no stage takes: the file's checksum, statistics of views, memory that is given back."""


class Spent(NamedTuple):
    """Seconds on the clock, and seconds of processor time over all threads of the process."""

    wall: float = 0.0
    busy: float = 0.0


class Stopwatch:
    """The time that each stage takes; a stage within another takes its own time from that.

    Attributes:
        spent: by stage. What is computed on a GPU is the stage's that waits for it, which is the network.
    """

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}
        self._within = [REST]
        self._since = _now()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Meanwhile, :func:`stage` and :func:`clocked` tell this one."""
        token = _running.set(self)
        self._since = _now()
        try:
            yield
        finally:
            self._lap()
            _running.reset(token)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """The block's time is that of a stage."""
        self._lap()
        self._within.append(name)
        try:
            yield
        finally:
            self._lap()
            self._within.pop()

    def _lap(self) -> None:
        now, before = _now(), self.spent.get(self._within[-1], Spent())
        self.spent[self._within[-1]] = Spent(
            before.wall + now.wall - self._since.wall, before.busy + now.busy - self._since.busy
        )
        self._since = now


_running: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


def _now() -> Spent:
    return Spent(time.perf_counter(), time.process_time())


@contextmanager
def stage(name: str) -> Iterator[None]:
    """The block's time is that of a stage, if a stopwatch runs."""
    watch = _running.get()
    if watch is None:
        yield
    else:
        with watch.stage(name):
            yield


def clocked(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """The time in a function, or between the items of a generator, is that of a stage."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        @wraps(function)
        def call(*arguments: P.args, **named: P.kwargs) -> R:
            with stage(name):
                return function(*arguments, **named)

        @wraps(function)
        def steps(*arguments: P.args, **named: P.kwargs) -> Iterator[Any]:
            work = cast(Iterator[Any], function(*arguments, **named))
            while True:
                with stage(name):
                    try:
                        item = next(work)
                    except StopIteration:
                        return
                yield item

        return cast(Callable[P, R], steps) if isgeneratorfunction(function) else call

    return decorate

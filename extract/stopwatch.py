"""Where the time of a clip goes: each stage is clocked as it works, at a cost of microseconds a frame.

So it is known, too, in which stage a clip is, whether it gets on, and in which stage it failed.
"""

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

OPEN, DECODE, DETECT, WARP = "open", "decode", "detect", "warp"
NETWORK, SOUND, WRITE = "network", "sound", "write"
REST = "rest"
"""What no stage takes: statistics of views, memory that is given back."""


class Spent(NamedTuple):
    """Seconds on the clock, of processor time over all threads of the process, and of a device that another
    process computes on for this one; while it waits for that, its own clock goes on."""

    wall: float = 0.0
    busy: float = 0.0
    device: float = 0.0

    def and_also(self, other: Spent) -> Spent:
        """The sum of both."""
        return Spent(*map(sum, zip(self, other, strict=True)))


class Stopwatch:
    """The time that each stage takes; a stage within another takes its own time from that.

    Attributes:
        spent: by stage. What is computed on a GPU is the stage's that waits for it, which is the network.
        steps: grows with all that is done, be it a frame, a packet or a block of bytes.
    """

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}
        self.steps = 0
        self._broken: tuple[BaseException | None, str] = None, REST
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
        except Exception as error:
            if self._broken[0] is None or self._broken[0] not in (error, error.__cause__):
                self._broken = error, name
            raise
        finally:
            self._lap()
            self._within.pop()

    @property
    def doing(self) -> str:
        """The stage that goes on."""
        return self._within[-1]

    def broken_in(self, error: BaseException) -> str:
        """The stage in which an error came up; the one that goes on, if it came up in none within that."""
        broken, name = self._broken
        return name if broken is not None and broken in (error, error.__cause__) else self.doing

    def _lap(self) -> None:
        self.steps += 1
        now = _now()
        self.add(self._within[-1], Spent(now.wall - self._since.wall, now.busy - self._since.busy))
        self._since = now

    def add(self, name: str, spent: Spent) -> None:
        """A stage took this, too."""
        self.spent[name] = self.spent.get(name, Spent()).and_also(spent)


_running: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


def _now() -> Spent:
    return Spent(time.perf_counter(), time.process_time())


def step() -> None:
    """Something has been done, however small; a stopwatch, if one runs, is told."""
    watch = _running.get()
    if watch is not None:
        watch.steps += 1


def computed_apart(name: str, seconds: float) -> None:
    """Another process's device worked so long for a stage; a stopwatch, if one runs, is told."""
    watch = _running.get()
    if watch is not None:
        watch.add(name, Spent(device=seconds))


def stage_of(error: BaseException) -> str:
    """The stage in which an error came up, if a stopwatch runs."""
    watch = _running.get()
    return REST if watch is None else watch.broken_in(error)


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

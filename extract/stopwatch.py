"""Measures where the time of a clip goes, stage by stage, at a cost of microseconds per frame.

The stopwatch also knows which stage a clip is in, whether it makes progress, and in which stage it failed.
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
"""Everything outside the stages: statistics of views, memory that is given back."""


class Spent(NamedTuple):
    """Seconds of time.

    Attributes:
        wall: wall-clock time, including waits for another process.
        busy: processor time of all threads of this process.
        device: time of a device on which another process computes for this one.
    """

    wall: float = 0.0
    busy: float = 0.0
    device: float = 0.0

    def plus(self, other: Spent) -> Spent:
        """Return the sum of both."""
        return Spent(*map(sum, zip(self, other, strict=True)))


class Stopwatch:
    """Measures the time of each stage. Time of a nested stage does not count for the outer one.

    Attributes:
        spent: time by stage. GPU computation counts for the stage that waits for it, the network.
        steps: number of steps so far; it grows with every frame, packet or block of bytes.
    """

    def __init__(self) -> None:
        self.spent: dict[str, Spent] = {}
        self.steps = 0
        self._failure: tuple[BaseException | None, str] = None, REST
        self._stack = [REST]
        self._lap_start = _now()

    @contextmanager
    def running(self) -> Iterator[None]:
        """Make this the stopwatch that :func:`stage` and :func:`clocked` use in the block."""
        token = _running.set(self)
        self._lap_start = _now()
        try:
            yield
        finally:
            self._lap()
            _running.reset(token)

    @contextmanager
    def stage(self, name: str) -> Iterator[None]:
        """Count the block's time for a stage."""
        self._lap()
        self._stack.append(name)
        try:
            yield
        except Exception as error:
            if self._failure[0] is None or self._failure[0] not in (error, error.__cause__):
                self._failure = error, name
            raise
        finally:
            self._lap()
            self._stack.pop()

    @property
    def current_stage(self) -> str:
        """The current stage."""
        return self._stack[-1]

    def stage_of(self, error: BaseException) -> str:
        """Return the stage in which an error was raised: a nested stage, or else the current one."""
        failed, name = self._failure
        return name if failed is not None and failed in (error, error.__cause__) else self.current_stage

    def _lap(self) -> None:
        self.steps += 1
        now = _now()
        self.add(self._stack[-1], Spent(now.wall - self._lap_start.wall, now.busy - self._lap_start.busy))
        self._lap_start = now

    def add(self, name: str, spent: Spent) -> None:
        """Add time to a stage."""
        self.spent[name] = self.spent.get(name, Spent()).plus(spent)


_running: ContextVar[Stopwatch | None] = ContextVar("stopwatch", default=None)


def _now() -> Spent:
    return Spent(time.perf_counter(), time.process_time())


def step() -> None:
    """Record a step of progress, however small, if a stopwatch is running."""
    watch = _running.get()
    if watch is not None:
        watch.steps += 1


def add_device_time(name: str, seconds: float) -> None:
    """Add the device time that another process spent for a stage, if a stopwatch is running."""
    watch = _running.get()
    if watch is not None:
        watch.add(name, Spent(device=seconds))


def stage_of(error: BaseException) -> str:
    """Return the stage in which an error was raised, or ``rest`` if no stopwatch is running."""
    watch = _running.get()
    return REST if watch is None else watch.stage_of(error)


@contextmanager
def stage(name: str) -> Iterator[None]:
    """Count the block's time for a stage, if a stopwatch is running."""
    watch = _running.get()
    if watch is None:
        yield
    else:
        with watch.stage(name):
            yield


def clocked(name: str) -> Callable[[Callable[P, R]], Callable[P, R]]:
    """Decorate a function, or a generator function, whose running time counts for a stage."""

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

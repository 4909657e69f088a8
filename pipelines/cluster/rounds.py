"""Work in rounds: units of lost workers are handed out again, units of slow workers also go to others."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import closing
from typing import Any, ClassVar, Generic, TypeVar

from ..corpora.clips.found import count_of
from ..errors import ClusterError
from .engine import Ended, Engine, dealt

PARTS = 8
"""Parts per concurrent task: a slow part delays the end by at most an eighth of the total time."""
MOST = 1000
"""Maximum number of parts: by default, Slurm limits an array to 1,001 tasks."""
TRIES = 3
LOOK = 2.0  # seconds between polls
SHARE = 10
"""Polling the shared disk takes at most 1/SHARE of the time."""
SLOW = 2
"""A part is slow when it takes this many times as long as the others. Idle workers then do its units too,"""
SLOW_SECONDS = 60.0
"""but only after this many seconds in which no part has ended: Slurm takes a while to start a task."""

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
Ends = Generator[tuple[tuple[Key, ...], Ended | None], None, None]


class Spread(ABC, Generic[Key, Result]):
    """Runs units of work on an engine's workers; iterating yields the result of each unit.

    A unit may be done twice: both results are the same, and the shared disk keeps them. Leaving early, even
    by Ctrl-C, therefore loses nothing: the same command finds the finished units, and waits for tasks that an
    earlier command left running.

    Args:
        engine: engine that runs the tasks.
        told: callback for messages about failed workers, and about work awaited or handed out again.

    Attributes:
        left: keys of the units still to do, largest first.
    """

    unit: ClassVar[str]
    """Noun for a unit, used in messages."""
    least: ClassVar[int] = 1
    """Minimum number of units per part, since a task takes seconds to start."""

    def __init__(self, engine: Engine, told: Callable[[str], None]) -> None:
        self.left: dict[Key, None] = {}
        self._engine, self._told = engine, told
        self._next_look = 0.0

    @abstractmethod
    def function(self) -> Callable[[Any], Any]:
        """Return the function that does a part; it must work on any machine."""

    @abstractmethod
    def part(self, keys: tuple[Key, ...]) -> Any:
        """Return the argument with which the function does these units."""

    @abstractmethod
    def found(self) -> Iterator[tuple[Key, Result]]:
        """Yield the units in ``left`` whose results have reached the shared disk."""

    def ended(self, keys: tuple[Key, ...]) -> None:
        """Note that a worker has processed these units. Called once for each finished part."""

    def __iter__(self) -> Iterator[Result]:
        """Hand out the units and yield each result once it is on the shared disk.

        Raises:
            ClusterError: units are left after three rounds, or a round finished none.
        """
        troubles: dict[str, None] = {}
        for _ in range(TRIES):
            yield from self._wait()
            before = len(self.left)
            with closing(self._ends([*self.left], self._engine.tasks)) as ends:
                for keys, end in ends:
                    if end is not None and end.trouble:
                        if end.trouble not in troubles:
                            self._told(f"worker failed: {end.trouble}")
                        troubles[end.trouble] = None
                    elif end is not None:
                        self.ended(keys)
                    yield from self._news()
                    if not self.left:
                        break
            yield from self._news(at_once=True)
            if not self.left:
                self._engine.close()
                return
            if len(self.left) == before:
                break  # no progress: another round would fail too
        raise ClusterError(
            f"not done: {count_of(len(self.left), self.unit)}, as the workers failed: "
            f"{next(reversed(troubles), 'nothing is known of them')}; what was done is stored, and the same "
            "command goes on"
        )

    def _wait(self) -> Iterator[Result]:
        """Wait for tasks of an earlier command or round, yielding their results."""
        live = self._engine.busy()
        if live:
            self._told(f"{count_of(live, 'task')} of an earlier command not done yet; waiting for that first")
        while live and self.left:
            yield from self._news()
            time.sleep(LOOK)
            live = self._engine.busy()
        yield from self._news(at_once=True)

    def _ends(self, keys: Sequence[Key], tasks: int) -> Ends[Key]:
        """Yield the outcome of each part, including slow parts that were handed out a second time."""
        if not keys:
            return
        parts = dealt(keys, max(min(PARTS * tasks, len(keys) // self.least, MOST), min(tasks, MOST)))
        running = dict(enumerate(parts))
        again: Ends[Key] | None = None
        began = last = time.monotonic()
        for end in self._engine.map(self.function(), [self.part(part) for part in parts]):
            now = time.monotonic()
            if end is not None:
                last = now
                yield running.pop(end.place), end
            free = tasks - len(running)
            if again is None and running and free > 0 and len(running) < len(parts):
                usual = (last - began) * min(tasks, len(parts)) / (len(parts) - len(running))
                slow = [key for part in running.values() for key in part if key in self.left]
                if slow and now - last > max(SLOW_SECONDS, SLOW * usual):
                    what = f"{count_of(len(slow), self.unit)} of {count_of(len(running), 'slow task')}"
                    self._told(f"given to others too: {what}")
                    again = self._ends(slow, free)
            yield (), None
            if again is not None:
                yield next(again, ((), None))
        yield from again or ()

    def _news(self, at_once: bool = False) -> Iterator[Result]:
        if not at_once and time.monotonic() < self._next_look:
            return
        began = time.monotonic()
        for key, result in self.found():
            del self.left[key]
            yield result
        now = time.monotonic()
        self._next_look = now + max(LOOK, SHARE * (now - began))

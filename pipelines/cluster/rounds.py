"""Work in rounds: units of lost workers are handed out again, units of slow workers also go to others."""

from __future__ import annotations

import time
from abc import ABC, abstractmethod
from collections.abc import Callable, Generator, Hashable, Iterator, Sequence
from contextlib import closing
from typing import Any, ClassVar, Generic, TypeVar

from ..corpora.clips.found import count_of
from ..errors import ClusterError
from .engine import CallResult, Engine, deal

PARTS_PER_TASK = 8
"""Parts per concurrent task: a slow part delays the end by at most an eighth of the total time."""
MAX_PARTS = 1000
"""Maximum number of parts: by default, Slurm limits an array to 1,001 tasks."""
ROUNDS = 3
LOOK = 2.0  # seconds between polls
POLL_SHARE = 10
"""Polling the shared disk takes at most 1/SHARE of the time."""
SLOW_FACTOR = 2
"""Parts are slow when they take this many times as long as others; idle workers then do their units too."""
SLOW_SECONDS = 60.0
"""Seconds without the end of any part before parts count as slow: Slurm takes a while to start a task."""

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
CallResults = Generator[tuple[tuple[Key, ...], CallResult | None], None, None]


class DistributedWork(ABC, Generic[Key, Result]):
    """Runs units of work on an engine's workers; iterating yields the result of each unit.

    A unit may be done twice: both results are the same, and the shared disk keeps them. Leaving early, even
    by Ctrl-C, therefore loses nothing: the same command finds the finished units, and waits for tasks that an
    earlier command left running.

    Args:
        engine: engine that runs the tasks.
        on_message: callback for messages about failed workers, and about work awaited or handed out again.

    Attributes:
        remaining: keys of the units still to do, largest first.
    """

    unit: ClassVar[str]
    """Noun for a unit, used in messages."""
    min_units: ClassVar[int] = 1
    """Minimum number of units per part, since a task takes seconds to start."""

    def __init__(self, engine: Engine, on_message: Callable[[str], None]) -> None:
        self.remaining: dict[Key, None] = {}
        self._engine, self._on_message = engine, on_message
        self._next_poll = 0.0

    @abstractmethod
    def function(self) -> Callable[[Any], Any]:
        """Return the function that does a part; it must work on any machine."""

    @abstractmethod
    def part(self, keys: tuple[Key, ...]) -> Any:
        """Return the argument with which the function does these units."""

    @abstractmethod
    def found(self) -> Iterator[tuple[Key, Result]]:
        """Yield the units in ``remaining`` whose results have reached the shared disk."""

    def part_ended(self, keys: tuple[Key, ...]) -> None:
        """Note that a worker has processed these units. Called once for each finished part."""

    def __iter__(self) -> Iterator[Result]:
        """Hand out the units and yield each result once it is on the shared disk.

        Raises:
            ClusterError: units are left after three rounds, or a round finished none.
        """
        errors: dict[str, None] = {}
        for _ in range(ROUNDS):
            yield from self._wait()
            before = len(self.remaining)
            with closing(self._results_of([*self.remaining], self._engine.tasks)) as results:
                for keys, result in results:
                    if result is not None and result.error:
                        if result.error not in errors:
                            self._on_message(f"worker failed: {result.error}")
                        errors[result.error] = None
                    elif result is not None:
                        self.part_ended(keys)
                    yield from self._new_results()
                    if not self.remaining:
                        break
            yield from self._new_results(at_once=True)
            if not self.remaining:
                self._engine.close()
                return
            if len(self.remaining) == before:
                break  # no progress: another round would fail too
        raise ClusterError(
            f"not done: {count_of(len(self.remaining), self.unit)}, because workers failed: "
            f"{next(reversed(errors), 'they reported no error')}; finished work is stored, run the same "
            "command again to continue"
        )

    def _wait(self) -> Iterator[Result]:
        """Wait for tasks of an earlier command or round, yielding their results."""
        tasks = self._engine.busy()
        if tasks:
            self._on_message(f"waiting for {count_of(tasks, 'task')} of an earlier command")
        while tasks and self.remaining:
            yield from self._new_results()
            time.sleep(LOOK)
            tasks = self._engine.busy()
        yield from self._new_results(at_once=True)

    def _results_of(self, keys: Sequence[Key], tasks: int) -> CallResults[Key]:
        """Yield the outcome of each part, including slow parts that were handed out a second time."""
        if not keys:
            return
        parts = deal(
            keys,
            max(min(PARTS_PER_TASK * tasks, len(keys) // self.min_units, MAX_PARTS), min(tasks, MAX_PARTS)),
        )
        running = dict(enumerate(parts))
        repeated: CallResults[Key] | None = None
        began = last = time.monotonic()
        for result in self._engine.map(self.function(), [self.part(part) for part in parts]):
            now = time.monotonic()
            if result is not None:
                last = now
                yield running.pop(result.index), result
            free = tasks - len(running)
            if repeated is None and running and free > 0 and len(running) < len(parts):
                usual = (last - began) * min(tasks, len(parts)) / (len(parts) - len(running))
                slow = [key for part in running.values() for key in part if key in self.remaining]
                if slow and now - last > max(SLOW_SECONDS, SLOW_FACTOR * usual):
                    work = f"{count_of(len(slow), self.unit)} of {count_of(len(running), 'slow task')}"
                    self._on_message(f"also given to other workers: {work}")
                    repeated = self._results_of(slow, free)
            yield (), None
            if repeated is not None:
                yield next(repeated, ((), None))
        yield from repeated or ()

    def _new_results(self, at_once: bool = False) -> Iterator[Result]:
        if not at_once and time.monotonic() < self._next_poll:
            return
        began = time.monotonic()
        for key, result in self.found():
            del self.remaining[key]
            yield result
        now = time.monotonic()
        self._next_poll = now + max(LOOK, POLL_SHARE * (now - began))

"""Work in rounds: what a lost worker leaves is handed out again, what a slow one has goes to others too."""

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
"""Parts for each task that runs at once: a slow one delays the end by an eighth of the time at most."""
MOST = 1000
"""Parts in all: an array of Slurm has 1,001 tasks, if nobody raised that."""
TRIES = 3
LOOK = 2.0  # seconds
SHARE = 10
"""The shared disk is looked at for at most one part in so many of the time."""
SLOW = 2
"""Parts that take so many times as long as others are given to others too, where these have nothing to do;"""
SLOW_SECONDS = 60.0
"""and not before so many seconds without the end of any part: Slurm needs some to start a task."""

Key = TypeVar("Key", bound=Hashable)
Result = TypeVar("Result")
Ends = Generator[tuple[tuple[Key, ...], Ended | None], None, None]


class Spread(ABC, Generic[Key, Result]):
    """Units of work, done by an engine's workers; iterating yields each one's result.

    A unit may be done twice: its results are the same, and the shared disk keeps them. So leaving early, by
    Ctrl-C too, loses nothing: the same command finds what is there, and waits for tasks that an earlier one
    left.

    Args:
        engine: hands the work out.
        told: hears of workers that failed, and of work that is waited for or handed out again.

    Attributes:
        left: keys of the units that are not done, large ones first.
    """

    unit: ClassVar[str]
    """What a unit is called."""
    least: ClassVar[int] = 1
    """Units of a part: a task takes seconds to start."""

    def __init__(self, engine: Engine, told: Callable[[str], None]) -> None:
        self.left: dict[Key, None] = {}
        self._engine, self._told = engine, told
        self._next_look = 0.0

    @abstractmethod
    def function(self) -> Callable[[Any], Any]:
        """Does a part, on any machine."""

    @abstractmethod
    def part(self, keys: tuple[Key, ...]) -> Any:
        """What the function needs to know to do these units."""

    @abstractmethod
    def found(self) -> Iterator[tuple[Key, Result]]:
        """Those of the units that are left which the shared disk has by now."""

    def ended(self, keys: tuple[Key, ...]) -> None:
        """A worker has gone through these units."""

    def __iter__(self) -> Iterator[Result]:
        """Hand out, and yield each unit's result when it is on the shared disk.

        Raises:
            ClusterError: some units are not done after three rounds, or a round brought nothing.
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
                break  # it is not for want of luck
        raise ClusterError(
            f"not done: {count_of(len(self.left), self.unit)}, as the workers failed: "
            f"{next(reversed(troubles), 'nothing is known of them')}; what was done is stored, and the same "
            "command goes on"
        )

    def _wait(self) -> Iterator[Result]:
        """For tasks of an earlier command, or of an earlier round."""
        live = self._engine.busy()
        if live:
            self._told(f"{count_of(live, 'task')} of an earlier command not done yet; waiting for that first")
        while live and self.left:
            yield from self._news()
            time.sleep(LOOK)
            live = self._engine.busy()
        yield from self._news(at_once=True)

    def _ends(self, keys: Sequence[Key], tasks: int) -> Ends[Key]:
        """The end of each part; also of the units of slow ones, when they were handed out once more."""
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

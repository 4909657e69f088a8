"""Events of training, and the reporter that receives them."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Progress = Callable[[int], None]


class Reporter:
    """Receives events of training; this one ignores them.

    :class:`avemo.pipelines.cli.console.Console` prints them.
    """

    def facts(self, lines: Sequence[tuple[str, str]]) -> None:
        """Names and texts that describe work to be done, or done."""

    def note(self, text: str) -> None:
        """A remark for readers of the figures."""

    @contextmanager
    def epochs(self, total: int) -> Iterator[Progress]:
        """Yield a function that takes the number of epochs done, of ``total``."""
        yield lambda done: None

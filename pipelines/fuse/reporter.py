"""What training tells while it works, and who hears it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager

Progress = Callable[[int], None]


class Reporter:
    """Hears how work goes. This one says nothing; :class:`avemo.pipelines.cli.console.Console` prints."""

    def facts(self, lines: Sequence[tuple[str, str]]) -> None:
        """Names and texts: what is about to be done, or was."""

    def note(self, text: str) -> None:
        """Something that whoever reads the figures should know."""

    @contextmanager
    def epochs(self, total: int) -> Iterator[Progress]:
        """While the block runs: how many of ``total`` epochs are done."""
        yield lambda done: None

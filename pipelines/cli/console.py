"""Print the facts, notes and progress of work."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from contextlib import contextmanager

import click

from ..fuse.reporter import Progress, Reporter
from .progress import progress_bar, write


def tell(lines: Sequence[tuple[str, str]]) -> None:
    """Print names and texts in two columns."""
    for name, text in lines:
        click.echo(f"{name:<12}{text}")


class Console(Reporter):
    """Prints facts, notes to standard error, and progress bars."""

    def facts(self, lines: Sequence[tuple[str, str]]) -> None:
        tell(lines)

    def note(self, text: str) -> None:
        write(f"note: {text}")

    @contextmanager
    def epochs(self, total: int) -> Iterator[Progress]:
        with progress_bar(total=total, unit="epoch", disable=not total) as bar:
            yield lambda done: bar.update(done - bar.n) and None

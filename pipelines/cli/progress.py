"""Progress bars with rate and time left: updated often on a terminal, every ten seconds in a log."""

from __future__ import annotations

import sys
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any

from .framework import is_silent

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(work: Iterable[Any] | None = None, **settings: Any) -> tqdm:
    """Return a :class:`tqdm.tqdm` with these ``settings``; hidden if the command is silent."""
    from tqdm import tqdm

    settings["disable"] = settings.get("disable", False) or is_silent()
    return tqdm(work, mininterval=0.2 if sys.stderr.isatty() else 10, **settings)


def write(line: str) -> None:
    """Print to standard error, above a progress bar if there is one."""
    from tqdm import tqdm

    tqdm.write(line, file=sys.stderr)


@contextmanager
def seconds_bar(step: str, total: float) -> Iterator[Callable[[float], None]]:
    """Show progress through a recording in seconds; yield a function that takes the position reached.

    The bar disappears when the block ends. The rate is relative to real time: 2.00x is two seconds of the
    recording per second.
    """
    shape = (
        "{desc}: {percentage:3.0f}%|{bar}| {n:.0f} of {total:.0f} s [{elapsed}<{remaining}, {rate_noinv_fmt}]"
    )
    with progress_bar(desc=step, total=max(total, 0.01), unit="x", leave=False, bar_format=shape) as bar:

        def reached(seconds: float) -> None:
            bar.update(max(0.0, min(seconds, bar.total) - bar.n))

        yield reached

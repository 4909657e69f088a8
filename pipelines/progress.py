"""Progress bars with rate and time left: lively on a terminal, a line every ten seconds in a log."""

from __future__ import annotations

import sys
from collections.abc import Iterable
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from tqdm import tqdm


def progress_bar(work: Iterable[Any] | None = None, **settings: Any) -> tqdm:
    """:class:`tqdm.tqdm` with such ``settings``."""
    from tqdm import tqdm

    return tqdm(work, mininterval=0.2 if sys.stderr.isatty() else 10, **settings)

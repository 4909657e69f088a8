"""Progress of training and evaluation."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .training import EpochFigures


class Listener:
    """Receives the progress of a training or an evaluation; this base class ignores it."""

    def counting(
        self, what: str, unit: str, total: int, done: int = 0
    ) -> AbstractContextManager[Callable[..., None]]:
        """Return a context manager for work on ``total`` units; it gives ``advance(count=1, loss=NaN)``."""
        return nullcontext(lambda count=1, loss=0.0: None)

    def on_resumed(self, checkpoint: Path, epochs: int) -> None:
        """Called when a training resumes after so many epochs."""

    def on_epoch(self, epoch: EpochFigures, epochs: int) -> None:
        """Called after each epoch."""

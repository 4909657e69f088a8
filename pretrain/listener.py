"""Tells whoever trains or evaluates how far it has come."""

from __future__ import annotations

from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from .training import EpochFigures


class Listener:
    """Hears how far a training or an evaluation has come; this one does nothing about it."""

    def counting(
        self, what: str, unit: str, total: int, done: int = 0
    ) -> AbstractContextManager[Callable[..., None]]:
        """Around work on ``total`` units; the block calls ``advance(count=1, loss=NaN)``."""
        return nullcontext(lambda count=1, loss=0.0: None)

    def on_resumed(self, checkpoint: Path, epochs: int) -> None:
        """A training goes on after so many epochs."""

    def on_epoch(self, epoch: EpochFigures, epochs: int) -> None:
        """An epoch is done."""

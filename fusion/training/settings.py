"""Training settings: plain values, stored in a run's card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import FusionError

SESSION = r"[Ss]es(?:sion)?[-_ ]?\d+"
"""Finds a session in a clip's ``split/id``."""


@dataclass(frozen=True)
class TrainingSettings:
    """How to train a head: AdamW on cross-entropy; the member is the head after the last epoch.

    zhou2021 §IV uses Adam, which is AdamW without weight decay.

    Attributes:
        epochs: passes over the training clips.
        batch: clips per step.
        learning_rate: initial learning rate.
        weight_decay: decoupled weight decay, multiplied by the learning rate; the papers use none.
        halve_after: number of epochs after which the learning rate is halved, once; None for never. In
            zhou2021 §IV-A (fig. 5) it is 50; the paper does not mention it for the fused systems.
    """

    epochs: int = 200
    batch: int = 64
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    halve_after: int | None = None

    def check(self) -> None:
        """Check that ``halve_after`` comes before the last epoch.

        Raises:
            FusionError: it does not.
        """
        if self.halve_after is not None and self.halve_after >= self.epochs:
            raise FusionError(
                f"the learning rate cannot be halved after epoch {self.halve_after} of {self.epochs}; halve "
                "it earlier, or train for more epochs"
            )

    def described(self) -> dict[str, Any]:
        """Return the settings as JSON values, without None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

"""Settings of training: plain values, kept in a run's card."""

from __future__ import annotations

from dataclasses import asdict, dataclass
from typing import Any

from ..errors import FusionError

SESSION = r"[Ss]es(?:sion)?[-_ ]?\d+"
"""Finds a session in a clip's ``split/id``."""


@dataclass(frozen=True)
class TrainingSettings:
    """How a head is trained: Adam on cross-entropy (zhou2021 §IV); the last epoch is the member.

    ``weight_decay`` shrinks the weights by that share of the learning rate at each step, apart from the
    gradient; the papers have none. After ``halve_after`` epochs, if any, the learning rate is halved, once:
    after 50 in zhou2021 §IV-A (fig. 5), which does not say it of the fused systems.
    """

    epochs: int = 200
    batch: int = 64
    learning_rate: float = 1e-4
    weight_decay: float = 0.0
    halve_after: int | None = None

    def check(self) -> None:
        """See that ``halve_after`` comes before the last epoch.

        Raises:
            FusionError: it does not.
        """
        if self.halve_after is not None and self.halve_after >= self.epochs:
            raise FusionError(
                f"the learning rate cannot be halved after epoch {self.halve_after} of {self.epochs}; halve "
                "it earlier, or train for more epochs"
            )

    def described(self) -> dict[str, Any]:
        """As JSON values, without what is None."""
        return {name: value for name, value in asdict(self).items() if value is not None}

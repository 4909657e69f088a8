"""What training takes where nothing is said: settings that hold on few clips.

The papers' own (1e-4, 0.3, 200 epochs, transformer attention; ``--preset``) are for AFEW's 773 clips, and for
networks that have seen emotions. docs/results.md has what these reach on Java-SED beside those.
"""

from __future__ import annotations

from dataclasses import dataclass

from .settings import TrainingSettings

EPOCHS, FEWEST_EPOCHS = 60, 10
STEPS = (180, 1000)
"""Steps of the optimiser: the fewest, for which few clips are gone through more often than :data:`EPOCHS`
says, and the most, for which many are less often, but at least :data:`FEWEST_EPOCHS`."""


@dataclass(frozen=True)
class Defaults:
    """How a head is trained.

    Attributes:
        learning_rate, dropout, epochs: as in :class:`.TrainingSettings` and :class:`.HeadSettings`.
        visual_attention: over the faces; None for the head's own.
    """

    learning_rate: float
    dropout: float
    epochs: int
    visual_attention: str | None = None


SEGMENTS = Defaults(TrainingSettings.learning_rate, 0.3, TrainingSettings.epochs)


def defaults_for(fusion: str, clips: int, batch: int = TrainingSettings.batch) -> Defaults:
    """The settings for a head and a number of labelled clips.

    Args:
        fusion: the head's name.
        clips: how many there are.
        batch: clips a step.
    """
    if fusion == "segments":  # its clips are many segments: what holds for others does not for it
        return SEGMENTS
    each = max(1, -(-clips // batch))  # steps an epoch
    fewest, most = (-(-steps // each) for steps in STEPS)
    epochs = max(fewest, min(EPOCHS, most), FEWEST_EPOCHS)
    return Defaults(1e-3, 0.6, epochs, "conv" if fusion == "fbp" else None)

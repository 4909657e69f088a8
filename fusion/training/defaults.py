"""Default training settings, suited to small data sets.

The papers' settings (1e-4, 0.3, 200 epochs, transformer attention; ``--preset``) are for AFEW's 773 clips and
for networks trained on emotions. docs/results.md compares both on Java-SED.
"""

from __future__ import annotations

from dataclasses import dataclass

from .settings import TrainingSettings

EPOCHS, FEWEST_EPOCHS = 60, 10
STEPS = (180, 1000)
"""Minimum and maximum number of optimiser steps.

Small data sets get more than :data:`EPOCHS` epochs to reach the minimum. Large ones get fewer to stay below
the maximum, but at least :data:`FEWEST_EPOCHS`.
"""


@dataclass(frozen=True)
class Defaults:
    """Default settings for training a head.

    Attributes:
        learning_rate, dropout, epochs: as in :class:`.TrainingSettings` and :class:`.HeadSettings`.
        visual_attention: attention over the faces; None for the head's own default.
    """

    learning_rate: float
    dropout: float
    epochs: int
    visual_attention: str | None = None


SEGMENTS = Defaults(TrainingSettings.learning_rate, 0.3, TrainingSettings.epochs)


def defaults_for(fusion: str, clips: int, batch: int = TrainingSettings.batch) -> Defaults:
    """Return the default settings for a head.

    Args:
        fusion: name of the head.
        clips: number of labelled clips.
        batch: clips per step.
    """
    if fusion == "segments":  # each clip has many segments, so the rules for other heads do not apply
        return SEGMENTS
    each = max(1, -(-clips // batch))  # steps per epoch
    fewest, most = (-(-steps // each) for steps in STEPS)
    epochs = max(fewest, min(EPOCHS, most), FEWEST_EPOCHS)
    return Defaults(1e-3, 0.6, epochs, "conv" if fusion == "fbp" else None)

"""The priors that ``--prior`` can name."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING

import click

if TYPE_CHECKING:
    from ..fusion.priors import Prior

EMOTIW2019_TEST_COUNTS = {
    "Angry": 98,
    "Disgust": 40,
    "Fear": 70,
    "Happy": 144,
    "Neutral": 193,
    "Sad": 80,
    "Surprise": 28,
}


def choose(source: str, train_counts: Mapping[str, int] | None) -> Prior | None:
    """The prior that ``source`` names: ``none``, ``train``, ``emotiw2019`` or a file.

    Args:
        source: one of the names, or a file that :func:`avemo.fusion.priors.from_file` reads.
        train_counts: clips of each class that was trained on, for ``train``; None where not known.

    Raises:
        click.UsageError: the training counts are asked for and not known.
        FusionError: the file cannot be used.
    """
    from ..fusion.priors import from_counts, from_file

    if source == "none":
        return None
    if source == "emotiw2019":
        note = "the square roots of EmotiW 2019's test counts: a prior over that challenge's test labels"
        return from_counts(EMOTIW2019_TEST_COUNTS, note)
    if source != "train":
        return from_file(Path(source))
    if not train_counts:
        raise click.UsageError(
            "--prior train needs the number of training clips of each class; run folders know it, for other "
            "scores give a CSV of class,count by --counts"
        )
    return from_counts(train_counts, "the square roots of the training labels' counts")

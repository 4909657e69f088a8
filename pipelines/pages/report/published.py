"""Accuracies printed in papers, for runs on the same clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...recipes.emotiw2019 import PAPER, PAPER_ENSEMBLE

if TYPE_CHECKING:
    from ....fusion.evaluation.scores import Scores

AFEW_VALIDATION = {
    "Angry": 64,
    "Disgust": 40,
    "Fear": 46,
    "Happy": 63,
    "Neutral": 63,
    "Sad": 61,
    "Surprise": 46,
}

Row = tuple[str, float, str]
"""A system, its accuracy (0 to 1) and where that is printed."""

ON_AFEW: Sequence[Row] = (
    ("concatenation", 0.58, "zhou2019 §3.3"),
    ("FBP, basic features", 0.611, "zhou2019 table 2"),
    *((f"FBP, {row.name}", row.accuracy, "zhou2019 table 3") for row in PAPER.values()),
    ("five FBP, with class weights", PAPER_ENSEMBLE, "zhou2019 table 4"),
    ("G-FBP", 0.6110, "zhou2021 table IV"),
    ("AG-FBP", 0.6240, "zhou2021 table IV"),
    ("M-FBP", 0.6318, "zhou2021 table IV"),
    ("AM-FBP", 0.6417, "zhou2021 table IV"),
)


def published(scores: Scores) -> Sequence[Row]:
    """What is printed for these clips: AFEW's 383 validation clips, known by their classes; else nothing."""
    return ON_AFEW if Counter(name for name in scores.truth if name) == AFEW_VALIDATION else ()

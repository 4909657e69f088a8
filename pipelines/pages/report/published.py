"""Accuracies published in papers, for runs on the same clips."""

from __future__ import annotations

from collections import Counter
from collections.abc import Sequence
from typing import TYPE_CHECKING

from ...recipes.recipe import load

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
"""A system, its accuracy (0 to 1), and the place in the paper."""


def published(scores: Scores) -> Sequence[Row]:
    """Return published accuracies if these are AFEW's 383 validation clips (judged by the class counts)."""
    return on_afew() if Counter(name for name in scores.truth if name) == AFEW_VALIDATION else ()


def on_afew() -> Sequence[Row]:
    """Return the published accuracies on AFEW's validation clips, mostly from the recipes."""
    submission, family = load("emotiw2019"), load("zhou2021-family")
    assert submission.ensemble
    return (
        ("concatenation", 0.58, "zhou2019 §3.3"),
        ("FBP, basic features", 0.611, "zhou2019 table 2"),
        *((f"FBP, {name}", accuracy, "zhou2019 table 3") for name, accuracy in submission.papers.items()),
        ("five FBP, with class weights", submission.ensemble["paper"], "zhou2019 table 4"),
        *((name.upper(), accuracy, "zhou2021 table IV") for name, accuracy in family.papers.items()),
    )

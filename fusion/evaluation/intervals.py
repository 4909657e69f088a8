"""Confidence intervals: bootstrap of any figure (Efron 1979), and Wilson's of a share (Wilson 1927)."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest

from ..errors import FusionError
from .metrics import confusion, figures
from .scores import Scores

RESAMPLES = 2000


@dataclass(frozen=True)
class Interval:
    """From ``low`` to ``high``, 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Percentile intervals of the figures of one set of scores.

    Attributes:
        units: how many clips, or groups of clips, were drawn from.
    """

    accuracy: Interval
    uar: Interval
    macro_f1: Interval
    units: int


def bootstrap(
    scores: Scores,
    groups: Sequence[str] | None = None,
    resamples: int = RESAMPLES,
    level: float = 0.95,
    seed: int = 0,
) -> Intervals:
    """Intervals from drawing as many clips, with replacement, again and again.

    Clips of one person are alike, so drawing clips flatters: with ``groups``, whole groups are drawn (cluster
    bootstrap). With fewer than about ten groups that interval is too narrow as well.

    Args:
        scores: the clips; those without a true class are passed over.
        groups: of each clip, its subject; None to draw clips.
        resamples: how often to draw.
        level: the share of draws that lie inside, half of the rest on either side.
        seed: of the draws.

    Raises:
        FusionError: no clip has a true class, or there are fewer than two groups.
    """
    known = [i for i, truth in enumerate(scores.truth) if truth is not None]
    if not known:
        raise FusionError(f"none of {len(scores.clips)} clips has a known class, so nothing can be counted")
    rng = np.random.default_rng(seed)
    if groups is None:
        cells = _confusion(scores, known).ravel()
        units, drawn = len(known), rng.multinomial(len(known), cells / cells.sum(), resamples)
    else:
        names = sorted({groups[i] for i in known})
        if len(names) < 2:
            raise FusionError(f"all clips are of {names[0]}; drawing groups needs two or more")
        of_each = [_confusion(scores, [i for i in known if groups[i] == name]).ravel() for name in names]
        units = len(names)
        drawn = rng.multinomial(units, np.full(units, 1 / units), resamples) @ np.array(of_each)
    found = figures(drawn.reshape(resamples, len(scores.classes), len(scores.classes)))
    tails = [(1 - level) / 2, (1 + level) / 2]
    accuracy, uar, macro_f1 = (Interval(*map(float, np.quantile(values, tails))) for values in found)
    return Intervals(accuracy, uar, macro_f1, units)


def of_share(part: int, whole: int, level: float = 0.95) -> Interval:
    """Wilson's interval of ``part`` of ``whole`` clips; it stays within 0 to 1, and is of use for few clips.

    Raises:
        ValueError: ``whole`` is not 1 or more, or ``part`` is not within it.
    """
    found = binomtest(part, whole).proportion_ci(level, method="wilson")
    return Interval(float(found.low), float(found.high))


def _confusion(scores: Scores, clips: Sequence[int]) -> np.ndarray:
    predicted = scores.predicted
    truth = [str(scores.truth[i]) for i in clips]
    return confusion(truth, [predicted[i] for i in clips], scores.classes)

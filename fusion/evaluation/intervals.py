"""Confidence intervals: the bootstrap (Efron 1979), and Wilson's interval of a proportion (Wilson 1927)."""

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
    """An interval from ``low`` to ``high``, within 0 to 1."""

    low: float
    high: float


@dataclass(frozen=True)
class Intervals:
    """Percentile intervals of the metrics of one set of scores.

    Attributes:
        units: number of clips, or groups of clips, drawn from.
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
    """Compute bootstrap intervals by resampling clips with replacement.

    Clips of one person are correlated, so drawing single clips gives intervals that are too narrow. With
    ``groups``, whole groups are drawn (cluster bootstrap); with fewer than about ten groups, the interval is
    still too narrow.

    Args:
        scores: scores of the clips; clips without a true class are ignored.
        groups: subject of each clip; None to draw clips.
        resamples: number of draws.
        level: share of draws inside the interval, with equal tails on both sides.
        seed: random seed.

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
            raise FusionError(f"all clips are of {names[0]}; a bootstrap of groups needs two or more")
        of_each = [_confusion(scores, [i for i in known if groups[i] == name]).ravel() for name in names]
        units = len(names)
        drawn = rng.multinomial(units, np.full(units, 1 / units), resamples) @ np.array(of_each)
    found = figures(drawn.reshape(resamples, len(scores.classes), len(scores.classes)))
    tails = [(1 - level) / 2, (1 + level) / 2]
    accuracy, uar, macro_f1 = (Interval(*map(float, np.quantile(values, tails))) for values in found)
    return Intervals(accuracy, uar, macro_f1, units)


def of_share(part: int, whole: int, level: float = 0.95) -> Interval:
    """Return Wilson's interval of ``part / whole``. It stays within 0 to 1 and suits small samples.

    Raises:
        ValueError: ``whole`` is below 1, or ``part`` is not from 0 to ``whole``.
    """
    found = binomtest(part, whole).proportion_ci(level, method="wilson")
    return Interval(float(found.low), float(found.high))


def _confusion(scores: Scores, clips: Sequence[int]) -> np.ndarray:
    predicted = scores.predicted
    truth = [str(scores.truth[i]) for i in clips]
    return confusion(truth, [predicted[i] for i in clips], scores.classes)

"""Significance tests of two sets of predictions on the same clips."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from scipy.stats import binomtest, norm

from ..errors import FusionError


@dataclass(frozen=True)
class MatchedPair:
    """The matched-pair test (Gillick & Cox 1989; Pallett, Fisher & Fiscus 1990).

    With d_i = errors of A − errors of B on clip i, Z = mean(d) / (sd(d) / √n), sd over n − 1, is about
    normal where neither is better. A Z above 0 says that B makes fewer errors.

    Attributes:
        clips: n.
        difference: mean(d), B's accuracy less A's, -1 to 1.
        interval: its 95 % confidence interval, mean(d) ± 1.96 sd(d) / √n.
        z: Z; 0 where A and B err alike on every clip, infinite where they differ alike on every clip.
        one_tailed: p = 1 − Φ(Z), of "B is better than A".
        two_tailed: p = 2 (1 − Φ(|Z|)), of "they differ".
    """

    clips: int
    difference: float
    interval: tuple[float, float]
    z: float
    one_tailed: float
    two_tailed: float


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test: of the clips that one alone gets right, B's number is binomial with p = 1/2.

    Attributes:
        only_first, only_second: clips that A, or B, alone gets right.
        one_tailed: p of "B is better than A".
        two_tailed: p of "they differ".
    """

    only_first: int
    only_second: int
    one_tailed: float
    two_tailed: float


def matched_pair(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> MatchedPair:
    """The matched-pair test on the errors of A and B.

    Args:
        first, second: of each clip, in one order: 1 for an error, 0 for none, or anything between (the share
            of members that err).

    Raises:
        FusionError: fewer than two clips, or not as many of both.
    """
    a, b = np.asarray(first, dtype=np.float64), np.asarray(second, dtype=np.float64)
    if a.shape != b.shape or a.ndim != 1 or len(a) < 2:
        raise FusionError(f"{len(a)} and {len(b)} clips to compare; the same two or more expected")
    differences = a - b
    mean = float(differences.mean())
    error = float(differences.std(ddof=1)) / np.sqrt(len(a))
    z = mean / error if error else float(np.copysign(np.inf, mean)) if mean else 0.0
    margin = float(norm.ppf(0.975)) * error
    return MatchedPair(
        len(a), mean, (mean - margin, mean + margin), z, float(norm.sf(z)), float(2 * norm.sf(abs(z)))
    )


def mcnemar(first: Sequence[bool] | np.ndarray, second: Sequence[bool] | np.ndarray) -> McNemar:
    """McNemar's exact test on whether A and B are right.

    Args:
        first, second: of each clip, in one order, whether its prediction is right.

    Raises:
        FusionError: no clips, or not as many of both.
    """
    a, b = np.asarray(first, dtype=bool), np.asarray(second, dtype=bool)
    if a.shape != b.shape or not len(a):
        raise FusionError(f"{len(a)} and {len(b)} clips to compare; the same one or more expected")
    only_a, only_b = int((a & ~b).sum()), int((b & ~a).sum())
    if not only_a + only_b:
        return McNemar(0, 0, 1.0, 1.0)
    greater, differs = (
        float(binomtest(only_b, only_a + only_b, 0.5, alternative).pvalue)
        for alternative in ("greater", "two-sided")
    )
    return McNemar(only_a, only_b, greater, differs)

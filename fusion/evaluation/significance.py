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

    With d_i = errors of A − errors of B on clip i, Z = mean(d) / (sd(d) / √n), sd over n − 1, is
    approximately standard normal if neither is better. Z is above 0 if B makes fewer errors.

    Attributes:
        clips: n.
        difference: mean(d), B's accuracy minus A's, -1 to 1.
        interval: 95 % confidence interval of the difference, mean(d) ± 1.96 sd(d) / √n.
        z: Z; 0 if d is 0 on every clip, infinite if d is the same non-zero value on every clip.
        one_tailed: p = 1 − Φ(Z) for "B is better than A".
        two_tailed: p = 2 (1 − Φ(|Z|)) for "A and B differ".
    """

    clips: int
    difference: float
    interval: tuple[float, float]
    z: float
    one_tailed: float
    two_tailed: float


@dataclass(frozen=True)
class McNemar:
    """McNemar's exact test: B's share of the clips that only one gets right is binomial with p = 1/2.

    Attributes:
        only_first, only_second: number of clips that only A, or only B, gets right.
        one_tailed: p for "B is better than A".
        two_tailed: p for "A and B differ".
    """

    only_first: int
    only_second: int
    one_tailed: float
    two_tailed: float


def matched_pair(first: Sequence[float] | np.ndarray, second: Sequence[float] | np.ndarray) -> MatchedPair:
    """Run the matched-pair test on the errors of A and B.

    Args:
        first, second: error on each clip, in the same order: 1 for an error, 0 for none, or a value in
            between (the share of members that err).

    Raises:
        FusionError: there are fewer than two clips, or the lengths differ.
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
    """Run McNemar's exact test on the correct predictions of A and B.

    Args:
        first, second: whether the prediction of each clip is right, in the same order.

    Raises:
        FusionError: there are no clips, or the lengths differ.
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

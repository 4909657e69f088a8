"""Smooths probabilities over time."""

from __future__ import annotations

import numpy as np

REACH = 3.0
"""Half-width of the filter in standard deviations; frames further away would weigh less than 0.012."""


def smoothed(times: np.ndarray, values: np.ndarray, shots: np.ndarray, deviation: float) -> np.ndarray:
    """Smooth values by a Gaussian filter over time, within each shot.

    Frames without a face have no weight and stay NaN. Frames of other shots have no weight either, so nothing
    is carried across a cut.

    Args:
        times: ``[T]`` seconds, ascending.
        values: ``[T, C]``, NaN in frames without a face.
        shots: ``[T]`` shot number of each frame.
        deviation: standard deviation of the Gaussian in seconds; 0 for no smoothing.

    Returns:
        ``[T, C]``, of the same dtype as ``values``.
    """
    known = ~np.isnan(values[:, 0])
    if deviation <= 0 or not known.any():
        return values
    filled = np.where(known[:, None], values, 0)
    total, weight = filled.copy(), known.astype(values.dtype)
    reach = REACH * deviation + 1e-6  # times are rounded
    last = np.searchsorted(times, times + reach, side="right") - 1
    for lag in range(1, int((last - np.arange(len(times))).max()) + 1):
        apart = times[lag:] - times[:-lag]
        near = np.exp(-0.5 * (apart / deviation) ** 2)
        near *= (apart <= reach) & (shots[lag:] == shots[:-lag])
        for here, there in ((slice(None, -lag), slice(lag, None)), (slice(lag, None), slice(None, -lag))):
            total[here] += (near * known[there])[:, None] * filled[there]
            weight[here] += near * known[there]
    means = total / np.maximum(weight, np.finfo(values.dtype).tiny)[:, None]
    return np.where(known[:, None], means, np.nan).astype(values.dtype)

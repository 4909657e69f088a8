"""Functionals: statistics of the low-level descriptors of a stretch of speech, as one vector.

After Eyben et al. 2016 ("The Geneva Minimalistic Acoustic Parameter Set (GeMAPS)", IEEE TAC): pitch, voice
quality, level and timbre where there is voice, how pitch and level move, and the rhythm of voice and pause.
"""

from __future__ import annotations

import numpy as np

FRAMES_A_SECOND = 100
PERCENTILES = (5, 20, 50, 80, 95)
FEWEST_VOICED = 5
"""Frames: of fewer, nothing is said about the voice."""

_REFERENCE_HZ = 27.5  # of semitones, as in GeMAPS
_PAUSE_DB = 25.0  # below the loudest frame
_MOVING = 5
_SYLLABLE = 9  # frames over which level is averaged before its peaks are counted


def functionals(
    f0: np.ndarray,
    voice: np.ndarray,
    level: np.ndarray,
    loudness: np.ndarray,
    spectrum: np.ndarray,
    mfcc: np.ndarray,
) -> np.ndarray:
    """One vector for T frames, 10 ms apart.

    Args:
        f0: ``[T, 1]`` Hz, 0 where unvoiced.
        voice: ``[T, Q]`` qualities of the voiced frames.
        level: ``[T, 1]`` dB.
        loudness: ``[T, 1]``.
        spectrum: ``[T, S]``, what describes its shape.
        mfcc: ``[T, M]``.

    Returns:
        ``[D]``, ``D = 9 (5 + Q + S + M) + 18``: :func:`statistics` of all, pitch in semitones, over the
        voiced frames, and of level and loudness over all; :func:`movement` of pitch and of loudness; and
        :func:`rhythm`. What needs voice is NaN where fewer than :data:`FEWEST_VOICED` frames have one.
    """
    voiced = f0[:, 0] > 0
    semitones = np.full(len(f0), np.nan)
    if voiced.sum() >= FEWEST_VOICED:
        semitones[voiced] = 12 * np.log2(f0[voiced, 0] / _REFERENCE_HZ)
    known = np.isfinite(semitones)
    times = np.arange(len(f0)) / FRAMES_A_SECOND
    energy = np.column_stack([level, loudness])
    described = np.column_stack([semitones, voice, energy, spectrum, mfcc])
    return np.concatenate(
        [
            statistics(described[known], times[known]),
            statistics(energy, times),
            movement(semitones),
            movement(loudness[:, 0]),
            rhythm(voiced, level[:, 0]),
        ]
    )


def statistics(values: np.ndarray, times: np.ndarray) -> np.ndarray:
    """``[T, K]`` at ``[T]`` seconds → ``[9 K]``: means, deviations, :data:`PERCENTILES`, ranges from the 20th
    to the 80th, and slopes a second of the straight lines through them; all NaN of no values.
    """
    if not len(values):
        return np.full(9 * values.shape[1], np.nan)
    percentiles = np.percentile(values, PERCENTILES, axis=0)
    centred = times - times.mean()
    slopes = centred @ values / max(centred @ centred, np.finfo(np.float64).tiny)
    ranges = percentiles[3] - percentiles[1]
    return np.concatenate([values.mean(axis=0), values.std(axis=0), percentiles.ravel(), ranges, slopes])


def movement(values: np.ndarray) -> np.ndarray:
    """``[T]`` → ``[4]``: mean and deviation of the rises from frame to frame, then of the falls, a second, of
    the mean of five frames.

    Frames near one that is NaN take no part. A side that does not happen has 0; all is NaN where nothing
    is known of either.
    """
    smooth = _smoothed(values, _MOVING)
    changes = np.diff(smooth) * FRAMES_A_SECOND
    changes = changes[np.isfinite(changes)]
    if not len(changes):
        return np.full(4, np.nan)
    sides = [changes[changes > 0], changes[changes < 0]]
    return np.array([figure for side in sides for figure in (_mean(side), _deviation(side))])


def rhythm(voiced: np.ndarray, level: np.ndarray) -> np.ndarray:
    """``[T]`` whether voiced, and dB → ``[10]``: the voiced share of the frames; the share more than 25 dB
    below the loudest; voiced stretches a second, mean and deviation of their seconds, and of those of the
    gaps; peaks of level a second, which are about its syllables; the natural logarithm of all seconds; and
    the longest gap in seconds.
    """
    seconds = len(level) / FRAMES_A_SECOND
    stretches, gaps = lengths(voiced), lengths(~voiced)
    smooth = _smoothed(level, _SYLLABLE)
    peaks = (smooth[1:-1] > smooth[:-2]) & (smooth[1:-1] >= smooth[2:])
    loud = smooth[1:-1] > level.max() - _PAUSE_DB
    return np.array(
        [
            voiced.mean(),
            (level < level.max() - _PAUSE_DB).mean(),
            len(stretches) / seconds,
            _mean(stretches),
            _deviation(stretches),
            _mean(gaps),
            _deviation(gaps),
            (peaks & loud).sum() / seconds,
            np.log(seconds),
            max(gaps, default=0.0),
        ]
    )


def lengths(frames: np.ndarray) -> np.ndarray:
    """Seconds of each stretch of true ``frames`` ``[T]``."""
    edges = np.flatnonzero(np.diff(np.r_[False, frames, False].astype(int)))
    return (edges[1::2] - edges[::2]) / FRAMES_A_SECOND


def _smoothed(values: np.ndarray, frames: int) -> np.ndarray:
    """``[T]`` → ``[T - frames + 1]``, or none: moving means."""
    return (
        np.convolve(values, np.full(frames, 1 / frames), mode="valid")
        if len(values) >= frames
        else values[:0]
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _deviation(values: np.ndarray) -> float:
    return float(values.std()) if len(values) else 0.0

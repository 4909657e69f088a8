"""Functionals: statistics of the low-level descriptors of a stretch of speech, as one vector.

After Eyben et al. 2016 ("The Geneva Minimalistic Acoustic Parameter Set (GeMAPS)", IEEE TAC): pitch, voice
quality, level and timbre of voiced frames, movement of pitch and loudness, and rhythm of voice and pauses.
"""

from __future__ import annotations

import numpy as np

FRAMES_A_SECOND = 100
PERCENTILES = (5, 20, 50, 80, 95)
FEWEST_VOICED = 5
"""Minimum number of voiced frames; with fewer, voice statistics are NaN."""

_REFERENCE_HZ = 27.5  # reference of the semitone scale, as in GeMAPS
_PAUSE_DB = 25.0  # below the loudest frame
_MOVING = 5  # frames of the moving average before rises and falls
_SYLLABLE = 9  # frames of the moving average of the level before peaks are counted


def functionals(
    f0: np.ndarray,
    voice: np.ndarray,
    level: np.ndarray,
    loudness: np.ndarray,
    spectrum: np.ndarray,
    mfcc: np.ndarray,
) -> np.ndarray:
    """Summarise T frames, 10 ms apart, as one vector.

    Args:
        f0: ``[T, 1]`` Hz, 0 if unvoiced.
        voice: ``[T, Q]`` voice quality of the voiced frames.
        level: ``[T, 1]`` dB.
        loudness: ``[T, 1]``.
        spectrum: ``[T, S]`` descriptors of the spectrum's shape.
        mfcc: ``[T, M]``.

    Returns:
        ``[D]``, ``D = 9 (5 + Q + S + M) + 18``: :func:`statistics` of all descriptors over the voiced frames,
        with pitch in semitones; :func:`statistics` of level and loudness over all frames; :func:`movement` of
        pitch and of loudness; and :func:`rhythm`. Values that need voice are NaN if fewer than
        :data:`FEWEST_VOICED` frames are voiced.
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
    """Compute nine statistics of each column: ``[T, K]`` at ``[T]`` seconds → ``[9 K]``.

    These are mean, standard deviation, :data:`PERCENTILES`, range from the 20th to the 80th percentile, and
    slope per second of the regression line. All are NaN if T is 0.
    """
    if not len(values):
        return np.full(9 * values.shape[1], np.nan)
    percentiles = np.percentile(values, PERCENTILES, axis=0)
    centred = times - times.mean()
    slopes = centred @ values / max(centred @ centred, np.finfo(np.float64).tiny)
    ranges = percentiles[3] - percentiles[1]
    return np.concatenate([values.mean(axis=0), values.std(axis=0), percentiles.ravel(), ranges, slopes])


def movement(values: np.ndarray) -> np.ndarray:
    """Return mean and standard deviation of rises, then of falls, per second: ``[T]`` → ``[4]``.

    Rises and falls are frame-to-frame changes of a moving average over five frames. Averages that include a
    NaN frame are ignored. Values are 0 without rises (or falls), and all NaN if no change is known.
    """
    smooth = _smoothed(values, _MOVING)
    changes = np.diff(smooth) * FRAMES_A_SECOND
    changes = changes[np.isfinite(changes)]
    if not len(changes):
        return np.full(4, np.nan)
    sides = [changes[changes > 0], changes[changes < 0]]
    return np.array([figure for side in sides for figure in (_mean(side), _deviation(side))])


def rhythm(voiced: np.ndarray, level: np.ndarray) -> np.ndarray:
    """Describe the rhythm of voice and pauses: ``[T]`` voicing and ``[T]`` level in dB → ``[10]``.

    In order: share of voiced frames; share of frames more than 25 dB below the loudest; voiced stretches per
    second; mean and standard deviation of their seconds, and of the seconds of the gaps; level peaks per
    second, about the syllable rate; natural logarithm of the duration in seconds; longest gap in seconds.
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
    """Return the duration in seconds of each run of true ``frames`` ``[T]``."""
    edges = np.flatnonzero(np.diff(np.r_[False, frames, False].astype(int)))
    return (edges[1::2] - edges[::2]) / FRAMES_A_SECOND


def _smoothed(values: np.ndarray, frames: int) -> np.ndarray:
    """Moving average: ``[T]`` → ``[T - frames + 1]``, empty if T is below ``frames``."""
    return (
        np.convolve(values, np.full(frames, 1 / frames), mode="valid")
        if len(values) >= frames
        else values[:0]
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else 0.0


def _deviation(values: np.ndarray) -> float:
    return float(values.std()) if len(values) else 0.0

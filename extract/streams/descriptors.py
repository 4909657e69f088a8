"""The stream ``descriptors``: pitch, voice quality, level and spectral shape, every 10 ms.

They are the kinds of descriptors in the field's minimal set (Eyben et al. 2016, "The Geneva Minimalistic
Acoustic Parameter Set (GeMAPS)", IEEE TAC). Functionals over a clip are computed when a model reads them.
Their frames are those of log-Mel.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from itertools import pairwise
from typing import Any

import librosa
import numpy as np

from ...cache.keys import FeatureKey
from ...cache.writer import Outcome
from ..sound import Doubles, Floats, framed, power
from ..spool import Spool
from .base import ClipSound, Settings, SoundStream
from .logmel import LogMelSettings, mel_filters

DESCRIPTORS = "descriptors"

ARRAYS = {"f0": 1, "voice": 3, "level": 1, "loudness": 1, "spectrum": 4, "mfcc": 13}
"""Arrays of :func:`descriptor_blocks`, and the number of values that a frame has in each."""


@dataclass(frozen=True)
class DescriptorSettings(LogMelSettings):
    """Settings of the descriptors: on log-Mel's frames, pitch and voice over ``reach`` samples around each.

    YIN proposes a period. The middle period is then compared with its neighbours, at ``least_lag`` to
    ``greatest_lag`` times its length, and is voiced if they correlate by ``least_correlation`` or more. pYIN,
    which decides by itself, took more than twice as long in total, was no better on real clips, and found
    almost no voice in clipped recordings.
    """

    reach: int = 1024
    lowest_pitch_hz: float = 65.0
    highest_pitch_hz: float = 600.0
    least_correlation: float = 0.8
    least_lag: float = 0.8
    greatest_lag: float = 1.25
    coefficients: int = ARRAYS["mfcc"]

    def settings(self) -> dict[str, Any]:
        return {**super().settings(), "pitch": "yin"}


DESCRIPTOR_SETTINGS = DescriptorSettings()

_EDGES = (50.0, 1000.0, 5000.0)  # Hz, of the alpha ratio
_PEAKS = (0.0, 2000.0, 5000.0)  # Hz, of the Hammarberg index
_LOUDNESS_EXPONENT = 0.3  # of power in a band, Zwicker's law
_GREATEST_CORRELATION = 0.9999  # 40 dB


class DescriptorStream(SoundStream):
    """The arrays that :func:`descriptors` returns."""

    def settings(self, others: Settings) -> Settings:
        return {DESCRIPTORS: DESCRIPTOR_SETTINGS.settings()}

    def make(self, sound: ClipSound, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        spools = {name: Spool(sound.spool) for name in ARRAYS}
        for block in descriptor_blocks(sound.blocks()):
            for name, values in block.items():
                spools[name].append(values)
        arrays = {name: spool.finish() for name, spool in spools.items()}
        times = DESCRIPTOR_SETTINGS.frame_times(len(arrays["level"]))
        yield Outcome(wanted[DESCRIPTORS], arrays={**arrays, "times": times})


def descriptors(samples: Floats) -> dict[str, Floats]:
    """Compute the descriptors of a whole sound.

    Args:
        samples: ``[N]`` floats in [-1, 1], mono, 16 kHz.

    Returns:
        float32 arrays ``[T, …]``, ``T = 1 + (N - 400) // 160``:

        - ``f0`` ``[T, 1]``: Hz; 0 if unvoiced (YIN, de Cheveigné and Kawahara 2002, refined).
        - ``voice`` ``[T, 3]``, from a voiced frame's period and its two neighbours, 0 if unvoiced:
          harmonics-to-noise ratio in dB, 6 to 40, from their correlation r as 10 log10(r / (1 - r))
          (Boersma 1993); jitter, the difference of the two lags over their mean; shimmer, the
          difference of peak-to-peak amplitudes in dB.
        - ``level`` ``[T, 1]``: power in dB, at least -100; a sine of amplitude 1 has -3.
        - ``loudness`` ``[T, 1]``: the sum of the 40 Mel bands' powers, each to the power of 0.3.
        - ``spectrum`` ``[T, 4]``: zero crossings a sample; centroid in Hz; alpha ratio, 50-1000 Hz over
          1-5 kHz, in dB; Hammarberg index, the highest peak below 2 kHz over that of 2-5 kHz, in dB.
        - ``mfcc`` ``[T, 13]``: coefficients 1 to 13 of the orthonormal DCT of log-Mel.

    Raises:
        ValueError: the samples are not one-dimensional floats, or not all finite.
    """
    blocks = list(descriptor_blocks([samples]))
    if not blocks:
        return {name: np.zeros((0, width), np.float32) for name, width in ARRAYS.items()}
    return {name: np.concatenate([block[name] for block in blocks]) for name in ARRAYS}


def descriptor_blocks(blocks: Iterable[Floats]) -> Iterator[dict[str, Floats]]:
    """Compute :func:`descriptors` of sound in blocks ``[n]`` of any size, ten seconds at a time."""
    s = DESCRIPTOR_SETTINGS
    filters = mel_filters()
    for stretch in framed(blocks, s, s.reach):
        spectra = power(_middle(stretch, s.dft), s)
        bands = np.maximum(spectra @ filters.T, s.floor)
        frames = librosa.util.frame(
            _middle(stretch, s.window), frame_length=s.window, hop_length=s.hop, axis=0
        )
        f0, voice = _voice(stretch)
        values = {
            "f0": f0[:, None],
            "voice": voice,
            "level": _decibels((frames**2).mean(axis=1, keepdims=True)),
            "loudness": (bands**_LOUDNESS_EXPONENT).sum(axis=1, keepdims=True),
            "spectrum": np.column_stack(
                [librosa.zero_crossings(frames, pad=False).mean(axis=1), _shape(spectra)]
            ),
            "mfcc": librosa.feature.mfcc(S=np.log(bands).T, n_mfcc=s.coefficients + 1).T[:, 1:],
        }
        yield {name: array.astype(np.float32) for name, array in values.items()}


def _middle(stretch: Doubles, size: int) -> Doubles:
    """Return the part of a stretch that is covered by the middle ``size`` samples of its frames."""
    margin = (DESCRIPTOR_SETTINGS.reach - size) // 2
    return stretch[margin : len(stretch) - margin]


def _decibels(ratio: Doubles) -> Doubles:
    return np.asarray(10 * np.log10(np.maximum(ratio, DESCRIPTOR_SETTINGS.floor)))


def _voice(stretch: Doubles) -> tuple[Doubles, Doubles]:
    """Return F0 ``[t]`` in Hz, 0 if unvoiced, and ``voice`` ``[t, 3]``."""
    s = DESCRIPTOR_SETTINGS
    coarse = librosa.yin(
        stretch,
        fmin=s.lowest_pitch_hz,
        fmax=s.highest_pitch_hz,
        sr=s.sample_rate,
        frame_length=s.reach,
        hop_length=s.hop,
        center=False,
    )
    f0, voice = np.zeros(len(coarse)), np.zeros((len(coarse), ARRAYS["voice"]))
    for frame in range(len(coarse)):
        around = stretch[frame * s.hop :][: s.reach]
        before, after = (_neighbour(part, s.sample_rate / coarse[frame]) for part in (around[::-1], around))
        likeness = (before.likeness + after.likeness) / 2
        if likeness < s.least_correlation:
            continue
        likeness = min(likeness, _GREATEST_CORRELATION)
        period = (before.lag + after.lag) / 2
        f0[frame] = s.sample_rate / period
        voice[frame] = (
            10 * np.log10(likeness / (1 - likeness)),
            abs(before.lag - after.lag) / period,
            (before.shimmer + after.shimmer) / 2,
        )
    return f0, voice


@dataclass(frozen=True)
class _Neighbour:
    """A neighbouring period: lag in samples, correlation with the middle one, and difference in dB."""

    lag: float
    likeness: float
    shimmer: float


def _neighbour(around: Doubles, period: float) -> _Neighbour:
    """Find the period after the one in the middle of ``around``, at the lag of highest correlation."""
    s = DESCRIPTOR_SETTINGS
    size = round(period)
    first, last = int(s.least_lag * period), int(np.ceil(s.greatest_lag * period))
    start = (len(around) - size) // 2
    own = around[start : start + size]
    others = np.lib.stride_tricks.sliding_window_view(around[start + first : start + last + size], size)
    centred = own - own.mean()
    spread = others - others.mean(axis=1, keepdims=True)
    norms = np.sqrt((centred @ centred) * np.einsum("ij,ij->i", spread, spread))
    likeness = (spread @ centred) / np.maximum(norms, np.finfo(np.float64).tiny)
    best = int(likeness.argmax())
    sizes = np.maximum([np.ptp(own), np.ptp(others[best])], np.sqrt(s.floor))
    shimmer = abs(20 * np.log10(sizes[1] / sizes[0]))
    return _Neighbour(first + best + _vertex(likeness, best), float(likeness[best]), float(shimmer))


def _vertex(values: Doubles, best: int) -> float:
    """Return the offset from ``best`` of the peak of a parabola through its neighbours, -0.5 to 0.5."""
    if not 0 < best < len(values) - 1:
        return 0.0
    left, middle, right = values[best - 1 : best + 2]
    bend = left - 2 * middle + right
    return float((left - right) / (2 * bend)) if bend < 0 else 0.0


def _shape(spectra: Doubles) -> Doubles:
    """Return centroid, alpha ratio and Hammarberg index of power spectra, ``[t, 3]``."""
    s = DESCRIPTOR_SETTINGS
    hertz = librosa.fft_frequencies(sr=s.sample_rate, n_fft=s.dft)
    low, high = (spectra[:, (hertz >= a) & (hertz < b)].sum(axis=1) for a, b in pairwise(_EDGES))
    below, above = (spectra[:, (hertz >= a) & (hertz < b)].max(axis=1) for a, b in pairwise(_PEAKS))
    centroid = librosa.feature.spectral_centroid(S=spectra.T, freq=hertz)[0]
    return np.column_stack(
        [
            centroid,
            _decibels(low) - _decibels(high),
            _decibels(below) - _decibels(above),
        ]
    )

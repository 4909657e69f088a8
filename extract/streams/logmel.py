"""The stream ``logmel``: the log-Mel spectrogram of zhou2019 §2.1 with its deltas."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import librosa
import numpy as np

from ...cache.keys import FeatureKey
from ...cache.writer import Outcome
from ..sound import Doubles, Floats, ShortTimeSettings, assembled, power_blocks, stretches
from ..spool import gathered
from .base import ClipSound, Settings, SoundStream

LOG_MEL = "logmel"


@dataclass(frozen=True)
class LogMelSettings(ShortTimeSettings):
    """Settings of the log-Mel input of Chen et al. 2018, which zhou2019 §2.1 refers to.

    25 ms windows, 40 filters, deltas over two frames on each side. The papers do not specify the shape of the
    filters; here, as in common speech front ends, they are triangles of height 1 on the HTK Mel scale over a
    DFT of 512, without pre-emphasis.
    """

    window: int = 400
    dft: int = 512
    filters: int = 40
    low_hz: float = 0.0
    high_hz: float = 8000.0
    delta_reach: int = 2


LOG_MEL_SETTINGS = LogMelSettings()


def log_mel(samples: Floats) -> Floats:
    """Compute the log-Mel spectrogram of a whole sound with its deltas and delta-deltas, zhou2019 §2.1.

    Row 0 is the natural logarithm of the power (1 = a sine of amplitude 1) under each of 40 Mel filters, at
    least ``ln 1e-10``. Row 1 is its regression slope, ``sum(n (c[t+n] - c[t-n])) / (2 sum(n^2))`` for n = 1
    and 2, with the first and last frames repeated beyond the ends; row 2 is the slope of row 1.

    Args:
        samples: ``[N]`` floats in [-1, 1], mono, 16 kHz.

    Returns:
        float32 ``[T, 3, 40]``, ``T = 1 + (N - 400) // 160``.

    Raises:
        ValueError: the samples are not one-dimensional floats, or not all finite.
    """
    frames = LOG_MEL_SETTINGS.frame_count(len(samples))
    return assembled(log_mel_blocks([samples]), (frames, 3, LOG_MEL_SETTINGS.filters))


def log_mel_blocks(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """Compute :func:`log_mel` of sound in blocks ``[n]`` of any size, as ``[t, 3, 40]`` blocks."""
    for block in with_slope(with_slope(_static_blocks(blocks))):
        yield block.astype(np.float32)


def mel_filters(s: LogMelSettings = LOG_MEL_SETTINGS) -> Doubles:
    """Return the weights ``[filters, dft // 2 + 1]`` of each DFT bin in each Mel filter."""
    filters: Doubles = librosa.filters.mel(
        sr=s.sample_rate,
        n_fft=s.dft,
        n_mels=s.filters,
        fmin=s.low_hz,
        fmax=s.high_hz,
        htk=True,
        norm=None,
        dtype=np.float64,
    )
    return filters


def _static_blocks(blocks: Iterable[Floats]) -> Iterator[Doubles]:
    """Yield the log-Mel frames without deltas, ``[t, 1, 40]``."""
    s = LOG_MEL_SETTINGS
    filters = mel_filters()
    for power in power_blocks(blocks, s):
        yield np.log(np.maximum(power @ filters.T, s.floor))[:, None]


def with_slope(blocks: Iterable[Doubles], reach: int = LOG_MEL_SETTINGS.delta_reach) -> Iterator[Doubles]:
    """Append to ``[t, K, F]`` blocks the slope of their last row over ``reach`` frames on each side."""
    width = 2 * reach + 1
    for stretch in stretches(_with_repeated_ends(blocks, reach), width, 1):
        inner = slice(reach, len(stretch) - reach)
        slope = librosa.feature.delta(stretch[:, -1], width=width, axis=0, mode="nearest")
        yield np.concatenate([stretch[inner], slope[inner, None]], axis=1)


def _with_repeated_ends(blocks: Iterable[Doubles], times: int) -> Iterator[Doubles]:
    """Repeat the first frame before the blocks and the last one after them, ``times`` times each."""
    last = None
    for block in blocks:
        if last is None:
            yield np.repeat(block[:1], times, axis=0)
        yield block
        last = block[-1:]
    if last is not None:
        yield np.repeat(last, times, axis=0)


class LogMelStream(SoundStream):
    """The log-Mel spectrogram, its deltas and delta-deltas: ``logmel`` ``[T, 3, 40]``."""

    def settings(self, others: Settings) -> Settings:
        return {LOG_MEL: LOG_MEL_SETTINGS.settings()}

    def make(self, sound: ClipSound, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        spectrum = gathered(log_mel_blocks(sound.blocks()), sound.spool)
        times = LOG_MEL_SETTINGS.frame_times(len(spectrum))
        yield Outcome(wanted[LOG_MEL], info=sound.info, arrays={LOG_MEL: spectrum, "times": times})

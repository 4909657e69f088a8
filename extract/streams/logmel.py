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
    """The log-Mel input of Chen et al. 2018, which zhou2019 §2.1 refers to.

    25 ms windows, 40 filters, deltas over two frames either way. The papers leave the filters' shape open;
    here, as in common speech front ends, it is triangles of height 1 on the HTK Mel scale over a DFT of 512,
    without pre-emphasis.
    """

    window: int = 400
    dft: int = 512
    filters: int = 40
    low_hz: float = 0.0
    high_hz: float = 8000.0
    delta_reach: int = 2


LOG_MEL_SETTINGS = LogMelSettings()


def log_mel(samples: Floats) -> Floats:
    """The log-Mel spectrogram of a whole sound with its deltas and delta-deltas, zhou2019 §2.1.

    Row 0 is the natural logarithm of the power (1 = a sine of amplitude 1) under each of 40 Mel filters, at
    least ``ln 1e-10``. Row 1 is its regression slope, ``sum(n (c[t+n] - c[t-n])) / (2 sum(n^2))`` for n = 1
    and 2, where the first and the last frame repeat beyond the ends; row 2 is the slope of row 1.

    :param samples: ``[N]`` floats in [-1, 1], mono, 16 kHz
    :returns: float32 ``[T, 3, 40]``, ``T = 1 + (N - 400) // 160``
    :raises ValueError: samples that are not one-dimensional floats, or not all finite
    """
    frames = LOG_MEL_SETTINGS.frame_count(len(samples))
    return assembled(log_mel_blocks([samples]), (frames, 3, LOG_MEL_SETTINGS.filters))


def log_mel_blocks(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """:func:`log_mel` of a sound that comes in blocks ``[n]`` of any size, as ``[t, 3, 40]`` blocks."""
    for block in with_slope(with_slope(_static_blocks(blocks))):
        yield block.astype(np.float32)


def mel_filters(s: LogMelSettings = LOG_MEL_SETTINGS) -> Doubles:
    """The weights ``[filters, dft // 2 + 1]`` that each Mel filter gives to each bin of the DFT."""
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
    """The log-Mel frames themselves, ``[t, 1, 40]``."""
    s = LOG_MEL_SETTINGS
    filters = mel_filters()
    for power in power_blocks(blocks, s):
        yield np.log(np.maximum(power @ filters.T, s.floor))[:, None]


def with_slope(blocks: Iterable[Doubles], reach: int = LOG_MEL_SETTINGS.delta_reach) -> Iterator[Doubles]:
    """``[t, K, F]`` blocks with the slope of their last row over ``reach`` frames either way appended."""
    width = 2 * reach + 1
    for stretch in stretches(_with_repeated_ends(blocks, reach), width, 1):
        inner = slice(reach, len(stretch) - reach)
        slope = librosa.feature.delta(stretch[:, -1], width=width, axis=0, mode="nearest")
        yield np.concatenate([stretch[inner], slope[inner, None]], axis=1)


def _with_repeated_ends(blocks: Iterable[Doubles], times: int) -> Iterator[Doubles]:
    """The stream with its first frame repeated before it and its last one behind it."""
    last = None
    for block in blocks:
        if last is None:
            yield np.repeat(block[:1], times, axis=0)
        yield block
        last = block[-1:]
    if last is not None:
        yield np.repeat(last, times, axis=0)


class LogMelStream(SoundStream):
    """The log-Mel spectrogram, its deltas and their deltas: ``logmel`` ``[T, 3, 40]``."""

    def settings(self, others: Settings) -> Settings:
        return {LOG_MEL: LOG_MEL_SETTINGS.settings()}

    def make(self, sound: ClipSound, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        spectrum = gathered(log_mel_blocks(sound.blocks()), sound.spool)
        times = LOG_MEL_SETTINGS.frame_times(len(spectrum))
        yield Outcome(wanted[LOG_MEL], info=sound.info, arrays={LOG_MEL: spectrum, "times": times})

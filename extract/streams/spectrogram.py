"""The stream ``spectrogram``: the speech spectrogram of zhou2019 §2.1 and zhou2021 §IV."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np

from ...cache.keys import FeatureKey
from ...cache.writer import Outcome
from ..sound import Floats, ShortTimeSettings, assembled, power_blocks
from ..spool import gathered
from .base import ClipSound, Settings, SoundStream

SPECTROGRAM = "spectrogram"


@dataclass(frozen=True)
class SpectrogramSettings(ShortTimeSettings):
    """The speech spectrogram of zhou2019 §2.1 and zhou2021 §IV: 40 ms windows, the lowest bins of the DFT."""

    window: int = 640
    dft: int = 800
    bins: int = 200


SPECTROGRAM_SETTINGS = SpectrogramSettings()


def spectrogram(samples: Floats) -> Floats:
    """The speech spectrogram of a whole sound, zhou2019 §2.1 and zhou2021 §IV.

    Frame ``i`` is a Hamming window of 640 samples from sample ``160 i``, centred in a DFT of 800. Bin ``k``
    is the power at ``20 k`` Hz in dB, where 0 dB is the peak of a sine of amplitude 1; below -100 dB it is
    -100. The papers print neither the logarithm nor the floor. Normalisation is left to the model that reads
    it, which knows its training set.

    :param samples: ``[N]`` floats in [-1, 1], mono, 16 kHz
    :returns: float32 ``[T, 200]`` in dB, ``T = 1 + (N - 640) // 160``: the papers' 200 x T image, transposed
    :raises ValueError: samples that are not one-dimensional floats, or not all finite
    """
    frames = SPECTROGRAM_SETTINGS.frame_count(len(samples))
    return assembled(spectrogram_blocks([samples]), (frames, SPECTROGRAM_SETTINGS.bins))


def spectrogram_blocks(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """:func:`spectrogram` of a sound that comes in blocks ``[n]`` of any size, as ``[t, 200]`` blocks."""
    s = SPECTROGRAM_SETTINGS
    for power in power_blocks(blocks, s):
        yield (10 * np.log10(np.maximum(power[:, : s.bins], s.floor))).astype(np.float32)


class SpectrogramStream(SoundStream):
    """The speech spectrogram: ``spectrogram`` ``[T, 200]`` in dB."""

    def settings(self, others: Settings) -> Settings:
        return {SPECTROGRAM: SPECTROGRAM_SETTINGS.settings()}

    def make(self, sound: ClipSound, wanted: Mapping[str, FeatureKey]) -> Iterator[Outcome]:
        spectrum = gathered(spectrogram_blocks(sound.blocks()), sound.spool)
        times = SPECTROGRAM_SETTINGS.frame_times(len(spectrum))
        yield Outcome(wanted[SPECTROGRAM], info=sound.info, arrays={SPECTROGRAM: spectrum, "times": times})

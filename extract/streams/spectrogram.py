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
    """Settings of the speech spectrogram: 40 ms windows, the lowest bins of the DFT."""

    window: int = 640
    dft: int = 800
    bins: int = 200


SPECTROGRAM_SETTINGS = SpectrogramSettings()


def spectrogram(samples: Floats) -> Floats:
    """Compute the speech spectrogram of a whole sound, zhou2019 §2.1 and zhou2021 §IV.

    Frame ``i`` is a Hamming window of 640 samples from sample ``160 i``, centred in a DFT of 800. Bin ``k``
    is the power at ``20 k`` Hz in dB, at least -100; 0 dB is the peak of a sine of amplitude 1. The papers
    specify neither the logarithm nor the floor. Normalisation is left to the model, which knows its training
    set.

    Args:
        samples: ``[N]`` floats in [-1, 1], mono, 16 kHz.

    Returns:
        float32 ``[T, 200]`` in dB, ``T = 1 + (N - 640) // 160``: the papers' 200 x T image, transposed.

    Raises:
        ValueError: the samples are not one-dimensional floats, or not all finite.
    """
    frames = SPECTROGRAM_SETTINGS.frame_count(len(samples))
    return assembled(spectrogram_blocks([samples]), (frames, SPECTROGRAM_SETTINGS.bins))


def spectrogram_blocks(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """Compute :func:`spectrogram` of sound in blocks ``[n]`` of any size, as ``[t, 200]`` blocks."""
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

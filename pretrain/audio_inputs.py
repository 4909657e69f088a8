"""Inputs of audio networks: stage 1's spectrograms of one sound, or of a batch on its device.

A single sound is processed by stage 1's own code. A batch gives the same values up to float32 rounding, fast
enough for a network on a GPU.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from ..extract.sound import ShortTimeSettings
from ..extract.streams.logmel import LOG_MEL, LOG_MEL_SETTINGS, log_mel, mel_filters
from ..extract.streams.spectrogram import SPECTROGRAM, SPECTROGRAM_SETTINGS, spectrogram
from .errors import PretrainError


@dataclass(frozen=True)
class AudioInput:
    """An input with ``K × F`` values a frame.

    Attributes:
        name: name of the stream with the same values in a store.
        settings: framing of the sound.
        channels: K.
        bins: F.
        of: ``[S]`` samples → ``[T, K, F]`` float32, as stored by stage 1.
        of_batch: ``[B, S]`` samples of sounds with ``[B]`` frames each → ``[B, T, K, F]``; values beyond a
            sound's frames are meaningless.
    """

    name: str
    settings: ShortTimeSettings
    channels: int
    bins: int
    of: Callable[[np.ndarray], np.ndarray]
    of_batch: Callable[[Tensor, Tensor], Tensor]

    def frames(self, samples: Tensor) -> Tensor:
        """Return the number of frames of ``samples``, which must fill at least one window."""
        return 1 + (samples - self.settings.window) // self.settings.hop

    def samples(self, frames: int) -> int:
        """Return the minimum number of samples for so many ``frames``."""
        return self.settings.window + self.settings.hop * (frames - 1)

    @property
    def rate(self) -> float:
        """Frames a second."""
        return self.settings.sample_rate / self.settings.hop


def input_named(name: str) -> AudioInput:
    """Return the input called ``name``; raise :class:`PretrainError` if there is none."""
    if name not in INPUTS:
        raise PretrainError(f"there is no input {name!r}: expected {' or '.join(INPUTS)}")
    return INPUTS[name]


def _spectrogram(sound: np.ndarray) -> np.ndarray:
    return spectrogram(sound)[:, None]


def _spectrograms(sounds: Tensor, frames: Tensor) -> Tensor:
    s = SPECTROGRAM_SETTINGS
    return 10 * _power(sounds, s)[..., : s.bins].clamp(min=s.floor).log10().unsqueeze(2)


def _log_mels(sounds: Tensor, frames: Tensor) -> Tensor:
    filters = torch.from_numpy(mel_filters()).to(sounds.device, torch.float32)
    static = (_power(sounds, LOG_MEL_SETTINGS) @ filters.T).clamp(min=LOG_MEL_SETTINGS.floor).log()
    slope = _slope(static, frames)
    return torch.stack([static, slope, _slope(slope, frames)], dim=2)


def _power(sounds: Tensor, s: ShortTimeSettings) -> Tensor:
    """Return power spectra ``[B, T, dft // 2 + 1]``; a sine of amplitude 1 on a bin gives 1."""
    margin = (s.dft - s.window) // 2
    window = torch.hamming_window(s.window, device=sounds.device)
    spectra = torch.stft(
        functional.pad(sounds, (margin, margin)),
        s.dft,
        s.hop,
        s.window,
        window,
        center=False,
        return_complex=True,
    )
    return (spectra.abs() / (window.sum() / 2)).square().transpose(1, 2)


def _slope(rows: Tensor, frames: Tensor) -> Tensor:
    """Return the regression slope of ``[B, T, F]`` over time; each sound's first and last frames repeat."""
    steps = torch.arange(rows.shape[1], device=rows.device)
    sounds = torch.arange(len(rows), device=rows.device).unsqueeze(1)

    def moved(by: int) -> Tensor:
        return rows[sounds, torch.minimum((steps + by).clamp(min=0), frames.unsqueeze(1) - 1)]

    reach = range(1, LOG_MEL_SETTINGS.delta_reach + 1)
    total: Tensor = sum((n * (moved(n) - moved(-n)) for n in reach), torch.zeros_like(rows))
    return total / (2 * sum(n * n for n in reach))


INPUTS = {
    each.name: each
    for each in (
        AudioInput(
            SPECTROGRAM, SPECTROGRAM_SETTINGS, 1, SPECTROGRAM_SETTINGS.bins, _spectrogram, _spectrograms
        ),
        AudioInput(LOG_MEL, LOG_MEL_SETTINGS, 3, LOG_MEL_SETTINGS.filters, log_mel, _log_mels),
    )
}

"""Augmentation of recordings.

All changes but the masks are made to the sound itself, as by a room or a microphone: noise added to power
spectra would not interfere with the sound, and could not affect log-Mel's deltas. The cost, including the
spectrogram of each excerpt, is about an eighth of a step through AlexNet.
"""

from __future__ import annotations

import numpy as np
import torch
from scipy.signal import resample_poly
from torch import Tensor

from ..extract.decode.heard import SAMPLE_RATE
from .recipe import AudioChanges

HIGHEST_SNR = 30.0
MASKS = 2
MOST_MASKED = 0.2
"""Maximum share of a recording that a mask may cover, so that something is left of short ones."""

_LOWEST_HZ = 50.0  # noise is flat below, or else most of brown noise's power would be inaudible
_FILTER_POINTS = 6  # evenly spaced in octaves, from _LOWEST_HZ to half the sampling rate


def stretch(sound: np.ndarray, most: int, changes: AudioChanges, generator: torch.Generator) -> np.ndarray:
    """Return a random excerpt of ``sound`` ``[S]``, up to ``most`` samples, sped up or slowed down."""
    place, pace = torch.rand(2, generator=generator).tolist()
    percent = round(100 * changes.speed ** (2 * pace - 1))
    needed = most * percent // 100 + 1
    shift = min(round(changes.shift * SAMPLE_RATE), len(sound) // 4)
    start = int(place * (max(len(sound) - needed, shift) + 1))
    part = sound[start : start + needed]
    if percent != 100:
        part = resample_poly(part, 100, percent).astype(np.float32, copy=False)
    return part[:most]


def disturbed(sounds: Tensor, lengths: Tensor, changes: AudioChanges, generator: torch.Generator) -> Tensor:
    """Filter ``[B, S]`` sounds of ``[B]`` samples and add noise to some, up to the end of each."""
    loud, noisy, level, colour = _uniform(4, len(sounds), generator, sounds.device)
    inside = torch.arange(sounds.shape[1], device=sounds.device) < lengths.unsqueeze(1)
    noise = _noise(sounds.shape, 2 * colour, generator, sounds.device) * inside
    if changes.filter:
        sounds = _filtered(sounds, changes.filter, generator) * inside
    snr = changes.snr + level * max(0.0, HIGHEST_SNR - changes.snr)
    power, noise_power = (v.square().sum(1, keepdim=True) / lengths.unsqueeze(1) for v in (sounds, noise))
    scale = (power / noise_power / 10 ** (snr / 10)).sqrt() * (noisy < changes.noise)
    return (sounds + noise * scale) * 10 ** (changes.gain * (2 * loud - 1) / 20)


def draw_masks(
    mask: Tensor, bins: int, rate: float, changes: AudioChanges, generator: torch.Generator
) -> Tensor:
    """Draw two masks over time and two over frequency; return ``[B, T, 1, F]``, 0 if masked, else 1.

    See Park et al. 2019.

    Args:
        mask: ``[B, T]``, true for frames that exist.
        bins: F.
        rate: frames a second.
        changes: maximum widths of the masks.
        generator: random generator for their widths and places.
    """
    draws = _uniform(4, MASKS * len(mask), generator, mask.device).reshape(4, MASKS, len(mask), 1)
    frames = mask.sum(1, keepdim=True)
    longest = (MOST_MASKED * frames).clamp(max=changes.time_mask * rate)
    in_time = _covered(draws[0] * longest, draws[1], frames, mask.shape[1])
    widest = torch.full_like(frames, bins)
    in_frequency = _covered(draws[2] * changes.frequency_mask * bins, draws[3], widest, bins)
    return (~(in_time.unsqueeze(2) | in_frequency.unsqueeze(1))).float().unsqueeze(2)


def _covered(widths: Tensor, places: Tensor, room: Tensor, steps: int) -> Tensor:
    """Return which of ``[B, steps]`` are under masks of widths ``[M, B, 1]``, placed in ``room`` steps."""
    starts = places * (room - widths)
    centres = torch.arange(steps, device=widths.device) + 0.5
    return ((centres >= starts) & (centres < starts + widths)).any(0)


def _noise(shape: torch.Size, colours: Tensor, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw zero-mean noise ``[B, S]`` with a density that falls as 1 / f^colour, for colours ``[B, 1]``."""
    white = torch.randn(shape, generator=generator).to(device)
    hertz = _hertz(shape[1], device)
    spectrum = torch.fft.rfft(white) * hertz.clamp(min=_LOWEST_HZ) ** (-colours / 2) * (hertz > 0)
    return torch.fft.irfft(spectrum, shape[1])


def _filtered(sounds: Tensor, most: float, generator: torch.Generator) -> Tensor:
    """Apply a random smooth filter to each of ``[B, S]``."""
    points = most * (2 * _uniform(_FILTER_POINTS, len(sounds), generator, sounds.device) - 1)
    octaves = (_hertz(sounds.shape[1], sounds.device).clamp(min=_LOWEST_HZ) / _LOWEST_HZ).log2()
    place = octaves / octaves[-1] * (_FILTER_POINTS - 1)
    below = place.long().clamp(max=_FILTER_POINTS - 2)
    decibels = torch.lerp(points[below, :, 0], points[below + 1, :, 0], (place - below).unsqueeze(1))
    return torch.fft.irfft(torch.fft.rfft(sounds) * 10 ** (decibels.T / 20), sounds.shape[1])


def _hertz(samples: int, device: torch.device) -> Tensor:
    """Return the DFT frequencies for this number of samples."""
    return torch.arange(samples // 2 + 1, device=device) * (SAMPLE_RATE / samples)


def _uniform(kinds: int, count: int, generator: torch.Generator, device: torch.device) -> Tensor:
    """Draw ``[kinds, count, 1]`` uniform numbers from 0 to 1."""
    return torch.rand(kinds, count, 1, generator=generator).to(device)

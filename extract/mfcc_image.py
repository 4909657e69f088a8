"""MFCC images: the sound of a segment as an image for an image network (priyasad2019 §3.2).

In an image ``[64, 64, 3]``, rows are coefficients, columns are frames, and channels are MFCC, Δ and ΔΔ.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import dataclass

import librosa
import numpy as np
from numpy.typing import NDArray

from .sound import Doubles, Floats, framed, power
from .streams.logmel import LogMelSettings, mel_filters, with_slope

IMAGES_AT_ONCE = 256


@dataclass(frozen=True)
class MfccImageSettings(LogMelSettings):
    """Settings of MFCC images: sizes in samples, segments in frames.

    priyasad2019 gives the window (25 ms, Hamming; its DFT is as long, eq. 2), the hop (its "10 ms of
    overlap", since 63 · 10 + 25 ms are its 655 ms), 64 filters over 20-8000 Hz and 64 frames shifted by 30.
    It does not give N of eq. 4 (``delta_reach``), the floor or the shape of the filters; we use those of the
    log-Mel features. ``least_spread`` is the range a channel needs to be stretched; smaller ranges are
    rounding errors of constants.
    """

    dft: int = 400
    filters: int = 64
    low_hz: float = 20.0
    coefficients: int = 64
    frames: int = 64
    shift: int = 30
    least_spread: float = 1e-3

    @property
    def segment_samples(self) -> int:
        """Samples from the start of a segment's first window to the end of its last one."""
        return (self.frames - 1) * self.hop + self.window

    @property
    def periodogram_scale(self) -> float:
        """Power of a sine of amplitude 1 by eq. 3, ``|Σ h|² / 4N``."""
        return float(librosa.filters.get_window("hamming", self.window).sum() ** 2 / (4 * self.window))


MFCC_IMAGE_SETTINGS = MfccImageSettings()


def mfcc_blocks(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """Compute MFCC, Δ and ΔΔ of a sound in blocks ``[n]``, as float32 blocks ``[t, 3, 64]`` (eq. 2-4).

    Coefficient ``k`` is the orthonormal DCT-II of the natural logarithms of the periodogram's energy under
    each Mel filter. Δ is the slope over two frames on either side, ΔΔ the slope of Δ; the first and last
    frame are repeated beyond the ends of the sound. The paper takes slopes within a segment; here, they
    include the frames around it.

    Args:
        blocks: mono samples in [-1, 1] at 16 kHz, in blocks of any size.

    Raises:
        ValueError: the samples are not one-dimensional floats, or not all finite.
    """
    reach = MFCC_IMAGE_SETTINGS.delta_reach
    for block in with_slope(with_slope(_static_blocks(blocks), reach), reach):
        yield block.astype(np.float32)


def _static_blocks(blocks: Iterable[Floats]) -> Iterator[Doubles]:
    """Yield the MFCC themselves, ``[t, 1, 64]``."""
    s = MFCC_IMAGE_SETTINGS
    filters = mel_filters(s)
    for stretch in framed(blocks, s, s.dft):
        energy = np.log(s.periodogram_scale * np.maximum(power(stretch, s) @ filters.T, s.floor))
        yield librosa.feature.mfcc(S=energy.T, n_mfcc=s.coefficients, norm="ortho").T[:, None]


def segment_starts(frames: int, start: float, end: float) -> NDArray[np.int64]:
    """Return the first frame of each segment of a span, ``[S]``, S ≥ 1.

    Segments lie entirely in the span, every 30 frames from its first one; up to 29 frames at its end belong
    to none. A span shorter than a segment is widened around its middle to one segment, within the clip. A
    clip shorter than a segment has one, from its first frame.

    Args:
        frames: number of frames of the clip, ≥ 1.
        start, end: the span in seconds.
    """
    s = MFCC_IMAGE_SETTINGS
    first = -(-round(start * s.sample_rate) // s.hop)
    last = min((round(end * s.sample_rate) - s.window) // s.hop, frames - 1)
    if last - first + 1 < s.frames:
        middle_first = (first + last + 1 - s.frames) // 2
        first = max(0, min(middle_first, frames - s.frames))
        return np.array([first])
    return np.arange(first, last - s.frames + 2, s.shift)


def segment_times(starts: NDArray[np.int64]) -> Doubles:
    """Return the start and end of each segment, ``[S, 2]`` seconds of the clip; a segment lasts 655 ms."""
    s = MFCC_IMAGE_SETTINGS
    samples = starts[:, None] * s.hop + np.array([0, s.segment_samples])
    return samples / s.sample_rate


def segment_images(mfcc: np.ndarray, starts: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """Yield the images of segments in blocks ``[s, 64 coefficients, 64 frames, 3]``.

    Each channel is stretched to 0-255 between its minimum and maximum in the segment: the paper rescales
    after cutting, and a linear model of the images' statistics did no better when a clip's segments were
    stretched together. Constant channels become 0. If the clip has too few frames, its last one is repeated.

    Args:
        mfcc: ``[T, 3, 64]``, see :func:`mfcc_blocks`; may be a memory map.
        starts: see :func:`segment_starts`.
    """
    s = MFCC_IMAGE_SETTINGS
    columns = np.arange(s.frames)
    for begin in range(0, len(starts), IMAGES_AT_ONCE):
        frames = starts[begin : begin + IMAGES_AT_ONCE, None] + columns
        values = mfcc[np.minimum(frames, len(mfcc) - 1)].transpose(0, 3, 1, 2)
        low = values.min(axis=(1, 2), keepdims=True)
        spread = values.max(axis=(1, 2), keepdims=True) - low
        shares = np.divide(values - low, spread, out=np.zeros_like(values), where=spread >= s.least_spread)
        yield (255 * shares).round().astype(np.uint8)

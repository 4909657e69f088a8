"""MFCC images: the sound of a segment as a picture for an image network (priyasad2019 §3.2).

The image ``[64, 64, 3]`` has the coefficients for rows, the frames for columns, and MFCC, Δ and ΔΔ for
colours.
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
    """How MFCC images are made: sizes in samples, segments in frames.

    priyasad2019 prints the window (25 ms, Hamming; its DFT is as long, eq. 2), the hop (its "10 ms of
    overlap", since 63 · 10 + 25 ms are its 655 ms), 64 filters of 20-8000 Hz, 64 frames shifted by 30. It
    does not print N of eq. 4 (``delta_reach``), the floor, nor the filters' shape: they are log-Mel's.
    ``least_spread`` is what a channel must vary by to be stretched: less is rounding in what is constant.
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
        """eq. 3's power of a sine of amplitude 1, ``|Σ h|² / 4N``."""
        return float(librosa.filters.get_window("hamming", self.window).sum() ** 2 / (4 * self.window))


MFCC_IMAGE_SETTINGS = MfccImageSettings()


def mfcc_blocks(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """MFCC, Δ and ΔΔ of a sound that comes in blocks ``[n]``, as float32 blocks ``[t, 3, 64]`` (eq. 2-4).

    Coefficient ``k`` is the orthonormal DCT-II of the natural logarithms of the periodogram's energy under
    each Mel filter. Δ is the slope over two frames either way, ΔΔ that of Δ; the first and the last frame
    of the sound repeat beyond its ends. The paper takes slopes within a segment; here, they know the frames
    around it.

    Args:
        blocks: mono samples in [-1, 1] at 16 kHz, blocks of any size.

    Raises:
        ValueError: samples that are not one-dimensional floats, or not all finite.
    """
    reach = MFCC_IMAGE_SETTINGS.delta_reach
    for block in with_slope(with_slope(_static_blocks(blocks), reach), reach):
        yield block.astype(np.float32)


def _static_blocks(blocks: Iterable[Floats]) -> Iterator[Doubles]:
    """The MFCC themselves, ``[t, 1, 64]``."""
    s = MFCC_IMAGE_SETTINGS
    filters = mel_filters(s)
    for stretch in framed(blocks, s, s.dft):
        energy = np.log(s.periodogram_scale * np.maximum(power(stretch, s) @ filters.T, s.floor))
        yield librosa.feature.mfcc(S=energy.T, n_mfcc=s.coefficients, norm="ortho").T[:, None]


def segment_starts(frames: int, start: float, end: float) -> NDArray[np.int64]:
    """The first frame of each segment of a span, ``[S]``, S ≥ 1.

    Segments lie in the span whole, every 30 frames from the first of its frames; up to 29 frames at its end
    belong to none. A span of less than one segment is widened to one about its middle, as far as the clip
    goes; a clip of less than one has one, from its first frame.

    Args:
        frames: of the clip, ≥ 1.
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
    """``[S, 2]`` seconds in the clip's time at which segments begin and end, 655 ms later."""
    s = MFCC_IMAGE_SETTINGS
    samples = starts[:, None] * s.hop + np.array([0, s.segment_samples])
    return samples / s.sample_rate


def segment_images(mfcc: np.ndarray, starts: NDArray[np.int64]) -> Iterator[NDArray[np.uint8]]:
    """The images of segments, in blocks ``[s, 64 coefficients, 64 frames, 3]``.

    Each channel is stretched to 0-255 between its least and its greatest value in the segment: the paper
    rescales after it has cut, and a linear model of the images' statistics did no better where a clip's
    segments were stretched together. What is constant becomes 0. Where the clip has too few frames, its last
    one repeats.

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

"""Framing of sound: windows, their spectra, and streams of blocks whose values do not depend on block size.

All functions take mono samples in [-1, 1] at 16 kHz, as a stream of blocks of any size, and return arrays
with time first, ``[T, ...]``. The stream is regrouped into stretches of ten seconds, so values do not depend
on how the sound was cut into blocks, and memory does not grow with the clip. Frames start at the first
sample; samples that do not fill a last window are left out. A sound shorter than one window is zero-padded to
one, and a sound without samples has no frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import librosa  # its submodules, and numba with them, load on first use
import numpy as np
from numpy.typing import NDArray

Floats = NDArray[np.float32]
Doubles = NDArray[np.float64]

FRAMES_AT_ONCE = 1000


@dataclass(frozen=True)
class ShortTimeSettings:
    """How sound is cut into frames: sizes in samples, the floor in dB below a full-scale sine's power."""

    window: int
    dft: int
    hop: int = 160
    sample_rate: int = 16_000
    floor_db: float = -100.0

    def settings(self) -> dict[str, Any]:
        """Return every number that changes the values, for the key."""
        return asdict(self)

    def frame_count(self, samples: int) -> int:
        """Return the frame count, ``1 + (samples - window) // hop``: at least 1, but 0 without samples."""
        return 1 + max(0, samples - self.window) // self.hop if samples else 0

    @property
    def floor(self) -> float:
        """Minimum power, relative to a sine of amplitude 1."""
        return float(10 ** (self.floor_db / 10))

    def frame_times(self, count: int) -> Doubles:
        """Return the window centres of ``count`` frames, ``[count]`` in seconds from the first sample."""
        return (self.window / 2 + self.hop * np.arange(count)) / self.sample_rate


def power_blocks(blocks: Iterable[Floats], s: ShortTimeSettings) -> Iterator[Doubles]:
    """Yield power spectra ``[t, dft // 2 + 1]``; a sine of amplitude 1 at a bin's frequency gives 1 there."""
    for stretch in framed(blocks, s, s.dft):
        yield power(stretch, s)


def framed(blocks: Iterable[Floats], s: ShortTimeSettings, reach: int) -> Iterator[Doubles]:
    """Yield the sound in stretches of whole frames of ``reach`` samples, centred on the windows.

    Zeros on either side make the first window, in the centre of its frame, start at the first sample.
    """
    margin = np.zeros((reach - s.window) // 2)
    padded = chain([margin], _padded_to(checked_blocks(blocks), s.window), [margin])
    return stretches(padded, reach, s.hop)


def power(stretch: Doubles, s: ShortTimeSettings) -> Doubles:
    """Compute power spectra ``[t, dft // 2 + 1]`` of frames of ``dft`` samples; see :func:`power_blocks`."""
    full_scale = librosa.filters.get_window("hamming", s.window).sum() / 2
    spectra = librosa.stft(
        stretch, n_fft=s.dft, hop_length=s.hop, win_length=s.window, window="hamming", center=False
    )
    return np.asarray(np.abs(spectra.T / full_scale) ** 2)


def stretches(blocks: Iterable[Doubles], window: int, hop: int) -> Iterator[Doubles]:
    """Regroup a stream ``[n, ...]`` into stretches of whole windows, each window in exactly one.

    Every stretch has :data:`FRAMES_AT_ONCE` windows, the last one the rest. Stretches overlap by
    ``window - hop``.
    """
    advance = FRAMES_AT_ONCE * hop
    size = advance - hop + window
    parts: list[Doubles] = []
    length = 0
    for block in blocks:
        parts.append(block)
        length += len(block)
        if length >= size:
            joined = np.concatenate(parts)
            while len(joined) >= size:
                yield joined[:size]
                joined = joined[advance:]
            parts, length = [joined], len(joined)
    if length >= window:
        yield np.concatenate(parts)


def checked_blocks(blocks: Iterable[Floats]) -> Iterator[Doubles]:
    """Yield the blocks in double precision, long ones in pieces.

    Raises:
        ValueError: the samples are not one-dimensional floats, or not all finite.
    """
    longest = FRAMES_AT_ONCE * ShortTimeSettings.hop
    position = 0
    for block in blocks:
        if block.ndim != 1 or block.dtype.kind != "f":
            raise ValueError(
                f"sound is {block.dtype} {list(block.shape)}, expected one-dimensional floats in [-1, 1]: "
                "mix the channels to one and scale integers to floats"
            )
        for start in range(0, len(block), longest):
            piece = block[start : start + longest].astype(np.float64)
            _require_finite(piece, position)
            yield piece
            position += len(piece)


def _require_finite(piece: Doubles, position: int) -> None:
    """Reject samples that are not finite, as from a damaged stream: one NaN would spoil all its windows."""
    finite = np.isfinite(piece)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise ValueError(
            f"sample {position + bad} of the sound is {piece[bad]}, expected a finite number in [-1, 1]: "
            "the sound is damaged, decode it again or repair the file"
        )


def _padded_to(blocks: Iterable[Doubles], length: int) -> Iterator[Doubles]:
    """Yield the stream, zero-padded to ``length`` if it is shorter but not empty."""
    total = 0
    for block in blocks:
        yield block
        total += len(block)
    if 0 < total < length:
        yield np.zeros(length - total)


def assembled(blocks: Iterable[Floats], shape: tuple[int, ...]) -> Floats:
    """Copy blocks into one array of a known shape, without ever holding two copies of the result."""
    result = np.empty(shape, np.float32)
    start = 0
    for block in blocks:
        result[start : start + len(block)] = block
        start += len(block)
    return result

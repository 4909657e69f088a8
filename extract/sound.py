"""Sound in frames: windows, their spectra, and streams of blocks cut alike wherever the blocks end.

All takes mono samples in [-1, 1] at 16 kHz, whole or as a stream of blocks of any size, and puts time first:
``[T, ...]``. A stream is cut into stretches of ten seconds wherever its blocks end, so the values do not
depend on how the sound was cut, and the memory needed does not grow with the clip. Frames start with the
first sample and the samples that fill no last window are left out; a sound shorter than one window is
zero-padded to one, and a sound of no samples has no frames.
"""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from dataclasses import asdict, dataclass
from itertools import chain
from typing import Any

import librosa  # its parts, and with them numba, load at their first use
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
        """Every number that changes the values, for provenance."""
        return asdict(self)

    def frame_count(self, samples: int) -> int:
        """Frames of so many samples: ``1 + (samples - window) // hop``, at least 1, but 0 of no samples."""
        return 1 + max(0, samples - self.window) // self.hop if samples else 0

    @property
    def floor(self) -> float:
        """The least power, where that of a sine of amplitude 1 is 1."""
        return float(10 ** (self.floor_db / 10))

    def frame_times(self, count: int) -> Doubles:
        """``[count]`` centres of the first frames' windows, in seconds from the first sample."""
        return (self.window / 2 + self.hop * np.arange(count)) / self.sample_rate


def power_blocks(blocks: Iterable[Floats], s: ShortTimeSettings) -> Iterator[Doubles]:
    """Power spectra ``[t, dft // 2 + 1]``, 1 where a sine of amplitude 1 stands on a bin."""
    for stretch in framed(blocks, s, s.dft):
        yield power(stretch, s)


def framed(blocks: Iterable[Floats], s: ShortTimeSettings, reach: int) -> Iterator[Doubles]:
    """The sound in stretches of whole frames of ``reach`` samples, whose middles are those of the windows.

    The zeros on either side put the first window, in the middle of its ``reach``, on the first sample.
    """
    margin = np.zeros((reach - s.window) // 2)
    padded = chain([margin], _at_least(checked(blocks), s.window), [margin])
    return stretches(padded, reach, s.hop)


def power(stretch: Doubles, s: ShortTimeSettings) -> Doubles:
    """Power spectra ``[t, dft // 2 + 1]`` of frames of ``dft`` samples, 1 where a sine of amplitude 1 is."""
    full_scale = librosa.filters.get_window("hamming", s.window).sum() / 2
    spectra = librosa.stft(
        stretch, n_fft=s.dft, hop_length=s.hop, win_length=s.window, window="hamming", center=False
    )
    return np.asarray(np.abs(spectra.T / full_scale) ** 2)


def stretches(blocks: Iterable[Doubles], window: int, hop: int) -> Iterator[Doubles]:
    """A stream ``[n, ...]`` regrouped into stretches of whole windows, each window in exactly one.

    Every stretch holds :data:`FRAMES_AT_ONCE` windows, the last one what is left; they overlap by
    ``window - hop``.
    """
    advance = FRAMES_AT_ONCE * hop
    size = advance - hop + window
    held: list[Doubles] = []
    length = 0
    for block in blocks:
        held.append(block)
        length += len(block)
        if length >= size:
            joined = np.concatenate(held)
            while len(joined) >= size:
                yield joined[:size]
                joined = joined[advance:]
            held, length = [joined], len(joined)
    if length >= window:
        yield np.concatenate(held)


def checked(blocks: Iterable[Floats]) -> Iterator[Doubles]:
    """The blocks in double precision, the long ones in pieces.

    :raises ValueError: samples that are not one-dimensional floats, or not all finite
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
    """Refuse what a damaged stream can decode to: one NaN would spread over all windows that hold it."""
    finite = np.isfinite(piece)
    if not finite.all():
        bad = int(np.argmin(finite))
        raise ValueError(
            f"sample {position + bad} of the sound is {piece[bad]}, expected a finite number in [-1, 1]: "
            "the sound is damaged, decode it again or repair the file"
        )


def _at_least(blocks: Iterable[Doubles], length: int) -> Iterator[Doubles]:
    """The stream, zero-padded to ``length`` if it is shorter but not empty."""
    total = 0
    for block in blocks:
        yield block
        total += len(block)
    if 0 < total < length:
        yield np.zeros(length - total)


def assembled(blocks: Iterable[Floats], shape: tuple[int, ...]) -> Floats:
    """The blocks in one array of a shape known beforehand: never two copies of the result."""
    result = np.empty(shape, np.float32)
    start = 0
    for block in blocks:
        result[start : start + len(block)] = block
        start += len(block)
    return result

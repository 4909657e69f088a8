"""Sound features: the speech spectrogram and the log-Mel spectrogram with its deltas.

Both take mono samples in [-1, 1] at 16 kHz, whole or as a stream of blocks of any size, and put time first:
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


@dataclass(frozen=True)
class SpectrogramSettings(ShortTimeSettings):
    """The speech spectrogram of zhou2019 §2.1 and zhou2021 §IV: 40 ms windows, the lowest bins of the DFT."""

    window: int = 640
    dft: int = 800
    bins: int = 200


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


SPECTROGRAM_SETTINGS = SpectrogramSettings()
LOG_MEL_SETTINGS = LogMelSettings()


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
    return _gathered(spectrogram_blocks([samples]), (frames, SPECTROGRAM_SETTINGS.bins))


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
    return _gathered(log_mel_blocks([samples]), (frames, 3, LOG_MEL_SETTINGS.filters))


def spectrogram_blocks(blocks: Iterable[Floats]) -> Iterator[Floats]:
    """:func:`spectrogram` of a sound that comes in blocks ``[n]`` of any size, as ``[t, 200]`` blocks."""
    s = SPECTROGRAM_SETTINGS
    for power in _power_blocks(blocks, s):
        yield (10 * np.log10(np.maximum(power[:, : s.bins], s.floor))).astype(np.float32)


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
    for power in _power_blocks(blocks, s):
        yield np.log(np.maximum(power @ filters.T, s.floor))[:, None]


def with_slope(blocks: Iterable[Doubles], reach: int = LOG_MEL_SETTINGS.delta_reach) -> Iterator[Doubles]:
    """``[t, K, F]`` blocks with the slope of their last row over ``reach`` frames either way appended."""
    width = 2 * reach + 1
    for stretch in _stretches(_with_repeated_ends(blocks, reach), width, 1):
        inner = slice(reach, len(stretch) - reach)
        slope = librosa.feature.delta(stretch[:, -1], width=width, axis=0, mode="nearest")
        yield np.concatenate([stretch[inner], slope[inner, None]], axis=1)


def _power_blocks(blocks: Iterable[Floats], s: ShortTimeSettings) -> Iterator[Doubles]:
    """Power spectra ``[t, dft // 2 + 1]``, 1 where a sine of amplitude 1 stands on a bin."""
    for stretch in framed(blocks, s, s.dft):
        yield power(stretch, s)


def framed(blocks: Iterable[Floats], s: ShortTimeSettings, reach: int) -> Iterator[Doubles]:
    """The sound in stretches of whole frames of ``reach`` samples, whose middles are those of the windows.

    The zeros on either side put the first window, in the middle of its ``reach``, on the first sample.
    """
    margin = np.zeros((reach - s.window) // 2)
    padded = chain([margin], _at_least(checked(blocks), s.window), [margin])
    return _stretches(padded, reach, s.hop)


def power(stretch: Doubles, s: ShortTimeSettings) -> Doubles:
    """Power spectra ``[t, dft // 2 + 1]`` of frames of ``dft`` samples, 1 where a sine of amplitude 1 is."""
    full_scale = librosa.filters.get_window("hamming", s.window).sum() / 2
    spectra = librosa.stft(
        stretch, n_fft=s.dft, hop_length=s.hop, win_length=s.window, window="hamming", center=False
    )
    return np.asarray(np.abs(spectra.T / full_scale) ** 2)


def _stretches(blocks: Iterable[Doubles], window: int, hop: int) -> Iterator[Doubles]:
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
    longest = FRAMES_AT_ONCE * SPECTROGRAM_SETTINGS.hop
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


def _gathered(blocks: Iterable[Floats], shape: tuple[int, ...]) -> Floats:
    """The blocks in one array of a shape known beforehand: never two copies of the result."""
    result = np.empty(shape, np.float32)
    start = 0
    for block in blocks:
        result[start : start + len(block)] = block
        start += len(block)
    return result

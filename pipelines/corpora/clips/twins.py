"""Compares the content of two files to find copies of a recording."""

from __future__ import annotations

import filecmp
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ....extract.decode.media import Media

STEP = 0.01  # seconds from one level of the sound to the next
SMOOTH = 5  # of these steps that a level is taken over
LAG = 20  # of these steps that a conversion may begin earlier or later
ALIKE = (
    0.96  # correlation: encodings of a clip came to 0.98 and more, of 168 clips no two different ones to 0.94
)
FRAMES, SIDE = 12, 16  # pictures that are compared, and their size
LISTEN = 60.0  # seconds of sound that are compared
SILENT, STILL = 1e-3, 1.0  # spread of sound, and of grey levels, below which there is nothing to compare
ALMOST = 8.0  # grey levels by which encodings of a still picture differ at most, on average


def same_bytes(one: str, other: str) -> bool:
    """Whether two files are the same to the last byte; what is empty or cannot be read is not."""
    try:
        return filecmp.cmp(one, other, shallow=False) and not _empty(one)
    except OSError:
        return False


def same_length(one: str, other: str) -> bool | None:
    """Whether two files last equally long, within what a conversion adds; None where that cannot be told."""
    return _compared(one, other, _equally_long)


def same_recording(one: str, other: str) -> bool:
    """Whether two files are copies, or encodings, of one recording.

    Their lengths must agree, and how their sound rises and falls; where one has no sound, how their pictures
    change. Files that cannot be read are not the same.
    """
    return same_bytes(one, other) or bool(_compared(one, other, _alike))


def _compared(one: str, other: str, compare: Callable[[Media, Media], bool]) -> bool | None:
    from ....extract.decode.media import Media
    from ....extract.errors import ClipError

    try:
        return compare(Media(one), Media(other))
    except (ClipError, OSError):
        return None


def _empty(path: str) -> bool:
    return Path(path).stat().st_size == 0


def _equally_long(one: Media, other: Media) -> bool:
    first, second = one.seconds(), other.seconds()
    return abs(first - second) <= max(0.25, 0.02 * max(first, second))


def _alike(one: Media, other: Media) -> bool:
    if not _equally_long(one, other):
        return False
    first, second = _levels(one), _levels(other)
    if first is None or second is None:
        return _look_alike(one, other)
    size = min(len(first), len(second)) - LAG
    lags = [(lag, 0) for lag in range(LAG + 1)] + [(0, lag) for lag in range(1, LAG + 1)]
    return max(_correlation(first[a : a + size], second[b : b + size]) for a, b in lags) >= ALIKE


def _levels(media: Media) -> np.ndarray | None:
    """How loud the first minute is, in dB, step by step; None without sound, or where it never changes."""
    import numpy as np

    from ....extract.decode.heard import SAMPLE_RATE

    if not media.has_sound:
        return None
    step, most = round(STEP * SAMPLE_RATE), round(LISTEN * SAMPLE_RATE)
    blocks, heard = [np.zeros(0, np.float32)], 0
    for block in media.sound():
        blocks.append(block)
        heard += len(block)
        if heard >= most:
            break
    sound = np.concatenate(blocks)[:most]
    power = (sound[: len(sound) // step * step].reshape(-1, step).astype(np.float64) ** 2).mean(axis=1)
    if len(power) <= 2 * LAG or np.ptp(np.sqrt(power)) < SILENT:
        return None
    power = np.convolve(power, np.ones(SMOOTH) / SMOOTH, "valid")
    return np.asarray(10 * np.log10(np.maximum(power, 1e-4 * power.max())))


def _look_alike(one: Media, other: Media) -> bool:
    """Whether the pictures change alike; where they stand still, whether they are the same."""
    import numpy as np

    if not (one.has_video and other.has_video):
        return False
    pictures = [_thumbnails(media) for media in (one, other)]
    count = min(map(len, pictures))
    first, second = (all_of[:count] for all_of in pictures)
    moving = [each - each.mean(axis=0) for each in (first, second)]
    if count and max(np.abs(each).max() for each in moving) > STILL:
        return _correlation(*moving) >= ALIKE
    return bool(count) and float(np.abs(first - second).mean()) < ALMOST


def _thumbnails(media: Media) -> np.ndarray:
    """A few pictures, spread evenly, as grey ``[n, side, side]``."""
    import cv2
    import numpy as np

    spread = type(media)(media.path, FRAMES)
    grey = [cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY) for frame in spread.frames()]
    small = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in grey]
    return np.array(small, np.float64).reshape(-1, SIDE, SIDE)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    first, second = one.ravel() - one.mean(), other.ravel() - other.mean()
    scale = float((first @ first) * (second @ second)) ** 0.5
    return float(first @ second) / scale if scale else 0.0

"""Compares the contents of two files to find copies of a recording."""

from __future__ import annotations

import filecmp
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

    from ....extract.decode.media import Media

STEP = 0.01  # seconds between sound levels
SMOOTH = 5  # steps over which a level is averaged
MAX_LAG = 20  # steps by which a conversion may shift the sound
MIN_CORRELATION = (
    0.96  # correlation: 0.98 or more for encodings of one clip, below 0.94 for any two of 168 clips
)
FRAMES, SIDE = 12, 16  # number of pictures compared, and their side in pixels
MAX_SECONDS = 60.0  # seconds of sound compared
SILENT, STILL = 1e-3, 1.0  # spread of sound amplitude and of grey levels below which nothing can be compared
MAX_GREY_DIFFERENCE = 8.0  # greatest mean difference in grey levels between encodings of a still picture


def same_bytes(one: str, other: str) -> bool:
    """Return whether two files have the same bytes; False for empty and unreadable files."""
    try:
        return filecmp.cmp(one, other, shallow=False) and not _empty(one)
    except OSError:
        return False


def same_length(one: str, other: str) -> bool | None:
    """Return whether two files are equally long, up to what a conversion adds; None if one is unreadable."""
    return _compare_media(one, other, _same_length)


def same_recording(one: str, other: str) -> bool:
    """Return whether two files are copies or encodings of the same recording.

    Their lengths must agree, and their sound levels over time must correlate. If one of them has no sound,
    their pictures are compared instead. Unreadable files are not the same.
    """
    return same_bytes(one, other) or bool(_compare_media(one, other, _same_recording))


def _compare_media(one: str, other: str, compare: Callable[[Media, Media], bool]) -> bool | None:
    from ....extract.decode.media import Media
    from ....extract.errors import ClipError

    try:
        return compare(Media(one), Media(other))
    except (ClipError, OSError):
        return None


def _empty(path: str) -> bool:
    return Path(path).stat().st_size == 0


def _same_length(one: Media, other: Media) -> bool:
    first, second = one.seconds(), other.seconds()
    return abs(first - second) <= max(0.25, 0.02 * max(first, second))


def _same_recording(one: Media, other: Media) -> bool:
    if not _same_length(one, other):
        return False
    first, second = _levels(one), _levels(other)
    if first is None or second is None:
        return _same_pictures(one, other)
    size = min(len(first), len(second)) - MAX_LAG
    lags = [(lag, 0) for lag in range(MAX_LAG + 1)] + [(0, lag) for lag in range(1, MAX_LAG + 1)]
    return max(_correlation(first[a : a + size], second[b : b + size]) for a, b in lags) >= MIN_CORRELATION


def _levels(media: Media) -> np.ndarray | None:
    """Return the sound levels of the first minute in dB; None without sound or if they are constant."""
    import numpy as np

    from ....extract.decode.heard import SAMPLE_RATE

    if not media.has_sound:
        return None
    step, limit = round(STEP * SAMPLE_RATE), round(MAX_SECONDS * SAMPLE_RATE)
    blocks, length = [np.zeros(0, np.float32)], 0
    for block in media.sound():
        blocks.append(block)
        length += len(block)
        if length >= limit:
            break
    sound = np.concatenate(blocks)[:limit]
    power = (sound[: len(sound) // step * step].reshape(-1, step).astype(np.float64) ** 2).mean(axis=1)
    if len(power) <= 2 * MAX_LAG or np.ptp(np.sqrt(power)) < SILENT:
        return None
    power = np.convolve(power, np.ones(SMOOTH) / SMOOTH, "valid")
    return np.asarray(10 * np.log10(np.maximum(power, 1e-4 * power.max())))


def _same_pictures(one: Media, other: Media) -> bool:
    """Return whether the pictures change in the same way or, if they are still, look the same."""
    import numpy as np

    if not (one.has_video and other.has_video):
        return False
    pictures = [_thumbnails(media) for media in (one, other)]
    count = min(map(len, pictures))
    first, second = (thumbnails[:count] for thumbnails in pictures)
    moving = [each - each.mean(axis=0) for each in (first, second)]
    if count and max(np.abs(each).max() for each in moving) > STILL:
        return _correlation(*moving) >= MIN_CORRELATION
    return bool(count) and float(np.abs(first - second).mean()) < MAX_GREY_DIFFERENCE


def _thumbnails(media: Media) -> np.ndarray:
    """Return a few evenly spaced pictures in grey, ``[n, side, side]``."""
    import cv2
    import numpy as np

    sampled = type(media)(media.path, FRAMES)
    grey = [cv2.cvtColor(frame.image, cv2.COLOR_RGB2GRAY) for frame in sampled.frames()]
    small = [cv2.resize(image, (SIDE, SIDE), interpolation=cv2.INTER_AREA) for image in grey]
    return np.array(small, np.float64).reshape(-1, SIDE, SIDE)


def _correlation(one: np.ndarray, other: np.ndarray) -> float:
    first, second = one.ravel() - one.mean(), other.ravel() - other.mean()
    scale = float((first @ first) * (second @ second)) ** 0.5
    return float(first @ second) / scale if scale else 0.0

"""Mixes sound to mono: the mean of the channels, or of the front channels of surround sound.

The mean makes sound as loud in stereo as in mono. If the channels cancel out, for example because one of two
has inverted polarity, the loudest one is used instead.
"""

from __future__ import annotations

from collections.abc import Iterable

import av
import numpy as np
from numpy.typing import NDArray

FRONT = frozenset({"FL", "FR", "FC"})  # FFmpeg's names for left, right and centre
CANCELLED = 0.1  # share of the power that the mean of unrelated channels would have

Samples = NDArray[np.float32]


class Mixer:
    """Mixes sound to one channel, after analysing all of it.

    Args:
        frames: all frames of the sound, whose layout may change midway; none are needed for mono sound.
    """

    def __init__(self, frames: Iterable[av.AudioFrame] = ()) -> None:
        self._layouts: dict[str, _Layout] = {}
        for frame in frames:
            if not is_mono(frame):
                name = frame.layout.name
                if name not in self._layouts:
                    self._layouts[name] = _Layout(frame)
                self._layouts[name].add(channels_of(frame))

    @property
    def cancelled(self) -> bool:
        """Whether channels cancel out, so that only one is used."""
        return any(layout.cancelled for layout in self._layouts.values())

    def __call__(self, frame: av.AudioFrame) -> av.AudioFrame:
        """Return the frame mixed to mono; a mono frame is returned unchanged."""
        if is_mono(frame):
            return frame
        used = self._layouts[frame.layout.name].used
        return mono_frame(channels_of(frame)[used].mean(axis=0), frame.sample_rate)


class _Layout:
    """The channels of a layout that are averaged, and how much of their power the mean keeps."""

    def __init__(self, frame: av.AudioFrame) -> None:
        names = [channel.name for channel in _named(frame.layout).channels]
        front = [number for number, name in enumerate(names) if name in FRONT]
        self._front = front or list(range(len(names)))
        self._powers = np.zeros(len(self._front))
        self._power_of_mean = 0.0

    def add(self, channels: Samples) -> None:
        front = channels[self._front].astype(np.float64)
        self._powers += (front**2).sum(axis=1)
        self._power_of_mean += float((front.mean(axis=0) ** 2).sum())

    @property
    def cancelled(self) -> bool:
        unrelated = float(self._powers.sum()) / len(self._front) ** 2
        return self._power_of_mean < CANCELLED * unrelated

    @property
    def used(self) -> list[int]:
        return [self._front[int(self._powers.argmax())]] if self.cancelled else self._front


def _named(layout: av.AudioLayout) -> av.AudioLayout:
    """Return FFmpeg's default layout if ``layout`` is a bare channel count, such as 5.1 for six."""
    count = len(layout.channels)
    if layout.name != f"{count} channels":
        return layout
    try:
        return av.AudioLayout(f"{count}c")
    except ValueError:
        return layout


def is_mono(frame: av.AudioFrame) -> bool:
    """Whether a frame has a single channel."""
    return len(frame.layout.channels) == 1


def channels_of(frame: av.AudioFrame) -> Samples:
    """Return the samples ``[channels, n]`` of a frame, with a full scale of 1."""
    values = frame.to_ndarray()
    if not frame.format.is_planar:
        values = values.reshape(frame.samples, -1).T
    if values.dtype.kind == "f":
        return values.astype(np.float32, copy=False)
    half = 2 ** (8 * values.dtype.itemsize - 1)
    centred = values.astype(np.float32) - (half if values.dtype.kind == "u" else 0)
    return centred / np.float32(half)


def mono_frame(samples: Samples, rate: int) -> av.AudioFrame:
    """Return a frame with a single channel."""
    frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(samples[None]), format="fltp", layout="mono")
    frame.sample_rate = rate
    return frame

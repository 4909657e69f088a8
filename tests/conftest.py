"""Fixtures shared by all tests."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Sequence
from fractions import Fraction
from pathlib import Path
from typing import TYPE_CHECKING

import av
import numpy as np
import pytest

if TYPE_CHECKING:  # a bare machine with a GPU has no browser
    from playwright.sync_api import Browser

SHARED = Path(__file__).resolve().parents[2] / "shared"


@pytest.fixture(scope="session")
def shared() -> Path:
    """The folder of real data and papers beside the checkout; the test skips where it is absent."""
    if not SHARED.is_dir():
        pytest.skip("needs the folder of real data, ../shared, which is not here")
    return SHARED


@pytest.fixture(scope="session")
def browser() -> Iterator[Browser]:
    """A headless Chromium; the test skips where there is none."""
    from .browsing import headless_browser

    with headless_browser() as started:
        yield started


@pytest.fixture(scope="session")
def make_clip() -> Callable[..., Path]:
    """Writes a small video file: grey frames whose brightness tells their number, and a tone."""
    return _make_clip


def _make_clip(
    path: Path,
    frames: int = 10,
    fps: float = 25.0,
    size: tuple[int, int] = (64, 48),
    sound: bool = True,
    pictures: Iterable[np.ndarray] | None = None,
    times: Sequence[float] | None = None,
    sound_delay: float = 0.0,
    tone: float = 440.0,
) -> Path:
    images = [np.full((size[1], size[0], 3), 20 * n % 256, np.uint8) for n in range(frames)]
    images = list(pictures) if pictures is not None else images
    with av.open(str(path), "w") as container:
        video = audio = None
        if images:
            video = container.add_stream("mpeg4", rate=Fraction(fps).limit_denominator(1001))
            video.height, video.width = images[0].shape[:2]
            video.pix_fmt = "yuv420p"
            video.time_base = video.codec_context.time_base = Fraction(1, 1000)
            video.bit_rate = 4_000_000
        if sound:
            audio = container.add_stream("aac", rate=44_100, layout="mono")
        for number, image in enumerate(images):
            frame = av.VideoFrame.from_ndarray(image, format="rgb24")
            seconds = times[number] if times is not None else number / fps
            frame.pts, frame.time_base = round(seconds * 1000), Fraction(1, 1000)
            assert video is not None
            container.mux(video.encode(frame))
        if video is not None:
            container.mux(video.encode(None))
        if audio is not None:
            seconds = times[-1] if times is not None else max(len(images), 1) / fps
            clock = np.arange(int(44_100 * seconds)) / 44_100
            samples = (0.5 * np.sin(2 * np.pi * tone * clock)).astype(np.float32)
            frame_sound = av.AudioFrame.from_ndarray(samples[None], format="fltp", layout="mono")
            frame_sound.sample_rate, frame_sound.pts = 44_100, round(sound_delay * 44_100)
            frame_sound.time_base = Fraction(1, 44_100)
            container.mux(audio.encode(frame_sound))
            container.mux(audio.encode(None))
    return path

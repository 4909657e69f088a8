"""Writes frames and sound to an MP4 file (H.264 and AAC) with PyAV."""

from __future__ import annotations

from collections.abc import Iterable
from itertools import chain
from pathlib import Path

import av
import numpy as np
from numpy.typing import NDArray

# mbtree is off because with it, two encodings of the same frames can differ.
QUALITY = {"crf": "20", "preset": "veryfast", "x264-params": "mbtree=0"}


def write_film(
    path: Path, frames: Iterable[NDArray[np.uint8]], fps: int, sound: NDArray[np.float64], rate: int
) -> None:
    """Write an MP4 file.

    Args:
        path: file to write.
        frames: RGB ``[H, W, 3]``, all of the same size, with even sides.
        fps: frames per second.
        sound: mono samples ``[N]`` from -1 to 1.
        rate: sample rate in Hz.
    """
    frames = iter(frames)
    first = next(frames)
    with av.open(str(path), "w", format="mp4") as container:
        video = container.add_stream("libx264", rate=fps, options=QUALITY)
        video.height, video.width = first.shape[:2]
        video.pix_fmt = "yuv420p"
        video.codec_context.thread_count = 1  # clips are made in parallel
        audio = container.add_stream("aac", rate=rate, layout="mono", bit_rate=64_000)
        for index, pixels in enumerate(chain([first], frames)):
            frame = av.VideoFrame.from_ndarray(pixels, format="rgb24")
            frame.pts = index
            container.mux(video.encode(frame))
        samples = av.AudioFrame.from_ndarray(sound.astype(np.float32)[None], format="fltp", layout="mono")
        samples.sample_rate, samples.pts = rate, 0
        container.mux(audio.encode(samples))
        container.mux(video.encode(None))
        container.mux(audio.encode(None))

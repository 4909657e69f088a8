"""Chooses the clips to time: a sample of a folder, cut short, or generated clips."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from pathlib import Path

import av
import numpy as np
from av.error import FFmpegError

from ...cache.clips import Clip
from ...extract.decode.media import Media
from ...extract.errors import ClipError

MADE = 6  # generated clips if the user names none
LONGEST = 4.0  # seconds of a clip, at most
SHORTEST = 0.3  # seconds of a clip, at least


@dataclass(frozen=True)
class ClipLength:
    """Length of a clip in seconds, and number of frames that the plan uses."""

    seconds: float
    frames: float


def spread(clips: Sequence[Clip], count: int) -> list[Clip]:
    """Return at most ``count`` of the clips, spread evenly."""
    return [clips[i] for i in np.linspace(0, len(clips) - 1, min(count, len(clips))).astype(int)]


def length_of(clip: Clip, max_frames: int | None) -> ClipLength | None:
    """Return the length of a clip; None if it cannot be read."""
    try:
        media = Media(clip.path)
        seconds = media.seconds()
    except (ClipError, OSError):
        return None
    frames = seconds * media.frame_rate
    return ClipLength(seconds, frames if max_frames is None else min(frames, max_frames))


def excerpt(clip: Clip, seconds: float, folder: Path) -> Clip:
    """Copy the packets of the first seconds of a clip into a new file.

    Raises:
        ClipError: the packets cannot be copied.
    """
    path = folder / f"{len(list(folder.iterdir())):04d}.mkv"
    try:
        with av.open(clip.path) as whole, av.open(str(path), "w") as cut:
            streams = [stream for kind in ("video", "audio") if (stream := whole.streams.best(kind))]
            made = {stream.index: cut.add_stream_from_template(stream) for stream in streams}
            for packet in whole.demux(streams):
                if packet.dts is None or packet.time_base is None:
                    continue
                if packet.dts * packet.time_base - (whole.start_time or 0) / av.time_base > seconds:
                    break
                packet.stream = made[packet.stream.index]
                cut.mux(packet)
    except (FFmpegError, OSError, ValueError) as error:
        raise ClipError(f"its first {seconds:.1f} s cannot be cut out ({error})") from error
    return Clip(clip.id, clip.split, str(path))


def made_clips(folder: Path) -> Iterator[Path]:
    """Generate clips and yield their paths: demo clips, or clips without faces if scikit-image is missing."""
    if find_spec("skimage"):
        from ..demo.set import make, plan

        shots = plan(1, 0)[:MADE]
        for shot, _ in zip(shots, make(folder, shots, 0), strict=True):
            yield folder / shot.path
        return
    from ..demo.film import write_film

    rng = np.random.default_rng(0)
    picture = np.cumsum(rng.integers(-2, 3, (270, 720, 3)), axis=1).clip(-127, 127).astype(np.uint8)
    for number in range(MADE):
        path = folder / f"{number}.mp4"
        frames = (np.roll(picture, 3 * step, axis=1)[:, :360] for step in range(40))
        write_film(path, frames, 25, rng.uniform(-0.3, 0.3, 25_600), 16_000)
        yield path

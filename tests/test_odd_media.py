"""What people's files are really like, picture by picture: each kind is made here, then read.

Expected values come from what was drawn, and from the standards that describe the format.
"""

from __future__ import annotations

from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np

from avemo.extract.clock import Clock
from avemo.extract.media import Media


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "mpeg4",
    rate: int = 25,
    tone: float = 0.0,
    **settings: Any,
) -> Path:
    """RGB ``pictures`` as a video, with a tone of so many hertz where one is asked for."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=rate, options=settings.pop("options", {}))
        video.height, video.width = pictures[0].shape[:2]
        video.pix_fmt = "yuv420p"
        for name, value in settings.items():
            setattr(video.codec_context, name, value)
        sound = container.add_stream("mp2", rate=48_000, layout="mono") if tone else None
        for number, picture in enumerate(pictures):
            frame = av.VideoFrame.from_ndarray(picture, format="rgb24")
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            clock = np.arange(48_000 * len(pictures) // rate) / 48_000
            wave = (16_000 * np.sin(2 * np.pi * tone * clock)).astype(np.int16)
            block = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = 48_000, 0, Fraction(1, 48_000)
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


def grey(count: int, size: tuple[int, int] = (96, 128)) -> list[np.ndarray]:
    """Pictures whose brightness tells their number."""
    return [np.full((*size, 3), 16 + 3 * number % 224, np.uint8) for number in range(count)]


def make_joined(path: Path) -> Path:
    """Recordings of 2 and 3 seconds end to end, each with a clock of its own."""
    parts = [
        write_video(path.with_name(f"part{n}.ts"), grey(25 * seconds), "mpeg2video", tone=440.0)
        for n, seconds in enumerate((2, 3))
    ]
    path.write_bytes(b"".join(part.read_bytes() for part in parts))
    for part in parts:
        part.unlink()
    return path


class TestClock:
    def test_recordings_joined_have_one_time(self, tmp_path: Path) -> None:
        media = Media(make_joined(tmp_path / "joined.ts"))
        times = [frame.time for frame in media.frames()]
        assert len(times) == 125
        steps = np.diff(times)
        np.testing.assert_allclose(np.delete(steps, 49), 0.04, atol=1e-3)
        assert 0.04 - 1e-3 <= steps[49] < 0.15  # the sound of the first part is a little longer
        assert media.clock.restarts == 1
        assert media.seconds() == media.clock.end
        assert 5.0 <= media.seconds() < 5.2

    def test_sound_and_pictures_are_moved_alike(self, tmp_path: Path) -> None:
        media = Media(make_joined(tmp_path / "joined.ts"))
        begins: dict[str, list[float]] = {"video": [], "audio": []}
        with media.opened() as container:
            for packet in media.clock.packets(container):
                seconds = media.clock.seconds(packet)
                if seconds is not None:
                    begins[packet.stream.type].append(seconds)
        assert np.diff(begins["video"]).min() > 0.03 and np.diff(begins["audio"]).min() > 0.02
        second = begins["video"][50]
        nearest = min(begins["audio"], key=lambda seconds: abs(seconds - second))
        assert abs(nearest - second) < 0.03

    def test_an_ordinary_clip_keeps_its_stamps(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "a.ts", grey(10), "mpeg2video", tone=440.0)
        with av.open(str(path)) as container:
            plain = [(packet.pts, packet.dts) for packet in container.demux()]
        with av.open(str(path)) as container:
            clock = Clock.of(container)
        with av.open(str(path)) as container:
            assert [(packet.pts, packet.dts) for packet in clock.packets(container)] == plain
        assert clock.restarts == 0

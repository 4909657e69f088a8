"""Sound as people's files really have it: gaps, odd channels, other formats midway, damage."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avemo.cache.clips import Clip
from avemo.extract.clip import Result, Task, extract_clip
from avemo.extract.media import Media
from avemo.extract.plan import Plan

MakeClip = Callable[..., Path]
RATE = 48_000
SOUND = {"spectrogram", "logmel", "descriptors"}
SEEN = {"faces", "ferresnet/none"}


def tone(seconds: float, hertz: float = 440.0, height: float = 0.5, rate: int = RATE) -> np.ndarray:
    return (height * np.sin(2 * np.pi * hertz * np.arange(round(seconds * rate)) / rate)).astype(np.float32)


def write_sound(
    path: Path,
    *pieces: tuple[float, np.ndarray],
    layout: str = "mono",
    codec: str = "pcm_f32le",
    rate: int = RATE,
    pictures: int = 0,
) -> Path:
    """A file of sound ``[channels, samples]``, each piece at its time in seconds; packets of 20 ms."""
    with av.open(str(path), "w") as container:
        video = container.add_stream("mpeg4", rate=25, width=64, height=48) if pictures else None
        stream = container.add_stream(codec, rate=rate, layout=layout)
        stream.time_base = Fraction(1, rate)
        for number in range(pictures):
            assert video is not None
            image = np.full((48, 64, 3), 20 * number % 256, np.uint8)
            container.mux(video.encode(av.VideoFrame.from_ndarray(image, format="rgb24")))
        if video is not None:
            container.mux(video.encode(None))
        kind = stream.codec_context.format.name
        for start, samples in pieces:
            for at in range(0, np.atleast_2d(samples).shape[1], rate // 50):
                block = np.atleast_2d(samples)[:, at : at + rate // 50]
                if kind == "s16":
                    block = (block * 32768).round().clip(-32768, 32767).astype(np.int16)
                if kind in ("flt", "s16"):
                    block = block.T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format=kind, layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(start * rate) + at
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def heard(path: Path) -> np.ndarray:
    return np.concatenate(list(Media(path).sound()))


def extracted(path: Path, spool: Path) -> Result:
    plan = Plan(view_sets=("none",))
    return extract_clip(plan, Task(Clip("a", "train", str(path)), plan.keys()), spool)


def statuses(result: Result) -> dict[str, str]:
    return {stream: made.status for stream, made in result.streams.items()}


def remuxed(source: Path, target: Path, change: Callable[[av.Packet, int], Iterable[av.Packet]]) -> Path:
    """The packets of a file, each replaced by what ``change`` makes of it and its number in its stream."""
    with av.open(str(source)) as old, av.open(str(target), "w") as new:
        streams = {stream.index: new.add_stream_from_template(stream) for stream in old.streams}
        counts = dict.fromkeys(streams, 0)
        for packet in old.demux():
            if packet.size:
                for changed in change(packet, counts[packet.stream_index]):
                    changed.stream = streams[packet.stream_index]
                    new.mux(changed)
                counts[packet.stream_index] += 1
    return target


def garbage(packet: av.Packet) -> av.Packet:
    spoilt = av.Packet(bytes(range(255, 0, -1))[: packet.size])
    spoilt.pts, spoilt.dts, spoilt.duration = packet.pts, packet.dts, packet.duration
    spoilt.time_base = packet.time_base
    return spoilt


def test_sound_that_is_no_number_leaves_the_faces(tmp_path: Path) -> None:
    samples = tone(1.0)
    samples[20_000] = np.nan
    result = extracted(write_sound(tmp_path / "a.mkv", (0.0, samples), pictures=25), tmp_path)
    assert statuses(result) == dict.fromkeys(SOUND, "failed") | dict.fromkeys(SEEN, "ok")
    assert "nan" in result.failure
    assert "spectrogram" in result.failure and "faces" not in result.failure


def test_pictures_that_cannot_be_decoded_leave_the_sound(tmp_path: Path, make_clip: MakeClip) -> None:
    path = remuxed(
        make_clip(tmp_path / "a.mkv", 25),
        tmp_path / "b.mkv",
        lambda packet, _: [garbage(packet) if packet.stream.type == "video" else packet],
    )
    result = extracted(path, tmp_path)
    assert statuses(result) == dict.fromkeys(SEEN, "failed") | dict.fromkeys(SOUND, "ok")
    assert "no frame of it can be decoded" in result.failure


def test_a_descriptor_that_breaks_costs_itself_alone(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    def breaks(blocks: Iterable[np.ndarray]) -> Iterable[dict[str, np.ndarray]]:
        raise np.linalg.LinAlgError("singular")

    monkeypatch.setattr("avemo.extract.clip.descriptor_blocks", breaks)
    result = extracted(make_clip(tmp_path / "a.mkv", 5), tmp_path)
    assert {stream for stream, status in statuses(result).items() if status == "failed"} == {"descriptors"}
    assert result.failure == "LinAlgError: singular (no descriptors)"

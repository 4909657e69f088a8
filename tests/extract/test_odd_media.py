"""What people's files are really like, picture by picture: each kind is made here, then read.

Expected values come from what was drawn, and from the standards that describe the format.
"""

from __future__ import annotations

import os
import struct
import subprocess
import sys
import zlib
from collections.abc import Sequence
from fractions import Fraction
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest

from avemo.cache.clips import Clip
from avemo.extract.clip import ClipJob, extract_clip
from avemo.extract.crew import KEEP_MEMORY
from avemo.extract.decode import hdr
from avemo.extract.decode.clock import Clock
from avemo.extract.decode.media import Media
from avemo.extract.errors import ClipError
from avemo.extract.plan import Plan
from avemo.extract.streams.registry import keys_of
from avemo.pipelines.corpora.clips.scan import scan


def write_video(
    path: Path,
    pictures: Sequence[np.ndarray],
    codec: str = "mpeg4",
    rate: int = 25,
    tone: float = 0.0,
    **settings: Any,
) -> Path:
    """RGB ``pictures`` as a video, with a tone of so many hertz where one is asked for."""
    frames = [av.VideoFrame.from_ndarray(picture, format="rgb24") for picture in pictures]
    return write_frames(path, frames, codec, rate, tone, **settings)


def write_frames(
    path: Path,
    frames: Sequence[av.VideoFrame],
    codec: str,
    rate: int = 25,
    tone: float = 0.0,
    pix_fmt: str = "yuv420p",
    **settings: Any,
) -> Path:
    """A video of ``frames``; ``settings`` are attributes of the encoder."""
    with av.open(str(path), "w") as container:
        video = container.add_stream(codec, rate=rate)
        video.height, video.width, video.pix_fmt = frames[0].height, frames[0].width, pix_fmt
        video.bit_rate = 8_000_000
        for name, value in settings.items():
            setattr(video.codec_context, name, value)
        sound = container.add_stream("mp2", rate=48_000, layout="mono") if tone else None
        for number, frame in enumerate(frames):
            frame.pts, frame.time_base = number, Fraction(1, rate)
            container.mux(video.encode(frame))
        container.mux(video.encode(None))
        if sound is not None:
            clock = np.arange(48_000 * len(frames) // rate) / 48_000
            wave = (16_000 * np.sin(2 * np.pi * tone * clock)).astype(np.int16)
            block = av.AudioFrame.from_ndarray(wave[None], format="s16", layout="mono")
            block.sample_rate, block.pts, block.time_base = 48_000, 0, Fraction(1, 48_000)
            container.mux(sound.encode(block))
            container.mux(sound.encode(None))
    return path


FACES_ALONE = Plan(backbones=())


def job_of(path: Path) -> ClipJob:
    return ClipJob(Clip(path.stem, "train", str(path)), keys_of(FACES_ALONE))


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


def make_anamorphic(
    path: Path, size: tuple[int, int] = (576, 720), aspect: Fraction = Fraction(64, 45)
) -> Path:
    """A disc that is round on a screen, in pixels that are not square."""
    y, x = np.mgrid[: size[0], : size[1]]
    disc = np.hypot((x - size[1] / 2) * float(aspect), y - size[0] / 2) < size[0] / 3
    picture = np.where(disc, 235, 16).astype(np.uint8)[..., None].repeat(3, 2)
    return write_video(path, [picture] * 3, sample_aspect_ratio=aspect)


def bar(left: int) -> np.ndarray:
    """A bright bar, its left edge at so many pixels."""
    picture = np.full((288, 352, 3), 40, np.uint8)
    picture[60:220, left : left + 60] = 220
    return picture


def make_interlaced(path: Path, frames: int = 12) -> Path:
    """A bar that moves 8 pixels a field: odd lines show one moment, even lines the next (as DV does)."""
    pictures = []
    for number in range(frames):
        picture = bar(20 + 16 * number)
        picture[::2] = bar(28 + 16 * number)[::2]
        pictures.append(picture)
    interlaced = 1 << 18 | 1 << 29  # AV_CODEC_FLAG_INTERLACED_DCT, _ME
    return write_video(path, pictures, "mpeg2video", flags=interlaced)


def make_hdr(path: Path, transfer: int, signals: Sequence[float] = (0.1, 0.38, 0.58, 0.75)) -> Path:
    """Grey frames of 10 bits whose ``signals`` are shares of the nominal range (BT.2100, table 9)."""
    frames = []
    for signal in signals:
        planes = np.full((96, 64), 512, np.uint16)
        planes[:64] = round(64 + 876 * signal)
        frames.append(av.VideoFrame.from_ndarray(planes, format="yuv420p10le"))
    colour = {"color_trc": transfer, "color_primaries": 9, "colorspace": 9, "color_range": 1}
    return write_frames(path, frames, "ffv1", pix_fmt="yuv420p10le", **colour)


def make_two_angles(path: Path) -> Path:
    """Two video tracks, dark and bright; the second is the one to show."""
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("mpeg4", rate=25) for _ in range(2)]
        for stream in streams:
            stream.width, stream.height, stream.pix_fmt = 128, 96, "yuv420p"
        streams[0].disposition = av.stream.Disposition(0)
        streams[1].disposition = av.stream.Disposition.default
        for number in range(10):
            for stream, level in zip(streams, (30, 200), strict=True):
                frame = av.VideoFrame.from_ndarray(np.full((96, 128, 3), level, np.uint8), format="rgb24")
                frame.pts, frame.time_base = number, Fraction(1, 25)
                container.mux(stream.encode(frame))
        for stream in streams:
            container.mux(stream.encode(None))
    return path


def make_damaged(path: Path, frames: int = 44, bad: range = range(9, 19)) -> Path:
    """Some packets in the middle are noise; each picture stands for itself."""
    noise = np.random.default_rng(0)
    whole = write_video(path.with_name(f"whole-{path.name}"), grey(frames), gop_size=1)
    with av.open(str(whole)) as source, av.open(str(path), "w") as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is None:
                continue
            if number in bad:
                spoiled = av.Packet(noise.integers(0, 256, packet.size, np.uint8).tobytes())
                spoiled.pts, spoiled.dts, spoiled.time_base = packet.pts, packet.dts, packet.time_base
                packet = spoiled
            packet.stream = copy
            target.mux(packet)
    whole.unlink()
    return path


def make_trimmed(path: Path, first: int = 40, last: int = 70) -> Path:
    """Frames 40 to 69 of a film with a key frame every 50, cut without encoding it again: an edit list."""
    steady = {"sc_threshold": "1000000000"}  # no key frame where the picture changes
    whole = write_video(path.with_name(f"whole-{path.name}"), grey(74), gop_size=50, options=steady)
    edits = {"use_editlist": "1", "avoid_negative_ts": "disabled"}
    with av.open(str(whole)) as source, av.open(str(path), "w", options=edits) as target:
        copy = target.add_stream_from_template(source.streams.video[0])
        for number, packet in enumerate(source.demux(video=0)):
            if packet.dts is not None and number < last:
                shift = round(Fraction(first, 25) / packet.time_base)
                packet.pts, packet.dts, packet.stream = packet.pts - shift, packet.dts - shift, copy
                target.mux(packet)
    whole.unlink()
    return path


def make_raw(path: Path, codec: str, frames: int = 60, rate: int = 30) -> Path:
    """A stream without a container around it (or an animated GIF), without sound."""
    formats = {"gif": "rgb8", "mjpeg": "yuvj420p"}
    return write_video(path, grey(frames), codec, rate, pix_fmt=formats.get(codec, "yuv420p"))


class TestClock:
    def test_recordings_joined_have_one_time(self, tmp_path: Path) -> None:
        media = Media(make_joined(tmp_path / "joined.ts"))
        times = [frame.time for frame in media.frames()]
        assert len(times) == 125
        steps = np.diff(times)
        np.testing.assert_allclose(np.delete(steps, 49), 0.04, atol=1e-3)
        assert 0.04 - 1e-3 <= steps[49] < 0.15  # the sound of the first part is a little longer
        assert media.clock.restarts == 1
        assert media.notes == ["joins 2 recordings; each continues where the last ends"]
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


class TestPictures:
    @pytest.mark.parametrize(
        ("size", "aspect", "shown"),
        [
            ((576, 720), Fraction(64, 45), (576, 1024)),  # 16:9 on a DVD
            ((576, 720), Fraction(16, 15), (576, 768)),  # 4:3 on one
            ((480, 320), Fraction(2, 1), (480, 640)),
            ((240, 640), Fraction(1, 2), (480, 640)),
            ((288, 352), Fraction(351, 352), (288, 352)),  # an encoder's rounding
        ],
    )
    def test_pixels_are_square(
        self, tmp_path: Path, size: tuple[int, int], aspect: Fraction, shown: tuple[int, int]
    ) -> None:
        media = Media(make_anamorphic(tmp_path / "wide.mkv", size, aspect))
        image = next(media.frames()).image
        assert image.shape[:2] == shown
        bright = image[..., 0] > 128
        assert bright.any(0).sum() == pytest.approx(bright.any(1).sum(), rel=0.02)  # as wide as high
        assert media.changes == ([] if shown == size else [f"stretched from pixels of {aspect}"])

    def test_an_aspect_that_cannot_be_is_ignored(self, tmp_path: Path) -> None:
        path = make_anamorphic(tmp_path / "odd.mkv", (64, 64), Fraction(1, 200))
        assert next(Media(path).frames()).image.shape == (64, 64, 3)

    @pytest.mark.parametrize("name", ["fields.ts", "fields.mkv"])
    def test_interlaced_frames_are_made_whole(self, tmp_path: Path, name: str) -> None:
        path = make_interlaced(tmp_path / name)
        media = Media(path)
        frames = list(media.frames())
        with av.open(str(path)) as container:
            decoded = [(frame.time, frame.to_ndarray(format="rgb24")) for frame in container.decode(video=0)]
        assert len(frames) == len(decoded) == 12
        np.testing.assert_allclose(np.diff([frame.time for frame in frames]), 0.04, atol=2e-3)
        assert min(comb(image) for _, image in decoded) > 4 > 10 * max(comb(frame.image) for frame in frames)
        for number in (3, 6, 9):  # each shows the moment of its own first field
            left = np.argmax(frames[number].image[140, :, 0] > 128)
            assert left == pytest.approx(20 + 16 * number, abs=2)
        assert media.changes == ["deinterlaced"]

    def test_progressive_frames_of_such_a_stream_are_not_touched(self, tmp_path: Path) -> None:
        whole = write_video(tmp_path / "whole.ts", [bar(20 + 8 * n) for n in range(6)], "mpeg2video")
        mixed = tmp_path / "mixed.ts"
        mixed.write_bytes(make_interlaced(tmp_path / "fields.ts", 4).read_bytes() + whole.read_bytes())
        expected = [frame.image for frame in Media(whole).frames()]
        found = [frame.image for frame in Media(mixed).frames()][4:]
        np.testing.assert_array_equal(found, expected)

    def test_max_frames_of_interlaced_ones(self, tmp_path: Path) -> None:
        path = make_interlaced(tmp_path / "fields.mkv")
        every = list(Media(path).frames())
        for frame, number in zip(Media(path, 3).frames(), (2, 6, 10), strict=True):
            assert frame.time == every[number].time
            np.testing.assert_array_equal(frame.image, every[number].image)

    def test_of_two_tracks_the_default_one(self, tmp_path: Path) -> None:
        frames = list(Media(make_two_angles(tmp_path / "angles.mkv")).frames())
        assert len(frames) == 10
        assert frames[5].image.mean() == pytest.approx(200, abs=4)


def comb(image: np.ndarray) -> float:
    """How far lines are from the mean of their neighbours."""
    grey = image[..., 0].astype(int)
    return float(np.abs(grey[1:-1] - (grey[:-2] + grey[2:]) / 2).mean())


class TestHighDynamicRange:
    def test_light_of_a_signal(self) -> None:
        """BT.2408, table 1: white is 203 cd/m² (PQ 58 %, HLG 75 %), an 18 % card 26 (38 % in both)."""
        pq = hdr.pq_to_light(np.array([0.0, 0.38, 0.58, 0.75, 1.0]))
        np.testing.assert_allclose(pq, [0, 26, 203, 1000, 10_000], rtol=0.02, atol=1e-9)
        np.testing.assert_allclose(hdr.light_to_pq(pq), [0, 0.38, 0.58, 0.75, 1], atol=1e-5)
        hlg = 1000 * hdr.hlg_to_scene(np.array([0.38, 0.75, 1.0])) ** 1.2
        np.testing.assert_allclose(hlg, [26, 203, 1000], rtol=0.02)

    def test_bright_light_is_compressed_and_the_rest_kept(self) -> None:
        """BT.2390: linear up to the knee, smooth and rising to the peak, which becomes white."""
        light = np.geomspace(0.01, 1000, 400)
        out = hdr.compressed(light)
        np.testing.assert_allclose(out[light < 85], light[light < 85], rtol=1e-6)
        assert (np.diff(out) > 0).all()
        np.testing.assert_allclose(hdr.compressed(np.array([1000.0, 4000.0])), hdr.WHITE)

    @pytest.mark.parametrize(("transfer", "white"), [(hdr.PQ, 0.58), (hdr.HLG, 0.75)])
    def test_a_grey_card_and_white_look_as_they_do_elsewhere(
        self, tmp_path: Path, transfer: int, white: float
    ) -> None:
        media = Media(make_hdr(tmp_path / "hdr.mkv", transfer, [0.0, 0.38, white, 1.0]))
        levels = [frame.image.reshape(-1, 3).mean(0) for frame in media.frames()]
        assert np.ptp(levels, axis=1).max() <= 1  # grey stays grey
        black, card, full, peak = np.mean(levels, axis=1)
        assert black == 0 and peak == 255
        assert card == pytest.approx(255 * (26 / 203) ** (1 / 2.4), abs=2)
        assert 215 < full < 245
        assert media.changes == [f"tone-mapped from {'PQ' if transfer == hdr.PQ else 'HLG'}"]

    def test_dark_and_middle_tones_are_those_of_ffmpeg(self, tmp_path: Path) -> None:
        """What FFmpeg 8.1's own conversion gives (PyAV 18: ``frame.reformat(format="rgb24", dst_color_trc=1,
        dst_color_primaries=1)``); it takes seconds a frame, and clips what is brighter.
        """
        path = make_hdr(tmp_path / "hdr.mkv", hdr.PQ, [0.05, 0.1, 0.2, 0.38, 0.5])
        levels = [frame.image.mean() for frame in Media(path).frames()]
        np.testing.assert_allclose(levels, [9, 18, 40, 108, 183], atol=1.5)

    def test_wide_colours(self) -> None:
        """The corners of BT.709 in light of BT.2020 (BT.2087, table 1) come back as themselves."""
        from_709 = np.array([[0.6274, 0.3293, 0.0433], [0.0691, 0.9195, 0.0114], [0.0164, 0.0880, 0.8956]])
        light = 50 * from_709.T  # a row a colour: 50 cd/m² of red, of green, of blue
        signal = (hdr.light_to_pq(light) * 65535).round().astype(np.uint16)
        frame = av.VideoFrame.from_ndarray(signal[None].repeat(2, 0), format="rgb48le")
        expected = np.eye(3) * 255 * (50 / 203) ** (1 / 2.4)
        np.testing.assert_allclose(hdr.standard_range(frame, hdr.PQ)[0], expected, atol=12)


class TestDamage:
    def test_bad_packets_in_the_middle_cost_themselves(self, tmp_path: Path) -> None:
        media = Media(make_damaged(tmp_path / "bad.avi"))
        numbers = [round((frame.image.mean() - 16) / 3) for frame in media.frames()]
        assert numbers == [*range(9), *range(19, 44)]
        assert media.warnings == ["10 of 44 pictures are damaged and cannot be decoded"]
        assert len(list(media.frames())) == 34 and len(media.warnings) == 1

    def test_max_frames_takes_the_next_that_is_whole(self, tmp_path: Path) -> None:
        media = Media(make_damaged(tmp_path / "bad.avi"), max_frames=11)
        numbers = [round((frame.image.mean() - 16) / 3) for frame in media.frames()]
        assert len(numbers) == 11 and numbers[-1] == 42
        assert not set(numbers) & set(range(9, 19))

    def test_a_trimmed_film_is_not_called_cut_short(self, tmp_path: Path) -> None:
        path = make_trimmed(tmp_path / "trimmed.mp4")
        with av.open(str(path)) as container:
            assert sum(packet.is_discard for packet in container.demux()) == 40  # decoded, not shown
        media = Media(path)
        numbers = [round((frame.image.mean() - 16) / 3) for frame in media.frames()]
        assert numbers == list(range(40, 70))
        assert media.warnings == []
        assert media.seconds() == pytest.approx(30 / 25)
        few = [round((frame.image.mean() - 16) / 3) for frame in Media(path, 3).frames()]
        assert few == [45, 55, 65]

    @pytest.mark.parametrize(
        ("name", "codec"),
        [("a.m4v", "mpeg4"), ("a.gif", "gif"), ("a.m2v", "mpeg2video"), ("a.h264", "libx264")],
    )
    def test_a_raw_stream_has_its_length(self, tmp_path: Path, name: str, codec: str) -> None:
        if codec not in av.codecs_available:
            pytest.skip(f"needs the encoder {codec}")
        media = Media(make_raw(tmp_path / name, codec))
        times = [frame.time for frame in media.frames()]
        assert len(times) == 60
        np.testing.assert_allclose(np.diff(times), 1 / 30, atol=0.01)
        assert media.seconds() == pytest.approx(2.0, abs=0.05)
        assert media.warnings == []


@pytest.mark.parametrize("length", [150, 197, 250, 300])
def test_a_file_that_ffmpeg_refuses_by_the_number_of_a_lacking_right_is_no_matter_of_rights(
    tmp_path: Path, length: int
) -> None:
    path = write_video(tmp_path / "whole.wmv", grey(2, (16, 16)), "wmv2")
    (tmp_path / "cut.wmv").write_bytes(path.read_bytes()[:length])  # FFmpeg says -1, which is EPERM
    with pytest.raises(ClipError, match="not a video or sound that FFmpeg reads"):
        Media(tmp_path / "cut.wmv").opened()


def test_sound_that_begins_in_the_middle_of_a_film_is_passed_over(tmp_path: Path) -> None:
    """As of three recordings joined, the second of which alone has sound; PyAV 18's own loop ends there."""
    rng = np.random.default_rng(0)
    noise = [rng.integers(0, 255, (64, 64, 3), np.uint8) for _ in range(1000)]
    silent = write_video(tmp_path / "silent.ts", noise, "mpeg2video").read_bytes()
    heard = write_video(tmp_path / "heard.ts", noise[:25], "mpeg2video", tone=440.0).read_bytes()
    (tmp_path / "joined.ts").write_bytes(silent + heard + silent)
    media = Media(tmp_path / "joined.ts")
    assert len(list(media.frames())) == 2025
    assert not media.has_sound and media.seconds() == pytest.approx(81, abs=1)


def png(side: int) -> bytes:
    """A black PNG, of whose rows but one is kept in memory."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        return (
            struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))
        )

    packer, row = zlib.compressobj(1), bytes(3 * side + 1)
    rows = b"".join(packer.compress(row) for _ in range(side)) + packer.flush()
    header = struct.pack(">IIBBBBB", side, side, 8, 2, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + chunk(b"IHDR", header) + chunk(b"IDAT", rows) + chunk(b"IEND", b"")


class TestHugeFrames:
    def test_a_face_too_small_to_be_found_is_told(self, tmp_path: Path) -> None:
        path = write_video(tmp_path / "large.mkv", grey(1, (1080, 2400)), "mjpeg", pix_fmt="yuvj420p")
        (note,) = extract_clip(FACES_ALONE, job_of(path), tmp_path).notes[:1]
        assert note == (
            "has no face in any of 1 frames of 2400 × 1080 pixels, where faces narrower than 100 are not "
            "found; whole frames are used"
        )

    @pytest.mark.parametrize("size", [(1, 4000), (4000, 1)])
    def test_a_strip_of_which_shrinking_would_leave_nothing_has_no_face(
        self, tmp_path: Path, size: tuple[int, int]
    ) -> None:
        path = write_video(tmp_path / "strip.mov", grey(1, size), "png", pix_fmt="rgb24")
        result = extract_clip(FACES_ALONE, job_of(path), tmp_path)
        assert result.failure == "" and any("no face" in note for note in result.notes)

    def test_a_picture_beyond_the_limit_is_refused(
        self, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
    ) -> None:
        path = make_anamorphic(tmp_path / "wide.mkv", (96, 128), Fraction(4, 3))
        monkeypatch.setattr("avemo.extract.decode.pictures.MOST_PIXELS", 16_000)
        with pytest.raises(ClipError, match="128 × 96 pixels, and at most"):
            next(Media(path).frames())

    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
    @pytest.mark.parametrize("first", [12_000, 16])
    def test_a_bomb_takes_no_memory(self, tmp_path: Path, first: int) -> None:
        """PNGs of 12,000 × 12,000 black pixels in a film that says 16 × 16."""
        path, pictures = tmp_path / "bomb.mov", [png(first), png(12_000)]
        with av.open(str(path), "w") as container:
            stream = container.add_stream("png", rate=25)
            stream.width, stream.height, stream.pix_fmt = 16, 16, "rgb24"
            small = av.VideoFrame.from_ndarray(np.zeros((16, 16, 3), np.uint8), format="rgb24")
            for number, (packet, content) in enumerate(zip(stream.encode(small) * 2, pictures, strict=True)):
                bomb = av.Packet(content)
                bomb.stream, bomb.time_base = stream, packet.time_base
                bomb.pts = bomb.dts = number * 512
                container.mux(bomb)
        code = (
            "import resource, sys\n"
            "from avemo.extract.decode.media import Media\n"
            "from avemo.extract.errors import ClipError\n"
            "peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10\n"
            "before = peak()\n"
            "try:\n    print(len(list(Media(sys.argv[1]).frames())))\n"
            "except ClipError as error:\n    print(error)\n"
            "print(peak() - before)\n"
        )
        done = subprocess.run([sys.executable, "-c", code, str(path)], capture_output=True, text=True)
        output, megabytes = done.stdout.splitlines()
        refused = "its pictures have no size, or more than 64 million pixels"
        assert output == "1" if first == 16 else output.startswith(refused)
        assert int(megabytes) < 100

    @pytest.mark.slow
    @pytest.mark.skipif(sys.platform != "linux", reason="reads /proc, and glibc alone is told to keep memory")
    def test_memory_of_8k_goes_back(self, tmp_path: Path) -> None:
        """Kept, 300 MB more than after the first clip make the pool of processes stop the process."""
        small = write_video(tmp_path / "small.mkv", grey(3))
        huge = write_video(tmp_path / "huge.mkv", grey(3, (4320, 7680)), "mjpeg", pix_fmt="yuvj420p")
        done = subprocess.run(
            [sys.executable, "-c", MEMORY_AFTER, str(small), str(huge)],
            env={**os.environ, **KEEP_MEMORY},
            capture_output=True,
            text=True,
            check=True,
        )
        before, after = map(int, done.stdout.split())
        assert after - before < 100


MEMORY_AFTER = """
import sys
from pathlib import Path
from avemo.cache.clips import Clip
from avemo.extract.clip import ClipJob, extract_clip
from avemo.extract.plan import Plan
from avemo.extract.streams.registry import keys_of

plan = Plan(backbones=())
for path in sys.argv[1:]:
    result = extract_clip(plan, ClipJob(Clip("a", "train", path), keys_of(plan)), Path(path).parent)
    assert not result.failure
    status = Path("/proc/self/status").read_text()
    print(int(status.split("VmRSS:")[1].split()[0]) // 1024)
"""


def test_raw_streams_and_animations_are_found(tmp_path: Path) -> None:
    for name in ("a.h264", "b.gif", "c.HEVC", "d.opus", "e.txt"):
        (tmp_path / name).write_bytes(b"\0")
    assert [str(file) for file in scan(tmp_path).files] == ["a.h264", "b.gif", "c.HEVC", "d.opus"]


def test_an_old_face_track_is_not_laid_over_pictures_that_are_read_otherwise(tmp_path: Path) -> None:
    path = make_anamorphic(tmp_path / "wide.mkv", (96, 128), Fraction(4, 3))
    plan = Plan(view_sets=("none",))
    keys = keys_of(plan)
    faces = extract_clip(FACES_ALONE, job_of(path), tmp_path).streams["faces"].arrays
    missing = {"ferplusnet/none": keys["ferplusnet/none"]}
    for changes, status in (((), "failed"), (["stretched from pixels of 4/3"], "ok")):
        job = ClipJob(Clip("wide", "train", str(path)), missing, faces, changes)
        assert extract_clip(plan, job, tmp_path).streams["ferplusnet/none"].status == status


def test_what_was_done_to_pictures_is_stored(tmp_path: Path) -> None:
    path = make_anamorphic(tmp_path / "wide.mkv", (96, 128), Fraction(4, 3))
    made = extract_clip(FACES_ALONE, job_of(path), tmp_path).streams["faces"]
    assert made.info == {"frames": 3, "faces": 0, "pictures": ["stretched from pixels of 4/3"]}

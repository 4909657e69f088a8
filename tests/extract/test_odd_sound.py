"""Sound as people's files really have it: gaps, odd channels, other formats midway, damage."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from fractions import Fraction
from pathlib import Path

import av
import numpy as np
import pytest

from avemo.cache.clips import Clip
from avemo.extract.clip import ClipJob, ClipResult, extract_clip
from avemo.extract.decode import heard as heard_module
from avemo.extract.decode.heard import SAMPLE_RATE, SoundDecoder
from avemo.extract.decode.media import Media
from avemo.extract.errors import ClipError
from avemo.extract.plan import Plan
from avemo.extract.streams.registry import keys_of

MakeClip = Callable[..., Path]
RATE = 48_000
SOUND = {"spectrogram", "logmel", "descriptors"}
SEEN = {"faces", "ferplusnet/none"}


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
        coded = "flv1" if path.suffix == ".flv" else "mpeg4"
        video = container.add_stream(coded, rate=25, width=64, height=48) if pictures else None
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
                if kind[0] in "us":
                    whole = np.iinfo(f"int{kind.strip('usp')}")
                    block = (block * -float(whole.min)).round().clip(whole.min, whole.max).astype(whole.dtype)
                    block = (block.view(np.uint8) ^ 128) if kind[0] == "u" else block
                if not stream.codec_context.format.is_planar:
                    block = block.T.reshape(1, -1)
                frame = av.AudioFrame.from_ndarray(np.ascontiguousarray(block), format=kind, layout=layout)
                frame.sample_rate, frame.time_base = rate, Fraction(1, rate)
                frame.pts = round(start * rate) + at
                container.mux(stream.encode(frame))
        container.mux(stream.encode(None))
    return path


def heard(path: Path) -> np.ndarray:
    return np.concatenate(list(Media(path).sound()))


def extracted(path: Path, spool: Path) -> ClipResult:
    plan = Plan(view_sets=("none",))
    return extract_clip(plan, ClipJob(Clip("a", "train", str(path)), keys_of(plan)), spool)


def statuses(result: ClipResult) -> dict[str, str]:
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
    assert "non-finite samples" in result.failure
    assert "spectrogram" in result.failure and "faces" not in result.failure


def test_images_that_cannot_be_decoded_leave_the_sound(tmp_path: Path, make_clip: MakeClip) -> None:
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

    monkeypatch.setattr("avemo.extract.streams.descriptors.descriptor_blocks", breaks)
    result = extracted(make_clip(tmp_path / "a.mkv", 5), tmp_path)
    assert {stream for stream, status in statuses(result).items() if status == "failed"} == {"descriptors"}
    assert result.failure == "LinAlgError: singular (no descriptors)"


def test_a_gap_is_filled_with_silence(tmp_path: Path) -> None:
    path = write_sound(tmp_path / "a.mkv", (0.0, tone(1.0)), (2.0, tone(1.0, 880)), pictures=75)
    media = Media(path)
    samples = np.concatenate(list(media.sound()))
    assert len(samples) == pytest.approx(3 * SAMPLE_RATE, abs=5)
    assert not samples[round(1.01 * SAMPLE_RATE) : round(1.99 * SAMPLE_RATE)].any()
    second = samples[2 * SAMPLE_RATE + 800 : 3 * SAMPLE_RATE - 800]
    assert np.abs(np.fft.rfft(second)).argmax() * SAMPLE_RATE / len(second) == pytest.approx(880, abs=2)
    assert media.notes == ["has a gap of 1.00 seconds in its sound, filled with silence"]
    assert media.warnings == []


def test_small_gaps_add_up(tmp_path: Path) -> None:
    """Each is too small to fill at once; what comes after is never more than 0.1 s early."""
    pieces = [(0.18 * n, tone(0.14, 200.0 + 50 * n)) for n in range(20)]
    samples = heard(write_sound(tmp_path / "a.mkv", *pieces))
    assert len(samples) / SAMPLE_RATE == pytest.approx(19 * 0.18 + 0.14, abs=0.1)


def test_what_overlaps_is_heard_once(tmp_path: Path) -> None:
    """The packets of 0.7 to 1.0 s last twice as long as their stamps say."""
    doubled = [(0.7 + 0.01 * n, tone(0.02, 880)) for n in range(30)]
    path = write_sound(tmp_path / "a.mkv", (0.0, tone(0.7)), *doubled, (1.0, tone(1.0)), pictures=50)
    media = Media(path)
    samples = np.concatenate(list(media.sound()))
    assert len(samples) / SAMPLE_RATE == pytest.approx(2, abs=0.1)  # 0.1 s off is let pass
    assert "overlap" in media.notes[0] and "0.30 seconds" in media.notes[0]


def test_frames_that_are_left_out_whole_may_come_before_any_sound(tmp_path: Path) -> None:
    silence = np.zeros(RATE // 50, np.float32)
    doubled = [(0.7 + 0.002 * n, silence) for n in range(30)]
    media = Media(write_sound(tmp_path / "a.mkv", (0.0, np.zeros(round(0.7 * RATE), np.float32)), *doubled))
    assert not np.concatenate(list(media.sound())).any()
    assert any("silent throughout" in note for note in media.notes)


def test_a_jump_of_hours_is_not_believed(tmp_path: Path) -> None:
    media = Media(write_sound(tmp_path / "a.mkv", (0.0, tone(1.0)), (50_000.0, tone(1.0)), pictures=50))
    assert sum(map(len, media.sound())) == pytest.approx(2 * SAMPLE_RATE, abs=5)
    assert "jump by 49999 seconds" in media.warnings[0]


def test_recordings_joined_are_heard_one_after_the_other(tmp_path: Path) -> None:
    parts = []
    for number, hertz in enumerate((440.0, 880.0)):
        path = tmp_path / f"{number}.ts"
        write_sound(path, (0.0, tone(1.0, hertz)), codec="mp2", pictures=25)
        parts.append(path.read_bytes())
    path = tmp_path / "joined.ts"
    path.write_bytes(b"".join(parts))
    samples = heard(path)
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.15)  # a codec's delay each
    for start, hertz in ((0.2, 440), (1.3, 880)):
        piece = samples[round(start * SAMPLE_RATE) :][: SAMPLE_RATE // 2]
        assert np.abs(np.fft.rfft(piece)).argmax() * 2 == pytest.approx(hertz, abs=4)


@pytest.mark.parametrize("codec", ["pcm_s16le", "pcm_f32le", "pcm_s32le", "pcm_u8"])
def test_stereo_of_one_sound_is_that_sound_to_the_last_bit(tmp_path: Path, codec: str) -> None:
    rng = np.random.default_rng(0)
    sound = (rng.integers(-128, 128, RATE) / 128).astype(np.float32)  # which all of these formats hold
    mono = heard(write_sound(tmp_path / "m.wav", (0.0, sound), codec=codec))
    both = heard(write_sound(tmp_path / "s.wav", (0.0, np.stack([sound] * 2)), codec=codec, layout="stereo"))
    np.testing.assert_array_equal(both, mono)


def test_stereo_is_the_mean_of_its_channels(tmp_path: Path) -> None:
    """Resampling is linear, so each channel may be resampled by itself, as a file of its own."""
    left, right = tone(1.0, 300.0), tone(1.0, 1100.0, 0.3)
    both = heard(write_sound(tmp_path / "s.wav", (0.0, np.stack([left, right])), layout="stereo"))
    one, other = (heard(write_sound(tmp_path / f"{n}.wav", (0.0, s))) for n, s in enumerate((left, right)))
    np.testing.assert_allclose(both, (one + other) / 2, atol=1e-6)


@pytest.mark.parametrize(
    ("layout", "front"),
    [("2.1", [0, 1]), ("quad", [0, 1]), ("5.1", [0, 1, 2]), ("7.1", [0, 1, 2]), ("hexadecagonal", [0, 1, 2])],
)
def test_surround_is_the_mean_of_its_front_channels(tmp_path: Path, layout: str, front: list[int]) -> None:
    channels = len(av.AudioLayout(layout).channels)
    sounds = np.stack([tone(0.5, 200.0 + 90 * n, 0.9) for n in range(channels)])
    ours = heard(write_sound(tmp_path / "a.wav", (0.0, sounds), layout=layout))
    mono = heard(write_sound(tmp_path / "m.wav", (0.0, sounds[front].mean(0))))
    np.testing.assert_allclose(ours, mono, atol=1e-6)
    assert np.abs(ours).max() <= 0.9


def test_six_channels_without_names_are_taken_for_5_1(tmp_path: Path) -> None:
    """As FFmpeg does; Matroska does not keep the names of uncompressed channels."""
    sounds = np.stack([tone(0.5, 200.0 + 90 * n, 0.9) for n in range(6)])
    named, unnamed = (
        write_sound(tmp_path / f"a.{suffix}", (0.0, sounds), layout="5.1") for suffix in ("wav", "mkv")
    )
    np.testing.assert_allclose(heard(unnamed), heard(named), atol=1e-6)


@pytest.mark.parametrize("opposite", [False, True])
@pytest.mark.parametrize("bytes_ahead, decodings", [(heard_module.AHEAD, 1), (50_000, 2), (0, 2)])
def test_channels_are_decoded_once_if_they_fit_into_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, opposite: bool, bytes_ahead: int, decodings: int
) -> None:
    """Mono, then stereo: what waits in memory and what is decoded again give the same samples."""
    mono = write_sound(tmp_path / "mono.ts", (0, tone(0.5)), codec="mp2")
    left, right = tone(1.0, 300), tone(1.0, 300 if opposite else 500) * (-0.9 if opposite else 1)
    stereo = write_sound(tmp_path / "stereo.ts", (0, np.stack([left, right])), codec="mp2", layout="stereo")
    joined = tmp_path / "joined.ts"
    joined.write_bytes(mono.read_bytes() + stereo.read_bytes())
    once = heard(joined)
    frames, begun = SoundDecoder._frames, []

    def counted(self: SoundDecoder) -> Iterator[av.AudioFrame]:
        begun.append(1)
        yield from frames(self)

    monkeypatch.setattr(heard_module, "AHEAD", bytes_ahead)
    monkeypatch.setattr(SoundDecoder, "_frames", counted)
    np.testing.assert_array_equal(heard(joined), once, strict=True)
    assert len(begun) == decodings
    assert np.abs(once[-SAMPLE_RATE // 2 :]).max() > 0.2
    assert any("opposite phase" in note for note in noted(joined)) == opposite


def noted(path: Path) -> list[str]:
    media = Media(path)
    assert sum(map(len, media.sound()))
    return media.notes


def test_channels_in_opposite_phase_are_not_silence(tmp_path: Path) -> None:
    sound = tone(1.0)
    path = write_sound(tmp_path / "a.wav", (0.0, np.stack([0.8 * sound, -sound])), layout="stereo")
    media = Media(path)
    samples = np.concatenate(list(media.sound()))
    np.testing.assert_array_equal(samples, heard(write_sound(tmp_path / "m.wav", (0.0, -sound))))
    assert media.notes == [
        "has channels of sound that cancel out (opposite phase); the loudest one is used alone"
    ]


@pytest.mark.parametrize("right", [0.0, 0.4])
def test_channels_that_only_differ_do_not_count_as_opposite(tmp_path: Path, right: float) -> None:
    channels = np.stack([tone(1.0), tone(1.0, 650.0, right)])
    media = Media(write_sound(tmp_path / "a.wav", (0.0, channels), layout="stereo"))
    list(media.sound())
    assert media.notes == []


def test_a_format_that_changes_midway(tmp_path: Path) -> None:
    """As broadcasts do: AC-3 in stereo, then in mono at another rate."""
    sound = tone(1.0, 440.0)
    write_sound(tmp_path / "a.ac3", (0.0, np.stack([sound] * 2)), codec="ac3", layout="stereo")
    write_sound(tmp_path / "b.ac3", (0.0, tone(1.0, 440.0, rate=32_000)), codec="ac3", rate=32_000)
    path = tmp_path / "c.ac3"
    path.write_bytes((tmp_path / "a.ac3").read_bytes() + (tmp_path / "b.ac3").read_bytes())
    result = extracted(path, tmp_path)
    assert result.failure == ""
    samples = heard(path)
    assert len(samples) / SAMPLE_RATE == pytest.approx(2.0, abs=0.15)
    for start in (0.3, 1.3):
        piece = samples[round(start * SAMPLE_RATE) :][: SAMPLE_RATE // 2]
        assert np.abs(np.fft.rfft(piece)).argmax() * 2 == pytest.approx(440, abs=4)
        assert np.abs(piece).max() == pytest.approx(0.5, abs=0.05)


def test_the_default_sound_is_used(tmp_path: Path) -> None:
    path = tmp_path / "a.mkv"
    with av.open(str(path), "w") as container:
        streams = [container.add_stream("pcm_f32le", rate=SAMPLE_RATE, layout="mono") for _ in range(2)]
        for stream, default in zip(streams, (False, True), strict=True):
            stream.disposition = av.stream.Disposition.default if default else av.stream.Disposition(0)
        for stream, hertz in zip(streams, (300.0, 900.0), strict=True):
            samples = tone(1.0, hertz, rate=SAMPLE_RATE)[None]
            frame = av.AudioFrame.from_ndarray(samples, format="flt", layout="mono")
            frame.sample_rate, frame.pts = SAMPLE_RATE, 0
            container.mux(stream.encode(frame))
    with av.open(str(path)) as container:
        assert [bool(s.disposition & av.stream.Disposition.default) for s in container.streams] == [
            False,
            True,
        ]
    assert np.abs(np.fft.rfft(heard(path)[:SAMPLE_RATE])).argmax() == 900


def test_damaged_packets_of_sound_cost_themselves(tmp_path: Path) -> None:
    whole = write_sound(tmp_path / "a.mkv", (0.0, tone(2.0)), codec="mp2")
    path = remuxed(whole, tmp_path / "b.mkv", lambda packet, n: [garbage(packet) if 20 <= n < 40 else packet])
    media = Media(path)
    samples = np.concatenate(list(media.sound()))
    assert len(samples) == pytest.approx(len(heard(whole)), abs=10)  # their time is silence
    assert "of sound cannot be decoded" in media.warnings[0]


def test_sound_of_which_nothing_can_be_decoded_failed(tmp_path: Path) -> None:
    whole = write_sound(tmp_path / "a.mkv", (0.0, tone(1.0)), codec="mp2", pictures=25)
    path = remuxed(
        whole,
        tmp_path / "b.mkv",
        lambda packet, _: [garbage(packet) if packet.stream.type == "audio" else packet],
    )
    result = extracted(path, tmp_path)
    assert statuses(result) == dict.fromkeys(SOUND, "failed") | dict.fromkeys(SEEN, "ok")
    assert "none of it can be decoded" in result.failure


@pytest.mark.parametrize(
    ("height", "message"), [(np.nan, "non-finite"), (np.inf, "non-finite"), (32767, "up to 16384")]
)
def test_sound_that_is_far_from_full_scale_is_refused(tmp_path: Path, height: float, message: str) -> None:
    samples = tone(1.0)
    samples[2000:4000] *= height
    with pytest.raises(ClipError, match=message):
        heard(write_sound(tmp_path / "a.wav", (0.0, samples)))


def test_silence_throughout_is_said(tmp_path: Path) -> None:
    media = Media(write_sound(tmp_path / "a.wav", (0.0, np.zeros(RATE, np.float32))))
    assert not np.concatenate(list(media.sound())).any()
    assert media.notes == ["has sound that is silent throughout"]


def test_sound_that_steps_back_alone_overlaps_itself(tmp_path: Path) -> None:
    """No joint of recordings: the pictures go on. The tags of FLV hold milliseconds in bytes 4 to 6."""
    path = write_sound(
        tmp_path / "a.flv", (0.0, tone(3.0, rate=44_100)), codec="pcm_s16le", rate=44_100, pictures=75
    )
    tags, at = bytearray(path.read_bytes()), 13
    while at + 11 <= len(tags):
        time = int.from_bytes(tags[at + 4 : at + 7], "big")
        if tags[at] == 8 and time >= 1000:  # sound
            tags[at + 4 : at + 7] = (time - 300).to_bytes(3, "big")
        at += 15 + int.from_bytes(tags[at + 1 : at + 4], "big")
    path.write_bytes(tags)
    media = Media(path)
    assert sum(map(len, media.sound())) / SAMPLE_RATE == pytest.approx(2.7, abs=0.03)
    assert media.notes == ["has an overlap of 0.30 seconds in its sound, heard once"]
    assert max(frame.time for frame in media.frames()) == pytest.approx(2.96, abs=0.01)

"""Reading clips: real times, rotation, sound, and files that are not what they say."""

from __future__ import annotations

import struct
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import numpy as np
import pytest

from avemo.extract.decode.heard import SAMPLE_RATE
from avemo.extract.decode.media import Media
from avemo.extract.errors import ClipError

MakeClip = Callable[..., Path]


def sound_of(media: Media) -> np.ndarray:
    return np.concatenate(list(media.sound()))


def test_frames_have_their_real_times(tmp_path: Path, make_clip: MakeClip) -> None:
    times = [0.0, 0.04, 0.2, 0.24, 0.7]
    frames = list(Media(make_clip(tmp_path / "a.mp4", 5, times=times, sound=False)).frames())
    np.testing.assert_allclose([frame.time for frame in frames], times, atol=2e-3)
    assert frames[0].image.shape == (48, 64, 3)
    assert frames[0].image.dtype == np.uint8


def test_frames_come_in_order_and_can_be_read_twice(tmp_path: Path, make_clip: MakeClip) -> None:
    media = Media(make_clip(tmp_path / "a.mp4", 10))
    first = [frame.image.mean() for frame in media.frames()]
    np.testing.assert_allclose(first, [20 * n for n in range(10)], atol=6)
    assert first == [frame.image.mean() for frame in media.frames()]


@pytest.mark.parametrize(
    ("limit", "kept"), [(1, [5]), (2, [2, 7]), (5, [1, 3, 5, 7, 9]), (10, None), (99, None)]
)
def test_max_frames_spreads_evenly(
    tmp_path: Path, make_clip: MakeClip, limit: int, kept: list[int] | None
) -> None:
    frames = list(Media(make_clip(tmp_path / "a.mp4", 10), max_frames=limit).frames())
    numbers = [round(frame.image.mean() / 20) for frame in frames]
    assert numbers == (list(range(10)) if kept is None else kept)
    np.testing.assert_allclose([frame.time for frame in frames], np.array(numbers) / 25, atol=2e-3)


def test_sound_is_mono_16_khz_at_its_pitch(tmp_path: Path, make_clip: MakeClip) -> None:
    samples = sound_of(Media(make_clip(tmp_path / "a.mp4", 50, tone=1000.0)))
    assert samples.dtype == np.float32
    assert len(samples) == pytest.approx(2 * SAMPLE_RATE, abs=2048)
    middle = samples[8000:24000]
    assert np.abs(np.fft.rfft(middle)).argmax() == 1000  # one second, so a bin is a hertz
    assert np.abs(middle).max() == pytest.approx(0.5, abs=0.05)


def test_a_sound_that_starts_later_is_led_by_silence(tmp_path: Path, make_clip: MakeClip) -> None:
    on_time = sound_of(Media(make_clip(tmp_path / "a.mkv", 50)))
    late = sound_of(Media(make_clip(tmp_path / "b.mkv", 50, sound_delay=0.5)))
    assert np.abs(late[: int(0.45 * SAMPLE_RATE)]).max() < 1e-3
    assert len(late) - len(on_time) == pytest.approx(0.5 * SAMPLE_RATE, abs=100)


def test_rotation_is_honoured(tmp_path: Path, make_clip: MakeClip) -> None:
    image = np.zeros((48, 64, 3), np.uint8)
    image[:24] = 255  # the upper half is white
    path = make_clip(tmp_path / "a.mp4", pictures=[image] * 3, sound=False)
    upright = struct.pack(">9i", 1 << 16, 0, 0, 0, 1 << 16, 0, 0, 0, 1 << 30)
    quarter = struct.pack(">9i", 0, 1 << 16, 0, -(1 << 16), 0, 0, 48 << 16, 0, 1 << 30)
    track = path.read_bytes()
    at = track.index(upright, track.index(b"tkhd"))
    path.write_bytes(track[:at] + quarter + track[at + len(quarter) :])
    turned = next(iter(Media(path).frames())).image
    assert turned.shape == (64, 48, 3)
    assert turned[:, 30:].mean() > 200  # a quarter clockwise brings what was above to the right
    assert turned[:, :18].mean() < 50


def test_no_sound_and_no_video_are_told(tmp_path: Path, make_clip: MakeClip) -> None:
    silent = Media(make_clip(tmp_path / "silent.mp4", sound=False))
    assert (silent.has_video, silent.has_sound) == (True, False)
    blind = Media(make_clip(tmp_path / "blind.mp4", frames=0))
    assert (blind.has_video, blind.has_sound) == (False, True)


def test_a_file_cut_short_gives_what_it_has_and_says_so(tmp_path: Path, make_clip: MakeClip) -> None:
    path = make_clip(tmp_path / "a.avi", 100, size=(320, 240))
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])
    media = Media(path)
    assert 0 < len(list(media.frames())) < 100
    assert media.warnings


@pytest.mark.parametrize(("box", "damaged"), [(b"mdia", b"mdi!"), (b"mdhd", b"md\xe8d")])
@pytest.mark.parametrize("track", [0, 1])
def test_a_damaged_box_of_a_track_breaks_no_decoder(
    box: bytes, damaged: bytes, track: int, tmp_path: Path, make_clip: MakeClip
) -> None:
    """Packets may then come as those of another stream (found by :mod:`tests.torture.media`)."""
    path = make_clip(tmp_path / "a.mp4", 50)
    parts = path.read_bytes().split(box)
    assert len(parts) == 3
    path.write_bytes(parts[0] + [damaged, box][track] + parts[1] + [box, damaged][track] + parts[2])
    for stream in ("frames", "sound"):
        with suppress(ClipError):
            list(getattr(Media(path), stream)())


@pytest.mark.parametrize(
    ("content", "message"),
    [(b"", "empty"), (b"This is a diary.\n" * 50, "not a video"), (None, "no such file")],
)
def test_what_is_no_clip(tmp_path: Path, content: bytes | None, message: str) -> None:
    path = tmp_path / "a.mp4"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(ClipError, match=message):
        Media(path)


def test_names_with_spaces_and_letters_of_any_kind(tmp_path: Path, make_clip: MakeClip) -> None:
    path = make_clip(tmp_path / "mein Ärger 怒り.mp4", 3)
    assert len(list(Media(path).frames())) == 3


@pytest.mark.parametrize("name", ["a.mp4", "a.mkv", "a.avi"])
@pytest.mark.parametrize("times", [(0.3, 0.31, 0.9), (3.1, 41.7, 88.2), (0.0, 89.9, 500.0), (-1.0,), ()])
def test_pictures_at_some_times_are_those_of_the_nearest_frames(
    tmp_path: Path, make_clip: MakeClip, name: str, times: tuple[float, ...]
) -> None:
    film = make_clip(tmp_path / name, 450, fps=5, sound=False)
    frames = list(Media(film).frames())
    found = Media(film).pictures_at(times)
    assert len(found) == len(times)
    for time, image in zip(times, found, strict=True):
        nearest = min(frames, key=lambda frame: abs(frame.time - time))
        np.testing.assert_array_equal(image, nearest.image)


def test_of_a_long_film_only_what_is_shown_is_decoded(
    tmp_path: Path, make_clip: MakeClip, monkeypatch: pytest.MonkeyPatch
) -> None:
    film = make_clip(tmp_path / "a.mp4", 1000, fps=5, sound=False)
    decoded: list[float] = []
    seconds = Media._time
    monkeypatch.setattr(Media, "_time", lambda *given: decoded.append(seconds(*given)) or decoded[-1])
    Media(film).pictures_at((50.0, 150.0))
    assert 0 < len(decoded) < 100

"""Files of one name: encodings of one recording are told from different recordings by what they hold."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from avemo.pipelines.corpora.clips.find import find_clips
from avemo.pipelines.corpora.clips.twins import same_recording

MakeClip = Callable[..., Path]


def moving(seed: int, frames: int = 30, size: tuple[int, int] = (48, 64)) -> list[np.ndarray]:
    """A bright square that wanders over a still background."""
    rng = np.random.default_rng(seed)
    height, width = size
    pictures = []
    for x, y in rng.uniform(0, 0.7, (frames // 10, 2)):
        picture = np.full((height, width, 3), 90, np.uint8)
        top, left = int(y * height), int(x * width)
        picture[top : top + height // 3, left : left + width // 3] = 230
        pictures += [picture] * 10
    return pictures


def speech(seed: int, seconds: float = 2.0, rate: int = 16_000) -> np.ndarray:
    """Noise that rises and falls about four times a second, as syllables do."""
    rng = np.random.default_rng(seed)
    levels = np.interp(np.arange(round(seconds * rate)) / rate, np.arange(0, seconds + 1, 0.12),
                       rng.uniform(0, 1, len(np.arange(0, seconds + 1, 0.12))) ** 3)  # fmt: skip
    return (0.3 * levels * rng.normal(size=len(levels))).astype(np.float32)


def write(path: Path, sound: np.ndarray, codec: str) -> Path:
    import av

    with av.open(str(path), "w") as container:
        stream = container.add_stream(codec, rate=16_000, layout="mono")
        frame = av.AudioFrame.from_ndarray(sound[None], format="fltp", layout="mono")
        frame.sample_rate = 16_000
        fitting = av.AudioResampler(format=stream.codec_context.format, layout="mono", rate=16_000)
        for piece in fitting.resample(frame):
            container.mux(stream.encode(piece))
        container.mux(stream.encode(None))
    return path


def test_encodings_of_one_sound_are_one_recording(tmp_path: Path) -> None:
    wav = write(tmp_path / "a.wav", speech(1), "pcm_s16le")
    quiet = write(tmp_path / "a.m4a", 0.3 * speech(1), "aac")
    assert same_recording(str(wav), str(quiet))


@pytest.mark.parametrize("seconds", [2.0, 5.0])
def test_two_sounds_are_two_recordings(tmp_path: Path, seconds: float) -> None:
    wav = write(tmp_path / "a.wav", speech(1), "pcm_s16le")
    assert not same_recording(str(wav), str(write(tmp_path / "a.m4a", speech(2, seconds), "aac")))


def test_images_decide_where_there_is_no_sound(tmp_path: Path, make_clip: MakeClip) -> None:
    first = make_clip(tmp_path / "a.mp4", pictures=moving(1), sound=False)
    smaller = make_clip(tmp_path / "a.avi", pictures=moving(1, size=(24, 32)), sound=False)
    other = make_clip(tmp_path / "a.mkv", pictures=moving(2), sound=False)
    assert same_recording(str(first), str(smaller))
    assert not same_recording(str(first), str(other))


def test_a_conversion_beside_a_clip_is_passed_over(tmp_path: Path) -> None:
    write(tmp_path / "clip.wav", speech(1), "pcm_s16le")
    write(tmp_path / "clip.m4a", speech(1), "aac")
    found = find_clips(tmp_path)
    assert (len(found.clips), len(found.problems)) == (1, 0)
    assert found.left_out[0].reason == "a copy of a file that is used"


def test_another_recording_of_the_same_name_is_a_problem(tmp_path: Path) -> None:
    write(tmp_path / "clip.wav", speech(1), "pcm_s16le")
    write(tmp_path / "clip.m4a", speech(2), "aac")
    found = find_clips(tmp_path)
    assert [item.reason for item in found.problems] == [
        "has the same name as a file that is used: rename one of them"
    ]


def test_files_of_equal_size_are_no_copies_for_that(tmp_path: Path) -> None:
    """Uncompressed sound of one length is of one size."""
    for split, seed in (("Train", 1), ("train", 2)):
        (tmp_path / split / "Happy").mkdir(parents=True)
        write(tmp_path / split / "Happy" / "1.wav", speech(seed), "pcm_s16le")
    found = find_clips(tmp_path, "afew")
    assert [item.spare for item in found.left_out] == [False]


def test_sound_beside_a_clip_of_another_length_is_a_problem(tmp_path: Path, make_clip: MakeClip) -> None:
    make_clip(tmp_path / "clip.mp4", 50)
    write(tmp_path / "clip.wav", speech(1, 5.0), "pcm_s16le")
    found = find_clips(tmp_path)
    assert [item.path for item in found.problems] == ["clip.wav"]
    write(tmp_path / "clip.wav", speech(1, 2.0), "pcm_s16le")
    assert find_clips(tmp_path).problems == []

"""The demo set: its shape on disk, faces that detectors find, expressions and voices that differ."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path

import av
import cv2
import dlib
import numpy as np
import pytest
from click.testing import CliRunner

from avemo.pipelines.cli.demo import demo
from avemo.pipelines.demo import face as demo_face
from avemo.pipelines.demo import voice as demo_voice
from avemo.pipelines.demo.expressions import EXPRESSIONS, MIRROR, displacements
from avemo.pipelines.demo.face import FPS, HEIGHT, WIDTH
from avemo.pipelines.demo.photo import LOWER_INNER, UPPER_INNER, inside, landmarks, photograph
from avemo.pipelines.demo.set import DEMO_NOTE, claim, is_demo, make_clip, plan

pytest.importorskip("skimage", reason="needs scikit-image, whose photograph the demo set is made of")


def decoded(path: Path) -> tuple[np.ndarray, np.ndarray, int]:
    """All frames ``[T, H, W, 3]``, the sound ``[N]`` and its rate."""
    with av.open(str(path)) as container:
        frames = np.stack([frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)])
    with av.open(str(path)) as container:
        sound = np.concatenate([frame.to_ndarray()[0] for frame in container.decode(audio=0)])
        return frames, sound, container.streams.audio[0].rate


def share_with_face(clips: list[Path], frames_a_clip: int = 3) -> float:
    """Share of sampled frames in which dlib's HOG detector, upsampled once, finds a face."""
    detector = dlib.get_frontal_face_detector()
    hits = []
    for clip in clips:
        frames, _, _ = decoded(clip)
        picked = np.linspace(0, len(frames) - 1, frames_a_clip).astype(int)
        hits += [len(detector(frames[index], 1)) > 0 for index in picked]
    return float(np.mean(hits))


@pytest.fixture(scope="module")
def one_actor(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The training part of the smallest set: one actor, each class once."""
    folder = tmp_path_factory.mktemp("one") / "set"
    for shot in claim(folder, 1, seed=3):
        if shot.actor == 1:
            make_clip(folder, shot)
    return folder


def test_plan_has_afew_ids_and_no_actor_in_two_parts() -> None:
    shots = plan(4, seed=0)
    assert Counter(shot.path.split("/")[0] for shot in shots) == {
        "Train_AFEW": 28, "Val_AFEW": 14, "Test_AFEW": 14
    }  # fmt: skip
    names = [Path(shot.path).stem for shot in shots]
    assert all(len(name) == 9 and name.isdigit() for name in names) and len(set(names)) == len(names)
    parts = {shot.actor: set() for shot in shots}
    for shot in shots:
        parts[shot.actor].add(shot.path.split("/")[0])
    assert all(len(part) == 1 for part in parts.values())
    test_part = [shot.path for shot in shots if shot.path.startswith("Test_AFEW")]
    assert not any(emotion in path for path in test_part for emotion in EXPRESSIONS)


def test_clips_hold_frames_and_sound_of_one_length(one_actor: Path) -> None:
    clips = sorted(one_actor.glob("Train_AFEW/*/*.mp4"))
    assert [clip.parent.name for clip in clips] == sorted(EXPRESSIONS)
    for clip in clips:
        frames, sound, rate = decoded(clip)
        assert frames.shape[1:] == (HEIGHT, WIDTH, 3) and 1.2 <= len(frames) / FPS <= 2.0
        assert rate == demo_voice.RATE
        assert abs(sound.size / rate - len(frames) / FPS) < 0.13  # AAC pads to whole frames of 64 ms
        assert np.sqrt(np.mean(sound**2)) > 0.01


def test_dlib_finds_the_faces(one_actor: Path) -> None:
    assert share_with_face(sorted(one_actor.rglob("*.mp4"))) >= 0.95


def test_yunet_finds_the_faces(one_actor: Path, shared: Path) -> None:
    model = shared / "weights/face_detection_yunet_2026may.onnx"
    if not model.is_file():
        pytest.skip(f"needs {model.name}")
    detector = cv2.FaceDetectorYN.create(str(model), "", (WIDTH, HEIGHT))
    for clip in one_actor.rglob("*.mp4"):
        for frame in decoded(clip)[0][::15]:
            assert detector.detect(frame[..., ::-1].copy())[1] is not None


def test_the_same_seed_gives_the_same_clip(one_actor: Path, tmp_path: Path) -> None:
    shot = plan(1, seed=3)[0]
    make_clip(tmp_path, shot)
    assert (tmp_path / shot.path).read_bytes() == (one_actor / shot.path).read_bytes()


def test_action_units_mirror_across_the_face() -> None:
    moves = displacements()
    np.testing.assert_array_equal(moves[:, MIRROR], moves * [-1, 1])
    np.testing.assert_array_equal(MIRROR[MIRROR], np.arange(68))


def test_the_mouth_of_the_photograph_is_closed() -> None:
    photo = photograph()
    gaps = photo.points[LOWER_INNER[1:-1], 1] - photo.points[UPPER_INNER[1:-1], 1]
    assert np.all((gaps > 0.5) & (gaps < 3.0))


def test_the_spline_leaves_the_photograph_alone_where_no_point_moves() -> None:
    actor = demo_face.cast(np.random.default_rng(0))
    y, x = np.mgrid[:HEIGHT, :WIDTH]
    expected = (np.stack([x, y], axis=-1) - actor.shift) / actor.zoom
    np.testing.assert_allclose(demo_face._bend(actor, actor.source), expected, atol=1e-3)


def test_the_spline_carries_each_point_to_its_target() -> None:
    actor = demo_face.cast(np.random.default_rng(0))
    sampled = demo_face._bend(actor, actor.shape)
    for landmark in (8, 19, 27, 33, 36, 45, 48, 54, 57):
        column, row = np.round(actor.shape[landmark] * actor.zoom + actor.shift).astype(int)
        assert np.linalg.norm(sampled[row, column] - actor.source[landmark]) < 2.5  # a pixel is 1.6 points


@pytest.mark.parametrize("emotion", EXPRESSIONS)
def test_the_picture_is_never_folded(emotion: str) -> None:
    """The determinant of the map's derivative stays positive around the mouth, which is covered anyway."""
    times = np.arange(25) / FPS
    for seed in range(6):
        actor = demo_face.cast(np.random.default_rng(seed))
        rng = np.random.default_rng([seed, 1])
        target = demo_face._choreograph(actor, emotion, np.full(25, 0.4), times, rng)[-1]
        down, right = np.gradient(demo_face._bend(actor, target) * actor.zoom, axis=(0, 1))
        area = right[..., 0] * down[..., 1] - right[..., 1] * down[..., 0]
        mouth = inside(target[48:60] * actor.zoom + actor.shift, (HEIGHT, WIDTH), 4) > 0.02
        assert area[~mouth].min() > 0


def shown(emotion: str) -> dict[str, float]:
    """What dlib's landmarks measure at the end of silent clips of an emotion, in eye distances."""
    measures = []
    for seed in range(3):
        actor = demo_face.cast(np.random.default_rng(seed))
        *_, frame = demo_face.perform(actor, emotion, np.zeros(25), np.random.default_rng([seed, 1]))
        points = landmarks(cv2.resize(frame, None, fx=2, fy=2))
        points /= np.linalg.norm(points[36:42].mean(axis=0) - points[42:48].mean(axis=0))
        y = points[:, 1]
        measures.append({
            "mouth opening": y[66] - y[62],
            "mouth width": np.linalg.norm(points[54] - points[48]),
            "corners below the lips": y[[48, 54]].mean() - y[[51, 57]].mean(),
            "inner brow above the eye": y[[39, 42]].mean() - y[[21, 22]].mean(),
            "eye opening": y[[40, 41, 46, 47]].mean() - y[[37, 38, 43, 44]].mean(),
        })  # fmt: skip
    return {name: float(np.median([measure[name] for measure in measures])) for name in measures[0]}


def test_detected_landmarks_show_the_expressions() -> None:
    faces = {emotion: shown(emotion) for emotion in EXPRESSIONS}
    neutral = faces["Neutral"]
    assert faces["Surprise"]["mouth opening"] > neutral["mouth opening"] + 0.15
    assert faces["Happy"]["mouth width"] > neutral["mouth width"] + 0.1
    assert faces["Sad"]["corners below the lips"] > faces["Happy"]["corners below the lips"] + 0.08
    for raised in ("Surprise", "Fear", "Sad"):
        for lowered in ("Angry", "Disgust"):
            brow = "inner brow above the eye"
            assert faces[raised][brow] > neutral[brow] > faces[lowered][brow]
    assert faces["Surprise"]["eye opening"] > neutral["eye opening"] > faces["Disgust"]["eye opening"]


def pitch(voice: np.ndarray) -> float:
    """Pitch in Hz at the highest peak of the autocorrelation, median over windows of 64 ms."""
    found = []
    for start in range(2000, voice.size - 3000, 512):
        window = voice[start : start + 1024] * np.hanning(1024)
        correlation = np.correlate(window, window, "full")[1023:]
        found.append(demo_voice.RATE / (40 + np.argmax(correlation[40:200])))
    return float(np.median(found))


def test_voices_differ_as_the_literature_says() -> None:
    speaker = demo_voice.Speaker(pitch=130, formants=1.0)
    spoken = {
        emotion: [demo_voice.speak(speaker, emotion, 40, FPS, np.random.default_rng(s))[0] for s in range(5)]
        for emotion in ("Angry", "Neutral", "Sad", "Fear")
    }
    level = {emotion: np.mean([np.mean(voice**2) for voice in voices]) for emotion, voices in spoken.items()}
    tone = {emotion: np.median([pitch(voice) for voice in voices]) for emotion, voices in spoken.items()}
    assert level["Angry"] > 2 * level["Neutral"] > 4 * level["Sad"]
    assert tone["Angry"] > 1.1 * tone["Neutral"] > 1.1 * tone["Sad"] * 0.9
    assert tone["Fear"] > 1.2 * tone["Neutral"]
    assert tone["Neutral"] == pytest.approx(speaker.pitch, rel=0.12)


def test_the_mouth_opens_with_the_voice() -> None:
    speaker = demo_voice.Speaker(pitch=200, formants=1.15)
    voice, opening = demo_voice.speak(speaker, "Neutral", 40, FPS, np.random.default_rng(1))
    assert voice.shape == (40 * demo_voice.RATE // FPS,) and np.abs(voice).max() <= 1
    assert opening.shape == (40,) and opening.min() >= 0 and opening[0] < 0.01 and opening[-1] < 0.01
    loudness = np.sqrt(np.mean(voice.reshape(40, -1) ** 2, axis=1))
    assert np.corrcoef(loudness, opening)[0, 1] > 0.5


def test_command_refuses_a_folder_that_holds_something_else(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    result = CliRunner().invoke(demo, [str(tmp_path)])
    assert result.exit_code == 2 and "not empty" in result.output
    assert [path.name for path in tmp_path.iterdir()] == ["thesis.txt"]


def test_command_refuses_a_set_with_other_settings(one_actor: Path) -> None:
    result = CliRunner().invoke(demo, [str(one_actor), "--clips-per-class", "1", "--seed", "4"])
    assert result.exit_code == 2 and "seed 3" in result.output and "seed 4" in result.output


def test_a_set_says_what_it_is(one_actor: Path, tmp_path: Path) -> None:
    assert DEMO_NOTE in (one_actor / "README.txt").read_text()
    assert is_demo(one_actor) and is_demo(next(one_actor.rglob("*.mp4")))
    assert not is_demo(tmp_path)
    (tmp_path / "avemo-demo.json").write_text("[]")
    assert not is_demo(tmp_path)


@pytest.mark.slow
def test_a_killed_run_is_completed_and_then_left_alone(tmp_path: Path) -> None:
    folder = tmp_path / "set"
    settings = [str(folder), "--clips-per-class", "1", "--workers", "1"]
    code = "from avemo.pipelines.cli.demo import demo; demo()"
    process = subprocess.Popen([sys.executable, "-c", code, *settings], start_new_session=True)
    deadline = time.monotonic() + 60
    while len(list(folder.rglob("*.mp4"))) < 3 and time.monotonic() < deadline:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGKILL)
    process.wait()
    before = {clip: clip.stat().st_mtime_ns for clip in folder.rglob("*.mp4")}
    assert 3 <= len(before) < 21

    completed = CliRunner().invoke(demo, settings)
    assert completed.exit_code == 0 and f"avemo-extract {folder} --tta meanstd" in completed.output
    clips = sorted(folder.rglob("*.mp4"))
    assert len(clips) == 21 and not list(folder.rglob("*.part"))
    assert all(clip.stat().st_mtime_ns == written for clip, written in before.items())
    assert share_with_face(clips) >= 0.95

    again = CliRunner().invoke(demo, settings)
    assert again.exit_code == 0 and "nothing to do" in again.output

"""Scores over time: windows are clips, cut by time of what is stored."""

from __future__ import annotations

import csv
import json
import wave
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import av
import numpy as np
import pytest
import torch

from avemo.extract.backbones import get
from avemo.extract.detectors import Face
from avemo.extract.plan import Plan
from avemo.extract.track import Track, Tracker
from avemo.fusion.evaluation.scores import Scores
from avemo.fusion.features.windows import nearest_window, window_spans
from avemo.pipelines.corpora.clips.find import find_clips
from avemo.pipelines.stage_one import into_store

from ..options import keys
from ..pipelines.test_predict_clips import call, fuse

MakeClip = Callable[..., Path]
QUICK = ("--epochs", 2, *keys("hidden=4", "outputs=4", "factors=2"), "--device", "cpu")
RATE = 16_000


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory, make_clip: MakeClip) -> Path:
    """Random weights, a store of a few clips, and runs of each kind of head over it; ``sparse`` looked at
    three frames a clip."""
    home = tmp_path_factory.mktemp("windows")
    for name, brightness in {"Happy": 40, "Sad": 200}.items():
        (home / f"clips/{name}").mkdir(parents=True)
        for n in range(2):
            pictures = [np.full((48, 64, 3), brightness + 5 * n + frame, np.uint8) for frame in range(30)]
            make_clip(home / f"clips/{name}/{name}{n}.mp4", pictures=pictures, tone=200.0 * (n + 1))
    torch.manual_seed(0)
    torch.save(get("mobilefacenet").build().state_dict(), home / "face.pt")
    backbone = f"mobilefacenet@{home / 'face.pt'}"
    for store, frames in (("features", None), ("sparse", 3)):
        plan = Plan(
            backbones=(backbone,),
            view_sets=("none",),
            max_frames=frames,
            device="cpu",
            precision="fp32",
            segment_backbones=(backbone,),
            voice_activity="none",
        )
        assert into_store(find_clips(home / "clips"), plan, home / store, workers=1) == 0
    for fusion in ("fbp", "audio", "faces", "segments", "m-fbp"):
        fuse("train", "--store", home / "features", "--out", home / fusion, "--fusion", fusion, *QUICK)
    fuse("train", "--store", home / "sparse", "--out", home / "sparse-faces", "--fusion", "faces", *QUICK)
    return home


def predict(home: Path, run: str, *arguments: object) -> tuple[object, ...]:
    network = f"mobilefacenet@{home / 'face.pt'}"
    networks = {"audio": (), "segments": ("--backbone", "--segment-backbone")}.get(run, ("--backbone",))
    weights = [word for option in networks for word in (option, network)]
    return ("predict", home / run, *arguments, *weights, "--device", "cpu", "--workers", 1)


def table(path: Path) -> list[dict[str, str]]:
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def values(rows: Sequence[dict[str, str]]) -> np.ndarray:
    return np.array([[float(row[name]) for name in ("Happy", "Sad")] for row in rows])


def lossless(path: Path, images: Sequence[np.ndarray]) -> Path:
    """A video of 10 frames a second that decodes to just these pictures."""
    with av.open(str(path), "w") as container:
        stream: Any = container.add_stream("ffv1", rate=10)
        stream.height, stream.width, stream.pix_fmt = *images[0].shape[:2], "gray"
        for image in images:
            container.mux(stream.encode(av.VideoFrame.from_ndarray(image[..., 0], format="gray")))
        container.mux(stream.encode(None))
    return path


def recorded(path: Path, samples: np.ndarray) -> Path:
    with wave.open(str(path), "wb") as file:
        file.setparams((1, 2, RATE, 0, "NONE", ""))
        file.writeframes((samples * 32767).astype("<i2").tobytes())
    return path


def test_windows_cover_a_recording() -> None:
    np.testing.assert_allclose(window_spans(4.2, 3, 0.5), [[0, 3], [0.5, 3.5], [1, 4.2]])
    np.testing.assert_allclose(window_spans(4.3, 3, 0.5), [[0, 3], [0.5, 3.5], [1, 4], [1.3, 4.3]])
    np.testing.assert_allclose(window_spans(8.2, 1, 4), [[0, 1], [4, 5], [7.2, 8.2]])
    np.testing.assert_allclose(window_spans(1.22, 1.2, 0.5), [[0, 1.22]])
    np.testing.assert_allclose(window_spans(4.0, 3, 0.5), [[0, 3], [0.5, 3.5], [1, 4]])
    np.testing.assert_allclose(window_spans(2.0, 3, 0.5), [[0, 2]])
    np.testing.assert_allclose(window_spans(3.0, 3, 0.5), [[0, 3]])
    spans = window_spans(3600, 3.1, 0.1)
    assert len(spans) == 35_970
    np.testing.assert_allclose(spans[:, 1] - spans[:, 0], 3.1)
    assert spans[-1, 1] == pytest.approx(3600)


def test_the_window_shown_is_the_nearest_by_its_middle() -> None:
    spans = window_spans(4.2, 3, 0.5)
    times = np.linspace(-1, 6, 701)
    distances = np.abs(times[:, None] - spans.mean(axis=1))
    np.testing.assert_allclose(
        np.take_along_axis(distances, nearest_window(spans, times)[:, None], 1)[:, 0], distances.min(axis=1)
    )
    assert nearest_window(spans[:1], times).max() == 0


@pytest.mark.parametrize("run", ["fbp", "audio", "faces", "segments", "m-fbp", "sparse-faces"])
def test_one_window_over_all_is_the_clip(home: Path, tmp_path: Path, run: str) -> None:
    clip = home / "clips/Happy/Happy1.mp4"
    fuse(*predict(home, run, clip, "--out", tmp_path / "plain.csv"))
    fuse(*predict(home, run, clip, "--out", tmp_path / "s.csv", "--timeline", tmp_path / "t.csv"))
    plain, whole = Scores.read(tmp_path / "plain.csv"), Scores.read(tmp_path / "s.csv")
    np.testing.assert_allclose(whole.values, plain.values, atol=1e-6)
    rows = table(tmp_path / "t.csv")
    assert [row["class"] for row in rows] == list(plain.predicted)
    np.testing.assert_allclose(values(rows), plain.values, atol=1e-6)
    assert (rows[0]["start"], rows[0]["has_face"], rows[0]["has_sound"]) == ("0.0", "0", "1")


@pytest.mark.parametrize("run", ["faces", "sparse-faces"])
def test_a_window_of_pictures_is_the_clip_cut_out(home: Path, tmp_path: Path, run: str) -> None:
    rng = np.random.default_rng(0)
    images = [rng.integers(0, 255, (48, 64, 1), np.uint8).repeat(3, 2) for _ in range(35)]
    film = lossless(tmp_path / "film.mkv", images)
    arguments = ("--out", tmp_path / "s.csv", "--timeline", tmp_path / "t.csv", "--window", 1, "--hop", 0.5)
    fuse(*predict(home, run, film, *arguments))
    rows = table(tmp_path / "t.csv")
    assert [row["start"] for row in rows] == ["0.0", "0.5", "1.0", "1.5", "2.0", "2.5"]
    starts = [round(10 * float(row["start"])) for row in rows]
    cuts = [lossless(tmp_path / f"cut{at:02d}.mkv", images[at : at + 10]) for at in starts]
    fuse(*predict(home, run, *cuts, "--out", tmp_path / "cuts.csv"))
    fuse(*predict(home, run, film, "--out", tmp_path / "plain.csv"))
    if run == "faces":  # every frame is looked at, so the very same ones are in a window and in its cut
        np.testing.assert_allclose(values(rows), Scores.read(tmp_path / "cuts.csv").values, atol=1e-5)
        assert np.ptp(values(rows), axis=0).min() > 1e-5
    whole = Scores.read(tmp_path / "s.csv").values
    np.testing.assert_allclose(whole, Scores.read(tmp_path / "plain.csv").values, atol=1e-6)
    told = json.loads((tmp_path / "t.json").read_text())
    assert len(told["faces"]) == (35 if run == "faces" else 15)
    assert [window["start"] for window in told["windows"]] == [float(row["start"]) for row in rows]
    scores = [list(window["scores"].values()) for window in told["windows"]]
    np.testing.assert_array_equal(scores, values(rows))


def test_a_window_of_sound_is_nearly_the_sound_cut_out(home: Path, tmp_path: Path) -> None:
    rng = np.random.default_rng(1)
    clock = np.arange(4 * RATE) / RATE
    samples = 0.3 * np.sin(2 * np.pi * (150 + 100 * clock) * clock) + 0.02 * rng.standard_normal(len(clock))
    sound = recorded(tmp_path / "sound.wav", samples)
    arguments = ("--out", tmp_path / "s.csv", "--timeline", tmp_path / "t.csv", "--window", 1, "--hop", 1)
    fuse(*predict(home, "audio", sound, *arguments))
    rows = table(tmp_path / "t.csv")
    assert [row["has_face"] for row in rows] == ["0"] * 4
    cuts = [recorded(tmp_path / f"cut{n}.wav", samples[n * RATE : (n + 1) * RATE]) for n in range(4)]
    fuse(*predict(home, "audio", *cuts, "--out", tmp_path / "cuts.csv"))
    np.testing.assert_allclose(values(rows), Scores.read(tmp_path / "cuts.csv").values, atol=0.04)
    assert np.ptp(values(rows), axis=0).min() > 0.4  # far more than what cutting changes


def test_windows_behind_the_end_of_the_sound_say_so(home: Path, tmp_path: Path) -> None:
    silent = lossless(tmp_path / "silent.mkv", [np.full((48, 64, 1), 9 * n, np.uint8) for n in range(20)])
    fuse(*predict(home, "fbp", silent, "--out", tmp_path / "s.csv", "--timeline", tmp_path / "t.csv"))
    assert [row["has_sound"] for row in table(tmp_path / "t.csv")] == ["0"] * 3  # windows of 1.2 s
    assert json.loads((tmp_path / "t.json").read_text())["window"] == pytest.approx(1.2, abs=0.05)


def test_what_cannot_be_asked_for(home: Path, tmp_path: Path) -> None:
    clips = [home / f"clips/Sad/Sad{n}.mp4" for n in range(2)]

    def refused(*arguments: object) -> str:
        result = call(*predict(home, "audio", *arguments))
        assert result.exit_code == 2, result.output
        return " ".join(result.output.split())

    out = ("--out", tmp_path / "s.csv")
    assert "need --overlay MP4 or --timeline CSV" in refused(clips[0], "--window", 2, *out)
    of_a_store = call("predict", home / "audio", home / "features", "--timeline", tmp_path / "t.csv", *out)
    assert of_a_store.exit_code == 2 and "need video clips" in " ".join(of_a_store.output.split())
    assert "name a folder" in refused(*clips, "--overlay", tmp_path / "o.mp4", *out)
    assert "a file ending in .mp4" in refused(clips[0], "--overlay", tmp_path / "o.avi", *out)
    assert "is also the --out file" in refused(clips[0], "--overlay", tmp_path / "s.mp4", *out)
    assert "is the video itself" in refused(clips[0], "--overlay", clips[0], *out)
    kept = ("--store", home / "features", "--timeline", tmp_path / "t.csv")
    assert "holds other clips" in refused(clips[0], *kept, *out)
    assert [path for path in tmp_path.iterdir() if path.suffix != ".wav"] == []


def test_sound_alone_gives_a_timeline_and_says_why_no_overlay(home: Path, tmp_path: Path) -> None:
    sound = recorded(tmp_path / "sound.wav", np.sin(np.arange(2 * RATE) / 9))
    out = ("--out", tmp_path / "s.csv")
    result = call(*predict(home, "fbp", sound, "--overlay", tmp_path / "o.mp4", *out))
    assert result.exit_code == 1, result.output
    assert "no overlay" in result.output and "no pictures" in result.output
    assert len(table(tmp_path / "o.csv")) > 1 and not (tmp_path / "o.mp4").exists()


def test_several_clips_one_of_them_broken(home: Path, tmp_path: Path) -> None:
    for n in range(2):
        (tmp_path / f"{n}.mp4").write_bytes((home / f"clips/Sad/Sad{n}.mp4").read_bytes())
    (tmp_path / "broken.mp4").write_text("no film")
    clips = sorted(tmp_path.glob("*.mp4"))
    arguments = ("--out", tmp_path / "s.csv", "--timeline", tmp_path / "over", "--window", 0.5)
    kept = ("--store", tmp_path / "kept")
    result = call(*predict(home, "audio", *clips, *arguments, *kept))
    assert result.exit_code == 1 and "no windows" in result.output, result.output
    assert len(Scores.read(tmp_path / "s.csv").clips) == 3
    made = sorted(path.name for path in (tmp_path / "over").iterdir())
    assert made == ["0.csv", "0.json", "1.csv", "1.json"]
    again = call(*predict(home, "audio", *clips[:2], *arguments, *kept, "--overwrite"))
    assert again.exit_code == 2 and "holds other clips" in again.output  # a third one
    assert "real time factor" in result.output


def face(x: float, side: float) -> Face:
    return Face(np.array([x, 0, x + side, side]), np.zeros((5, 2)), 1.0)


def test_the_face_of_a_long_film_is_that_of_the_moment() -> None:
    rng = np.random.default_rng(0)
    tracker = Tracker()
    times = np.cumsum(rng.uniform(0.02, 0.3, 400)).tolist()
    for number, at in enumerate(times):
        place = 1000 * (number // 40)  # cuts from one to the next
        faces = [face(place + 300 * k, side) for k, side in enumerate((50, 60 + 10 * np.sin(number)))]
        tracker.add(number, at, [each for each in faces if rng.random() < 0.8])
    seconds = 5.0
    chosen = tracker.main_around(times, seconds)
    for number, at in enumerate(times):
        start = min(max(at - seconds / 2, times[0]), times[-1] - seconds)
        weights = [
            sum(
                float(np.prod(each.box[2:] - each.box[:2]))
                for frame, each in track.faces.items()
                if start <= times[frame] <= start + seconds
            )
            for track in tracker.tracks
        ]
        expected = tracker.tracks[int(np.argmax(weights))].faces.get(number)
        assert chosen.faces.get(number) is expected
    assert len(chosen.faces) > 2 * len(tracker.main().faces)
    assert tracker.main_around(times, 1000.0).faces == tracker.main().faces
    assert Tracker().main_around(times, 3.0) == Track()

"""A face that is looked for in every Nth frame is where it is when it is looked for in all."""

from __future__ import annotations

import weakref
from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from avemo.extract.decode.media import Frame, Media
from avemo.extract.detectors import DETECTORS, Detector, Face, load_detector
from avemo.extract.errors import ClipError
from avemo.extract.follow import FollowedFace, follow
from avemo.extract.plan import Plan
from avemo.extract.streams.faces import find_faces, no_face_note
from avemo.extract.streams.registry import keys_of
from avemo.extract.track import Tracker, face_arrays, overlap
from avemo.pipelines.plan_again import plan_again

MakeClip = Callable[..., Path]
SIDE, WIDTH, HEIGHT = 40, 320, 120


class Squares:
    """Finds white squares, each in its own half of the picture; corners and middle are its points."""

    layout = "eyes-nose-mouth"

    def settings(self) -> dict[str, object]:
        return {}

    def __call__(self, image: np.ndarray) -> list[Face]:
        faces = []
        for left in (0, WIDTH // 2):
            y, x = np.nonzero(image[:, left : left + WIDTH // 2].min(axis=2) > 128)
            if len(x):
                x0, y0, x1, y1 = x.min() + left, y.min(), x.max() + left + 1, y.max() + 1
                points = [(x0, y0), (x1, y0), ((x0 + x1) / 2, (y0 + y1) / 2), (x0, y1), (x1, y1)]
                faces.append(Face(np.array([x0, y0, x1, y1], float), np.array(points, float), 1.0))
        return faces


def film(make_clip: MakeClip, path: Path, places: Sequence[Sequence[int]]) -> Media:
    """White squares with left edges at ``places`` in each frame; those on the right are smaller."""
    pictures = []
    for lefts in places:
        image = np.zeros((HEIGHT, WIDTH, 3), np.uint8)
        for left in lefts:
            side = SIDE if left < WIDTH // 2 else SIDE // 2
            image[40 : 40 + side, left : left + side] = 255
        pictures.append(image)
    return Media(make_clip(path, pictures=pictures, sound=False))


def followed(media: Media, every: int, detector: Detector | None = None) -> FollowedFace:
    return follow(media, detector or Squares(), every, 3.0, lambda seconds: None)


@pytest.mark.parametrize("every", [1, 2, 5, 7])
def test_a_face_that_moves_evenly_is_found_between(make_clip: MakeClip, tmp_path: Path, every: int) -> None:
    media = film(make_clip, tmp_path / "film.mp4", [[10 + 2 * n] for n in range(24)])
    face = followed(media, every)
    lefts = 10 + 2 * np.arange(24)
    np.testing.assert_allclose(face.boxes[:, 0], lefts, atol=1.5)
    np.testing.assert_allclose(face.boxes[:, 2] - face.boxes[:, 0], SIDE, atol=2)
    transforms = [face.transform(number) for number in range(24)]
    corners = [each[:, :2] @ (left, 40) + each[:, 2] for each, left in zip(transforms, lefts, strict=True)]
    assert np.ptp(corners, axis=0).max() < 8  # of 224 pixels: the chip shows the square in one place
    assert face.has_face.all() and not face.shots.any()
    assert face.examined == len({*range(0, 24, every), 23})


def test_with_every_frame_examined_stage_one_gives_what_the_tracker_gives(shared: Path) -> None:
    media, tracker = Media(shared / "data/media/single_face.mp4", max_frames=6), Tracker()
    frames = list(media.frames())
    for number, frame in enumerate(frames):
        tracker.add(number, frame.time, load_detector("dlib")(frame.image))
    sizes = [frame.image.shape[:2] for frame in frames]
    plain = face_arrays([frame.time for frame in frames], tracker.main(), sizes, "dlib-5")
    faces, _ = find_faces(Plan(), media)
    assert list(faces) == list(plain)
    for name, values in plain.items():
        np.testing.assert_array_equal(faces[name], values, strict=True)


@pytest.mark.parametrize("every", [2, 5])
def test_between_examined_frames_stage_one_gives_what_is_followed(shared: Path, every: int) -> None:
    media = Media(shared / "data/media/single_face.mp4", max_frames=9)
    faces, _ = find_faces(Plan(detect_every=every, face_seconds=3.0), media)
    face = followed(media, every, load_detector("dlib"))
    np.testing.assert_array_equal(face.boxes, faces["box"])
    np.testing.assert_array_equal(face.points, faces["points"])
    np.testing.assert_array_equal(face.has_face, faces["has_face"])
    np.testing.assert_array_equal(faces["confidence"] > 0, faces["has_face"])
    for number in np.flatnonzero(face.has_face):
        np.testing.assert_allclose(face.transform(number), faces["transform"][number], atol=1e-4)


def test_only_in_every_nth_frame_a_face_is_looked_for_by_stage_one(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A face comes and goes between two frames that are looked at: the nearer of these tells."""
    monkeypatch.setitem(DETECTORS, "squares", lambda file: Squares())
    media = film(make_clip, tmp_path / "film.mp4", [[10]] * 6 + [[]] * 9 + [[10]] * 7)
    plan = Plan("squares", detect_every=5)
    looks: list[int] = []
    monkeypatch.setattr(Squares, "__call__", counted_calls(Squares.__call__, looks))
    faces, frames = find_faces(plan, media)
    assert len(looks) == len({*range(0, 22, 5), 21})
    assert faces["has_face"].tolist() == [True] * 8 + [False] * 5 + [True] * 9
    assert np.isnan(faces["box"][~faces["has_face"]]).all() and not faces["confidence"][8:13].any()
    assert len(faces["times"]) == len(list(frames)) == 22
    empty = film(make_clip, tmp_path / "empty.mp4", [[]] * 22)
    assert "none of 6 frames" in no_face_note(plan, empty, 22).replace("no face in any", "none")
    assert find_faces(plan, empty)[0]["has_face"].sum() == 0


def test_a_detector_of_boxes_alone_is_followed_too(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    class Boxes(Squares):
        layout = ""

        def __call__(self, image: np.ndarray) -> list[Face]:
            return [Face(face.box, None, face.confidence) for face in super().__call__(image)]

    monkeypatch.setitem(DETECTORS, "boxes", lambda file: Boxes())
    media = film(make_clip, tmp_path / "film.mp4", [[10 + 2 * n] for n in range(11)])
    faces, _ = find_faces(Plan("boxes", detect_every=5), media)
    np.testing.assert_allclose(faces["box"][:, 0], 10 + 2 * np.arange(11), atol=1.5)
    assert faces["has_face"].all() and np.isnan(faces["points"]).all()


def test_how_often_faces_are_looked_for_is_in_the_key_where_it_changes_values() -> None:
    def of(plan: Plan) -> dict[str, object]:
        return dict(keys_of(replace(plan, backbones=("ferplusnet",)))["ferplusnet/default"].settings)

    often = of(Plan())
    assert "detect_every" not in often and of(Plan(detect_every=1)) == often
    assert of(Plan(detect_every=3)) == {**often, "detect_every": 3}
    sound = [key for name, key in keys_of(Plan(detect_every=3)).items() if name == "spectrogram"]
    assert sound == [keys_of(Plan())["spectrogram"]]
    keys = keys_of(Plan(detect_every=3, device="cpu"))
    wanted = {name: key for name, key in keys.items() if "/" in name}
    for detector in (None, "auto"):
        plan = plan_again(wanted, detector, device="cpu")
        assert (plan.detect_every, plan.detector) == (3, "dlib")


def counted_calls(call: Callable[..., list[Face]], looks: list[int]) -> Callable[..., list[Face]]:
    def counted(self: Squares, image: np.ndarray) -> list[Face]:
        looks.append(1)
        return call(self, image)

    return counted


def test_with_every_frame_examined_it_is_the_track_of_stage_one(shared: Path) -> None:
    media = Media(shared / "data/media/single_face.mp4", max_frames=6)
    faces, _ = find_faces(Plan(face_seconds=3.0), media)
    face = followed(media, 1, load_detector("dlib"))
    np.testing.assert_array_equal(face.times, faces["times"])
    np.testing.assert_array_equal(face.boxes, faces["box"])
    for number in np.flatnonzero(face.has_face):
        np.testing.assert_allclose(face.transform(number), faces["transform"][number], atol=1e-9)


def test_a_cut_to_another_face_is_a_new_shot(make_clip: MakeClip, tmp_path: Path) -> None:
    media = film(make_clip, tmp_path / "film.mp4", [[10]] * 11 + [[250]] * 9)
    face = followed(media, 5)
    assert (face.boxes[:, 0] < 100).tolist() == [True] * 13 + [False] * 7  # 12 lies nearer to 10 than to 15
    assert face.shots.tolist() == [0] * 13 + [1] * 7


def test_next_to_a_frame_without_a_face_the_nearest_examined_one_counts(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    media = film(make_clip, tmp_path / "film.mp4", [[10]] * 6 + [[]] * 9 + [[10]] * 6)
    face = followed(media, 5)
    assert face.has_face.tolist() == [True] * 8 + [False] * 5 + [True] * 8
    assert np.isnan(face.boxes[~face.has_face]).all() and np.isnan(face.points[~face.has_face]).all()
    assert not face.shots.any()


def test_of_two_faces_the_larger_is_followed_also_over_a_moment_in_which_it_is_lost(
    make_clip: MakeClip, tmp_path: Path
) -> None:
    """The left square is hidden in one examined frame, and does not give way to the right one."""
    both = [[10, 250]] * 10
    media = film(make_clip, tmp_path / "film.mp4", [*both, [250], *both, *[[250]] * 20])
    face = followed(media, 5)
    assert (face.boxes[:21, 0][face.has_face[:21]] < 100).all()
    assert not face.has_face[10]
    assert (face.boxes[30:, 0] > 200).all()


def test_frames_with_several_faces_are_counted(make_clip: MakeClip, tmp_path: Path) -> None:
    media = film(make_clip, tmp_path / "film.mp4", [[10, 250]] * 6 + [[10]] * 10)
    face = followed(media, 5)
    assert (face.crowded, face.examined) == (2, 4)
    assert (face.boxes[:, 0] < 100).all()


def test_a_film_without_pictures_or_frames_is_refused(make_clip: MakeClip, tmp_path: Path) -> None:
    with pytest.raises(ClipError, match="no video stream"):
        followed(Media(make_clip(tmp_path / "sound.mp4", pictures=[])), 5)


def test_one_frame_is_in_memory_at_a_time(
    make_clip: MakeClip, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    media = film(make_clip, tmp_path / "film.mp4", [[10 + n] for n in range(60)])
    alive: list[weakref.ref[Frame]] = []
    most = 0
    read = Media.frames

    def counted(self: Media) -> Iterator[Frame]:
        nonlocal most
        for frame in read(self):
            alive.append(weakref.ref(frame))
            most = max(most, sum(each() is not None for each in alive))
            yield frame

    monkeypatch.setattr(Media, "frames", counted)
    followed(media, 5)
    assert 1 <= most <= 4


@pytest.mark.slow
def test_real_faces_between_examined_frames_are_where_they_are_found(shared: Path) -> None:
    """Java-SED and a film: measured 0.966 over 23 clips."""
    detector, overlaps, differs = load_detector("dlib"), [], []
    clips = [
        *sorted((shared / "data/java_sed/clips").glob("*.mp4"))[::80],
        shared / "data/media/no_audio.mp4",
    ]
    for clip in clips:
        full, sparse = (followed(Media(clip), every, detector) for every in (1, 5))
        both = full.has_face & sparse.has_face
        differs.append(np.mean(full.has_face != sparse.has_face))
        overlaps += [overlap(a, b) for a, b in zip(full.boxes[both], sparse.boxes[both], strict=True)]
    assert np.mean(overlaps) > 0.95
    assert np.quantile(overlaps, 0.01) > 0.6
    assert np.mean(differs) < 0.05

"""The main face: the best track, not the first box."""

from __future__ import annotations

import numpy as np

from avemo.extract.detectors import Face
from avemo.extract.track import Tracker, face_arrays, overlap


def face(x: float, y: float, side: float) -> Face:
    return Face(np.array([x, y, x + side, y + side]), x + side * np.random.default_rng(0).random((5, 2)), 1.0)


def run(frames: list[list[Face]], fps: float = 25.0) -> Tracker:
    tracker = Tracker()
    for number, faces in enumerate(frames):
        tracker.add(number, number / fps, faces)
    return tracker


def test_overlap_by_hand() -> None:
    assert overlap(np.array([0, 0, 2, 2]), np.array([1, 1, 3, 3])) == 1 / 7
    assert overlap(np.array([0, 0, 1, 1]), np.array([2, 2, 3, 3])) == 0
    assert overlap(np.array([0, 0, 1, 1]), np.array([0, 0, 1, 1])) == 1


def test_a_lasting_face_beats_a_short_great_one() -> None:
    frames = [[face(10 + n, 10, 50)] for n in range(20)]
    frames[3].insert(0, face(200, 100, 120))
    assert sorted(run(frames).main().faces) == list(range(20))


def test_a_great_face_beats_a_small_one_in_the_background() -> None:
    frames = [[face(300, 10, 30), face(50, 50, 100)] for _ in range(10)]
    assert run(frames).main().last_box[2] == 150


def test_order_of_detections_does_not_swap_tracks() -> None:
    a, b = face(0, 0, 60), face(100, 0, 50)
    tracker = run([[a, b] if n % 2 else [b, a] for n in range(8)])
    assert len(tracker.tracks) == 2
    assert all(len(track.faces) == 8 for track in tracker.tracks)


def test_a_short_gap_is_bridged_and_a_long_one_is_not() -> None:
    here: list[Face] = [face(10, 10, 50)]
    assert len(run([here, *[[]] * 5, here]).tracks) == 1
    assert len(run([here, *[[]] * 20, here]).tracks) == 2


def test_frames_far_apart_are_linked_if_none_is_between() -> None:
    here: list[Face] = [face(10, 10, 50)]
    tracker = run([here] * 6, fps=0.2)
    assert len(tracker.tracks) == 1
    assert len(run([here, [], here], fps=0.2).tracks) == 2


def test_a_cut_to_elsewhere_is_another_track() -> None:
    assert len(run([[face(10, 10, 50)]] * 4 + [[face(200, 10, 50)]] * 3).tracks) == 2


def test_frames_without_the_face_give_the_whole_frame() -> None:
    tracker = run([[face(10, 10, 50)], [], [face(12, 10, 50)]])
    arrays = face_arrays([0.0, 0.04, 0.08], tracker.main(), [(90, 160)] * 3, "dlib-5")
    assert arrays["has_face"].tolist() == [True, False, True]
    corners = arrays["transform"][1] @ np.array([[-0.5, 159.5], [-0.5, 89.5], [1, 1]])
    np.testing.assert_allclose(corners, [[-0.5, 223.5], [-0.5, 223.5]], atol=1e-9)
    assert np.isnan(arrays["box"][1]).all()
    assert arrays["confidence"][1] == 0


def test_nobody_there() -> None:
    arrays = face_arrays([0.0], run([[]]).main(), [(90, 160)], "dlib-5")
    assert not arrays["has_face"].any()
    assert np.isfinite(arrays["transform"]).all()

"""View sets, alignment and the one warp: matrices by hand, composition against step by step."""

from __future__ import annotations

from itertools import product
from math import cos, radians, sin
from pathlib import Path

import cv2
import numpy as np
import pytest
import torch

from avemo.extract.align import (
    CHIP_SIZE,
    DLIB_POINTS,
    TEMPLATES,
    box_transform,
    chip_transform,
    compose,
    frame_transform,
    resize_transform,
    similarity,
)
from avemo.extract.decode.media import Media
from avemo.extract.patch import inverses, patch, side_by_side
from avemo.extract.views import VIEW_SETS, SharedViews
from avemo.extract.warp import warp, warp_cpu, warp_device

CPU = torch.device("cpu")


def smooth_image(height: int, width: int, seed: int = 0) -> np.ndarray:
    noise = np.random.default_rng(seed).uniform(0, 255, (height // 8, width // 8, 3)).astype(np.float32)
    return cv2.resize(noise, (width, height), interpolation=cv2.INTER_CUBIC).clip(0, 255).astype(np.uint8)


@pytest.mark.parametrize(
    ("name", "angles", "scales"),
    [("default", (-2, 0, 2), (1, 1.03, 1.07)), ("wide", (-15, 0, 15), (0.75, 1, 1.25))],
)
def test_the_18_matrices_by_hand(name: str, angles: tuple[float, ...], scales: tuple[float, ...]) -> None:
    """zhou2019 Table 3. A point at (x, y) from the centre goes to s·R·(x, y), x negated by a flip."""
    views = VIEW_SETS[name]
    matrices = views.matrices(224)
    assert matrices.shape == (18, 2, 3)
    assert len(views) == 18
    c = 111.5
    for matrix, (angle, scale, flip) in zip(matrices, product(angles, scales, (False, True)), strict=True):
        for x, y in [(c, c), (0.0, 0.0), (200.0, 31.0)]:
            a = radians(angle)
            dx, dy = x - c, y - c
            expected_x = scale * (cos(a) * dx + sin(a) * dy) * (-1 if flip else 1) + c
            expected_y = scale * (-sin(a) * dx + cos(a) * dy) + c
            np.testing.assert_allclose(matrix @ (x, y, 1), (expected_x, expected_y), atol=1e-9)


def test_a_positive_rotation_is_counter_clockwise() -> None:
    matrix = VIEW_SETS["wide"].matrices(224)[12 + 2]  # 15°, scale 1, no flip
    x, y = matrix @ (211.5, 111.5, 1)  # what lies to the right goes up
    assert y < 111.5
    assert x > 111.5


@pytest.mark.parametrize("name", list(VIEW_SETS))
def test_the_identity_view_is_among_them(name: str) -> None:
    views = VIEW_SETS[name]
    identity = views.matrices(224)[views.identity]
    np.testing.assert_allclose(identity, [[1, 0, 0], [0, 1, 0]], atol=1e-12)


def test_similarity_is_found_again() -> None:
    rng = np.random.default_rng(0)
    points = rng.normal(size=(5, 2)) * 50
    linear = 1.7 * np.array([[cos(0.3), -sin(0.3)], [sin(0.3), cos(0.3)]])
    found = similarity(points, points @ linear.T + [3, -8])
    np.testing.assert_allclose(found, np.column_stack([linear, [3, -8]]), atol=1e-9)


def test_padding_widens_the_box_by_30_percent_on_each_side() -> None:
    corners = np.array([[0.0, 0.0], [1.0, 1.0]])
    transform = chip_transform(DLIB_POINTS, "dlib-5", size=160, padding=0.3)
    placed = corners @ transform[:, :2].T + transform[:, 2]
    np.testing.assert_allclose(placed, [[30, 30], [130, 130]], atol=1e-9)


def test_both_templates_have_their_eyes_in_the_same_place() -> None:
    dlib, other = TEMPLATES["dlib-5"], TEMPLATES["eyes-nose-mouth"]
    np.testing.assert_allclose(other[:2], [dlib[2:4].mean(0), dlib[0:2].mean(0)], atol=1e-9)
    assert (np.diff(other[[0, 2, 3]][:, 1]) > 0).all()  # nose below eyes, mouth below nose


def test_chip_is_where_dlib_puts_it(shared: Path) -> None:
    import dlib

    from avemo.extract.detectors.dlib import DlibDetector

    frame = list(Media(shared / "data/java_sed/clips/01-01-03_01.mp4", 3).frames())[1].image
    detector = DlibDetector()
    (face,) = detector(frame)
    box = dlib.rectangle(*(int(v) for v in face.box - [0, 0, 1, 1]))
    theirs = dlib.get_face_chip(frame, detector._models[1](frame, box), size=CHIP_SIZE, padding=0.3)
    ours = warp(frame, chip_transform(face.points, detector.layout)[None], CHIP_SIZE, CPU)[0].numpy()
    assert np.abs(ours.astype(float) - theirs).mean() < 4  # grey levels: dlib samples corner to corner


def test_one_composed_warp_against_align_then_transform() -> None:
    """Two interpolations blur a little more than one: the mean difference stays under two levels of 255."""
    frame = smooth_image(288, 360)
    align = similarity(np.array([[150.0, 120.0], [210.0, 126.0]]), np.array([[75.0, 90.0], [149.0, 90.0]]))
    views = VIEW_SETS["wide"].matrices(CHIP_SIZE)
    once = warp(frame, compose(views, align), CHIP_SIZE, CPU).numpy().astype(float)
    chip = warp(frame, align[None], CHIP_SIZE, CPU)[0].numpy()
    twice = warp(chip, views, CHIP_SIZE, CPU).numpy().astype(float)
    inside = np.zeros((CHIP_SIZE, CHIP_SIZE), bool)
    inside[60:-60, 60:-60] = True
    assert np.abs(once - twice)[:, inside].mean() < 2


def test_resize_composes_to_smaller_inputs() -> None:
    frame = smooth_image(240, 240)
    small = warp(frame, resize_transform((240, 240), (112, 112))[None], 112, CPU)[0].numpy()
    reference = cv2.resize(frame, (112, 112), interpolation=cv2.INTER_AREA)
    assert np.abs(small.astype(float) - reference)[2:-2, 2:-2].mean() < 4


def test_whole_frame_fills_the_chip() -> None:
    frame = smooth_image(90, 160)
    chip = warp(frame, frame_transform(90, 160)[None], CHIP_SIZE, CPU)[0].numpy()
    reference = cv2.resize(frame, (CHIP_SIZE, CHIP_SIZE), interpolation=cv2.INTER_LINEAR)
    assert np.abs(chip.astype(float) - reference)[4:-4, 4:-4].max() <= 3


def test_a_great_frame_is_shrunk_without_aliasing() -> None:
    stripes = np.zeros((1600, 1600, 3), np.uint8)
    stripes[:, ::2] = 255  # finer than the view can show: must come out as even grey
    view = warp(stripes, frame_transform(1600, 1600, 200)[None], 200, CPU)[0].numpy()
    assert np.abs(view[5:-5, 5:-5].astype(float) - 127.5).max() < 2


@pytest.mark.parametrize(
    "box", [(20.3, 60.2, 150.3, 230.2), (-40.0, 10.0, 60.0, 110.0), (300.0, 200.0, 390.0, 299.0)]
)
@pytest.mark.parametrize("size", [64, 224])
def test_views_of_a_part_of_a_frame_are_those_of_the_frame(
    box: tuple[float, float, float, float], size: int
) -> None:
    """Up to how samples are rounded: by one grey level, in fewer than one pixel of a thousand."""
    frame = smooth_image(288, 360)
    shared = SharedViews(("default", "wide"), size, (0.0, 0.0, 1.0))
    matrices = compose(shared.matrices, box_transform(np.array(box)))
    part, moved = patch(frame, matrices, size)
    assert part.size < frame.size
    expected = warp(frame, matrices, size, CPU).numpy().astype(int)
    off = np.abs(warp_cpu(part, moved, size) - expected)
    assert off.max() <= 1
    assert off.astype(bool).mean() < 1e-3


def test_parts_of_several_sizes_are_sampled_in_one_call_as_one_by_one() -> None:
    views = VIEW_SETS["default"].matrices(CHIP_SIZE)
    boxes = [(20.3, 60.2, 150.3, 230.2), (150.0, 10.0, 250.0, 110.0), (250.0, 200.0, 390.0, 299.0)]
    cut = [
        patch(smooth_image(288, 360), compose(views, box_transform(np.array(box))), CHIP_SIZE)
        for box in boxes
    ]
    assert len({part.shape for part, _ in cut}) == 3
    together, back = (
        torch.from_numpy(array)
        for array in (
            side_by_side([part for part, _ in cut]),
            np.stack([inverses(matrices) for _, matrices in cut]).astype(np.float32),
        )
    )
    got = warp_device(together, back, CHIP_SIZE).numpy().astype(int)
    one_by_one = [warp_cpu(part, matrices, CHIP_SIZE) for part, matrices in cut]
    off = np.abs(got - np.concatenate(one_by_one))
    assert off.max() <= 2
    assert off.mean() < 0.05


def test_the_device_path_samples_like_the_cpu_path() -> None:
    """Run on the CPU here; cv2 keeps 1/32 of a pixel, hence up to a few levels at sharp edges."""
    frame = smooth_image(288, 360)
    align = frame_transform(288, 360)
    matrices = compose(VIEW_SETS["wide"].matrices(CHIP_SIZE), align)
    back = torch.from_numpy(inverses(matrices).astype(np.float32))[None]
    ours = warp_device(torch.from_numpy(frame)[None], back, CHIP_SIZE).numpy().astype(float)
    theirs = warp(frame, matrices, CHIP_SIZE, CPU).numpy().astype(float)
    assert np.abs(ours - theirs).mean() < 0.3
    assert np.abs(ours - theirs)[:, 1:-1, 1:-1].max() <= 12

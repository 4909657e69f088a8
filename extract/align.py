"""Alignment: from facial points to an aligned chip, by one 2 × 3 matrix per frame.

All matrices map pixel centres ``(x, y)`` of the source to those of the target. They are combined by
:func:`compose`, so a frame is sampled only once.
"""

from __future__ import annotations

import numpy as np

CHIP_SIZE = 224
PADDING = 0.3

# Mean positions in the unit square of a face box. dlib's five points (the eye on the image's right: outer,
# inner; the eye on the left: outer, inner; base of the nose) are taken from its own face chips.
DLIB_POINTS = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)

# Eyes, tip of the nose, corners of the mouth (the image's left one first): the usual template of face
# recognition (112 × 112 pixels), moved so that its eyes lie on the centres of dlib's eyes.
_RECOGNITION = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """Return the rotation, scale and shift ``[2, 3]`` that best maps points to targets (least squares).

    Args:
        points: ``[P, 2]`` pixels, P ≥ 2.
        targets: ``[P, 2]`` pixels.

    Raises:
        ValueError: all points coincide.
    """
    p, t = points - points.mean(0), targets - targets.mean(0)
    energy = (p**2).sum()
    if energy == 0:
        raise ValueError("the points coincide, so no similarity transform takes them to the targets")
    a = (p * t).sum() / energy
    b = (p[:, 0] * t[:, 1] - p[:, 1] * t[:, 0]).sum() / energy
    linear = np.array([[a, -b], [b, a]])
    return np.column_stack([linear, targets.mean(0) - linear @ points.mean(0)])


def _eye_template() -> np.ndarray:
    eyes = np.stack([DLIB_POINTS[2:4].mean(0), DLIB_POINTS[0:2].mean(0)])
    transform = similarity(_RECOGNITION[:2], eyes)
    return _RECOGNITION @ transform[:, :2].T + transform[:, 2]


TEMPLATES = {"dlib-5": DLIB_POINTS, "eyes-nose-mouth": _eye_template()}


def chip_transform(
    points: np.ndarray, layout: str, size: int = CHIP_SIZE, padding: float = PADDING
) -> np.ndarray:
    """Return the matrix ``[2, 3]`` from the frame to an aligned chip.

    Args:
        points: ``[5, 2]`` pixels of the frame.
        layout: the detector's point layout, a name in :data:`TEMPLATES`.
        size: side of the chip in pixels.
        padding: margin added on each side of the mean face's box, as a share of its side (zhou2019 §2.1:
            "extend the face bounding box with a ratio of 30%"), as in dlib's ``get_face_chip``.
    """
    targets = (TEMPLATES[layout] + padding) / (1 + 2 * padding) * size
    return similarity(points, targets)


def face_transform(box: np.ndarray, points: np.ndarray | None, layout: str) -> np.ndarray:
    """Return the matrix ``[2, 3]`` from the frame to the chip of a face: by its points, else by its box.

    Args:
        box: edges ``x0 y0 x1 y1`` in pixels of the frame.
        points: ``[5, 2]`` pixels, or None.
        layout: see :func:`chip_transform`; empty for a detector without points.
    """
    return box_transform(box) if points is None else chip_transform(points, layout)


def box_transform(box: np.ndarray, size: int = CHIP_SIZE) -> np.ndarray:
    """Return the matrix ``[2, 3]`` from the frame to a square chip around a box, as wide as its longer side.

    As in priyasad2019 §3.3, the face is not rotated and no margin is added. The square, which avoids
    stretching faces, is ours.
    """
    low, high = box[:2], box[2:]
    side = float((high - low).max())
    left, top = (low + high - side) / 2
    return window_transform((left, top, side), 1, size)


def frame_transform(height: int, width: int, size: int = CHIP_SIZE) -> np.ndarray:
    """Return the matrix ``[2, 3]`` that squeezes the whole frame into the chip, for frames without a face."""
    return resize_transform((width, height), (size, size))


def resize_transform(source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """Return the matrix ``[2, 3]`` of a resize between sizes ``(width, height)``, edges to edges."""
    scale = np.array(target) / np.array(source)
    return np.column_stack([np.diag(scale), (scale - 1) / 2])


def window_transform(window: tuple[float, float, float], chip: int, size: int) -> np.ndarray:
    """Return the matrix ``[2, 3]`` from a chip to ``size`` × ``size`` pixels that show a square of it.

    Args:
        window: left, top and side of the square, as shares of the chip's side; it may extend beyond the chip.
        chip: side of the chip in pixels.
        size: side of the output in pixels.
    """
    left, top, side = window
    scale = size / (side * chip)
    corner = np.array([left, top]) * chip - 0.5
    return np.column_stack([np.eye(2) * scale, -scale * corner - 0.5])


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """Return ``[..., 2, 3]``: ``inner``, then ``outer``. Leading axes broadcast."""
    linear = outer[..., :2] @ inner[..., :2]
    shift = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return np.concatenate([linear, shift], axis=-1)

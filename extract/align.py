"""From facial points to an aligned chip: one 2 × 3 matrix a frame.

All matrices map pixel centres ``(x, y)`` of the frame to those of the chip, so that they compose by
:func:`compose` and a frame is sampled only once.
"""

from __future__ import annotations

import numpy as np

CHIP_SIZE = 224
PADDING = 0.3

# Mean positions in the unit square of a face box. dlib's five points (image right eye: outer, inner;
# image left eye: outer, inner; base of the nose) are those of its own face chips.
DLIB_POINTS = np.array(
    [
        [0.8595674595992, 0.2134981538014],
        [0.6460604764104, 0.2289674387677],
        [0.1205750620789, 0.2137274526848],
        [0.3340850613712, 0.2290642403242],
        [0.4901123135679, 0.6277975316475],
    ]
)

# Eyes, tip of the nose, corners of the mouth (each the image's left one first): the usual template of
# face recognition (112 × 112 pixels), laid so that its eyes fall on the centres of dlib's eyes.
_RECOGNITION = np.array(
    [[38.2946, 51.6963], [73.5318, 51.5014], [56.0252, 71.7366], [41.5493, 92.3655], [70.7299, 92.2041]]
)


def similarity(points: np.ndarray, targets: np.ndarray) -> np.ndarray:
    """The rotation, scale and shift ``[2, 3]`` that takes points nearest to targets (least squares).

    Args:
        points: ``[P, 2]`` pixels, P ≥ 2.
        targets: ``[P, 2]`` pixels.
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
    """``[2, 3]`` from the frame to a ``size`` × ``size`` chip.

    ``padding`` widens the box of the mean face by that share of itself on each side (zhou2019 §2.1:
    "extend the face bounding box with a ratio of 30%"), as dlib's ``get_face_chip`` does.

    Args:
        points: ``[5, 2]`` pixels of the frame.
        layout: a name in :data:`TEMPLATES`, which the detector tells.
    """
    targets = (TEMPLATES[layout] + padding) / (1 + 2 * padding) * size
    return similarity(points, targets)


def face_transform(box: np.ndarray, points: np.ndarray | None, layout: str) -> np.ndarray:
    """``[2, 3]`` from the frame to the chip of a face: by its points, or by its box where it has none.

    Args:
        box: ``x0 y0 x1 y1`` pixels of the frame, edges.
        points: ``[5, 2]`` pixels, or None.
        layout: see :func:`chip_transform`; empty for a detector without points.
    """
    return box_transform(box) if points is None else chip_transform(points, layout)


def box_transform(box: np.ndarray, size: int = CHIP_SIZE) -> np.ndarray:
    """``[2, 3]`` from the frame to a chip that is the square about a box, as long as its longer side.

    Nothing is turned upright and nothing added around, as priyasad2019 §3.3 crops; the square, so that no
    face is stretched, is ours.
    """
    low, high = box[:2], box[2:]
    side = float((high - low).max())
    left, top = (low + high - side) / 2
    return window_transform((left, top, side), 1, size)


def frame_transform(height: int, width: int, size: int = CHIP_SIZE) -> np.ndarray:
    """``[2, 3]`` that squeezes the whole frame into the chip: what a frame without a face gives."""
    return resize_transform((width, height), (size, size))


def resize_transform(source: tuple[int, int], target: tuple[int, int]) -> np.ndarray:
    """``[2, 3]`` of a plain resize between sizes ``(width, height)``, edges on edges."""
    scale = np.array(target) / np.array(source)
    return np.column_stack([np.diag(scale), (scale - 1) / 2])


def window_transform(window: tuple[float, float, float], chip: int, size: int) -> np.ndarray:
    """``[2, 3]`` from a chip to the ``size`` × ``size`` pixels of a square in it.

    Args:
        window: left, top and side of the square, as shares of the chip's side; it may reach beyond.
        chip: the chip's side in pixels.
        size: the outcome's.
    """
    left, top, side = window
    scale = size / (side * chip)
    corner = np.array([left, top]) * chip - 0.5
    return np.column_stack([np.eye(2) * scale, -scale * corner - 0.5])


def compose(outer: np.ndarray, inner: np.ndarray) -> np.ndarray:
    """``[..., 2, 3]``: first ``inner``, then ``outer``; leading axes broadcast."""
    linear = outer[..., :2] @ inner[..., :2]
    shift = outer[..., :2] @ inner[..., 2:] + outer[..., 2:]
    return np.concatenate([linear, shift], axis=-1)

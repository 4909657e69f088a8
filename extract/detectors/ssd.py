"""Single-shot detectors (SSD) run by OpenCV, which find only boxes."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

import cv2
import numpy as np

from ..digest import sha256_of
from ..errors import ExtractError
from .base import Face, register
from .opencv import opencv_errors, try_out


@register("ssd")
class SsdDetector:
    """A single-shot detector run by OpenCV from the user's files; finds only boxes (priyasad2019 §3.3).

    Either OpenCV's own with a ResNet-10, or any network that takes 300 × 300 BGR pixels minus ``mean`` and
    returns ``[1, 1, N, 7]``: image, class, confidence, x0 y0 x1 y1 as shares of the frame. ``file`` is the
    network or its folder; a graph in a text file (``.pbtxt``, ``.prototxt``) must be beside it.
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
        weights = _network(file)
        graph = _graph(weights)
        self._files = [weights] if graph is None else [weights, graph]
        try_out("ssd", self._files)
        with opencv_errors(self._files):
            self._net = _READERS[weights.suffix].read(*map(str, self._files))
        shape = self._forward(np.zeros((self.size, self.size, 3), np.uint8)).shape
        if len(shape) != 4 or shape[:2] != (1, 1) or shape[3] != 7:
            raise ExtractError(
                f"{weights} gives {list(shape)}, expected [1, 1, N, 7] as OpenCV's face SSD does"
            )
        self._sha256 = "+".join(map(sha256_of, self._files))

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
            inside = bool(((centre >= 0) & (centre <= 1)).all())  # it may report faces outside the frame
            if row[2] >= self.threshold and inside and (box[2:] > box[:2]).all():
                faces.append(Face(box, None, float(row[2])))
        return faces

    def _forward(self, image: np.ndarray) -> np.ndarray:
        bgr = cv2.cvtColor(image, cv2.COLOR_RGB2BGR)
        with opencv_errors(self._files):
            self._net.setInput(cv2.dnn.blobFromImage(bgr, 1.0, (self.size, self.size), self.mean))
            return np.asarray(self._net.forward())


@dataclass(frozen=True)
class _Reader:
    """How OpenCV reads networks of one suffix; ``graph`` is the suffix of their text graph, if any."""

    read: Callable[..., cv2.dnn.Net]
    graph: str = ""


_READERS = {
    ".onnx": _Reader(cv2.dnn.readNetFromONNX),
    ".pb": _Reader(cv2.dnn.readNetFromTensorflow, ".pbtxt"),
}
_CAFFE: Callable[..., cv2.dnn.Net] | None = getattr(cv2.dnn, "readNetFromCaffe", None)  # up to OpenCV 4
if _CAFFE is not None:
    _READERS[".caffemodel"] = _Reader(lambda weights, graph, read=_CAFFE: read(graph, weights), ".prototxt")


def _network(path: Path) -> Path:
    """Return ``path`` if it is a network file, or the only network in the folder ``path``."""
    suffixes = ", ".join(_READERS)
    if path.is_dir():
        found = sorted(file for file in path.iterdir() if file.suffix in _READERS)
        if len(found) != 1:
            names = ", ".join(file.name for file in found) or "none"
            raise ExtractError(f"{path} holds {names} of {suffixes}, expected one; name the file")
        return found[0]
    if path.suffix == ".caffemodel" and path.suffix not in _READERS:
        raise ExtractError(
            f"{path}: OpenCV {cv2.__version__} no longer reads Caffe networks; use the same detector as "
            "opencv_face_detector_uint8.pb with its .pbtxt, or install opencv-python-headless<5"
        )
    if path.suffix not in _READERS:
        raise ExtractError(f"{path}: expected a network of {suffixes}, which OpenCV {cv2.__version__} reads")
    if not path.is_file():
        raise ExtractError(f"{path}: no such file; expected the network of an SSD face detector")
    return path


def _graph(weights: Path) -> Path | None:
    """Return the text graph beside ``weights``: the one of the same name, or else the only one."""
    suffix = _READERS[weights.suffix].graph
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

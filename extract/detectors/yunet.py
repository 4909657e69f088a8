"""YuNet, a small network that finds faces and five points on each."""

from __future__ import annotations

from pathlib import Path

import cv2
import numpy as np

from ..digest import sha256_of
from ..errors import ExtractError
from .base import Face, register, shrink
from .opencv import opencv_errors, try_out


@register("yunet")
class YuNetDetector:
    """YuNet run by OpenCV: ``yunet@FILE.onnx``, or ``yunet`` for the weights in the weights folder."""

    layout = "eyes-nose-mouth"
    threshold = 0.6
    max_side = 640

    def __init__(self, file: Path | None = None) -> None:
        from ..backbones.weights_folder import find  # which imports this package for dlib's files

        file, _ = find("yunet", str(file or ""))
        if not file.is_file():
            raise ExtractError(f"{file}: no such file; expected the ONNX file of YuNet")
        self._files = [file]
        try_out("yunet", self._files)
        network = np.frombuffer(file.read_bytes(), np.uint8)  # from a path, OpenCV would go by the suffix
        no_config = np.empty(0, np.uint8)
        with opencv_errors(self._files):
            self._net = cv2.FaceDetectorYN.create("onnx", network, no_config, (320, 320), self.threshold)
        self._sha256 = sha256_of(file)

    def settings(self) -> dict[str, object]:
        return {
            "detector": "yunet",
            "detector.threshold": self.threshold,
            "detector.max_side": self.max_side,
            "detector.weights": self._sha256,
        }

    def __call__(self, image: np.ndarray) -> list[Face]:
        bgr, scale = shrink(cv2.cvtColor(image, cv2.COLOR_RGB2BGR), self.max_side)
        with opencv_errors(self._files):
            self._net.setInputSize((bgr.shape[1], bgr.shape[0]))
            found = self._net.detect(bgr)[1]
        rows = np.empty((0, 15)) if found is None else found.astype(np.float64)
        rows = rows[np.isfinite(rows).all(axis=1)]
        faces = []
        for row in rows[np.argsort(-rows[:, 14], kind="stable")]:
            x, y, width, height = row[:4]
            corners = np.array([x, y, x + width, y + height])
            faces.append(Face(corners / scale, row[4:14].reshape(5, 2) / scale, float(row[14])))
        return faces

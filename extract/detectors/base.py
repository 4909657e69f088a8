"""The interface and the registry of face detectors: a frame in, boxes and points out."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Protocol

import cv2
import numpy as np

from ..errors import ExtractError


@dataclass(frozen=True)
class Face:
    """One detection: box ``x0 y0 x1 y1`` and points ``[5, 2]`` in pixels, and the detector's own score.

    ``points`` is None if the detector finds only boxes.
    """

    box: np.ndarray
    points: np.ndarray | None
    confidence: float


def shrink(image: np.ndarray, max_side: int) -> tuple[np.ndarray, float]:
    """Shrink an image to a longer side of at most ``max_side`` pixels; return it with its scale, 0 to 1."""
    height, width = image.shape[:2]
    scale = min(1.0, max_side / max(height, width))
    if scale == 1:
        return image, scale
    if round(min(height, width) * scale) < 1:  # a strip, which OpenCV would shrink to nothing
        size = max(1, round(width * scale)), max(1, round(height * scale))
        return cv2.resize(image, size, interpolation=cv2.INTER_AREA), scale
    return cv2.resize(image, None, fx=scale, fy=scale, interpolation=cv2.INTER_AREA), scale


class Detector(Protocol):
    """A named detector; ``layout`` names the template for aligning its points (:mod:`..align`), if any."""

    layout: str

    def settings(self) -> dict[str, object]:
        """Return the settings that affect the values, for the key."""

    def __call__(self, image: np.ndarray) -> list[Face]:
        """Return all faces in an RGB ``[H, W, 3]`` uint8 image, the most confident first."""


DETECTORS: dict[str, Callable[[Path | None], Detector]] = {}


def register(name: str) -> Callable[[Callable[[Path | None], Detector]], Callable[[Path | None], Detector]]:
    """Register a detector under ``name``; it is built with the file named by the user, or None."""

    def add(build: Callable[[Path | None], Detector]) -> Callable[[Path | None], Detector]:
        DETECTORS[name] = build
        return build

    return add


@cache
def load_detector(text: str) -> Detector:
    """Return the detector ``NAME`` or ``NAME@FILE``, or ``NAME@TAG`` for weights in the zoo.

    Raises:
        ExtractError: the name is unknown, or the file is missing or of the wrong kind.
    """
    name, _, file = text.partition("@")
    if name not in DETECTORS:
        raise ExtractError(f"there is no detector {name!r}; there are {', '.join(DETECTORS)}")
    return DETECTORS[name](Path(file) if file else None)

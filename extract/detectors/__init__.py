"""Face detectors, one file each; importing a file registers its detector."""

from . import dlib, ssd, yunet
from .base import DETECTORS, Detector, Face, load_detector

__all__ = ["DETECTORS", "Detector", "Face", "dlib", "load_detector", "ssd", "yunet"]

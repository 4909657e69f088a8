"""Tone mapping of HDR video (BT.2100: PQ and HLG) to the standard range that face networks were trained on.

PyAV's builds of FFmpeg lack ``zscale``, which ``tonemap`` needs; the conversion of swscale (FFmpeg 8 and
later) takes seconds a frame and clips highlights. So the steps are implemented here: signal to light
(BT.2100), compression of highlights (BT.2390 §5.4.1), wide gamut to BT.709 (BT.2087), and light to a standard
signal (BT.1886).
"""

from __future__ import annotations

from collections.abc import Callable
from functools import cache

import av
import cv2
import numpy as np

PQ, HLG = 16, 18  # transfer characteristics, as H.273 numbers them
BT2020 = 9  # YCbCr matrix, non-constant luminance
PEAK = 1000.0  # cd/m²: the nominal peak of HLG, and the usual grading peak of PQ films
WHITE = 203.0  # cd/m²: reference white of standard-range content in HDR (BT.2408)

_LUMA = np.array([0.2627, 0.6780, 0.0593], np.float32)  # of BT.2020
_TO_709 = np.array(
    [[1.6605, -0.5876, -0.0728], [-0.1246, 1.1329, -0.0083], [-0.0182, -0.1006, 1.1187]], np.float32
)
_STEPS = 1 << 16
_ROWS = 256  # converted at once, to limit memory


def standard_range(frame: av.VideoFrame, transfer: int) -> np.ndarray:
    """Convert a frame with ``transfer`` :data:`PQ` or :data:`HLG` to RGB ``[H, W, 3]`` uint8."""
    signal = frame.to_ndarray(format="rgb48le", src_colorspace=BT2020, dst_colorspace=BT2020)
    image = np.empty(signal.shape, np.uint8)
    for top in range(0, len(signal), _ROWS):
        rows = slice(top, top + _ROWS)
        image[rows] = _converted(signal[rows], transfer)
    return image


def _converted(signal: np.ndarray, transfer: int) -> np.ndarray:
    light = _light_of_signal(transfer)[signal]
    if transfer == HLG:
        # the scene as shown on a display of 1000 cd/m² (BT.2100, table 5: gamma 1.2)
        luma = np.maximum(cv2.transform(light, _LUMA[None]), 1e-6)
        light *= PEAK * cv2.pow(luma, 0.2)[..., None]
    grid, gains = _gains()
    light *= np.interp(light.max(-1), grid, gains).astype(np.float32)[..., None]
    narrow = cv2.transform(light, _TO_709)
    return _signal_of_light()[(np.clip(narrow, 0, 1) * (_STEPS - 1)).astype(np.uint16)]


def pq_to_light(signal: np.ndarray) -> np.ndarray:
    """Convert a PQ signal of 0 to 1 to cd/m² (SMPTE ST 2084; BT.2100, table 4)."""
    root = np.power(signal, 1 / _M2)
    return 10_000 * np.power(np.maximum(root - _C1, 0) / (_C2 - _C3 * root), 1 / _M1)


def light_to_pq(light: np.ndarray) -> np.ndarray:
    """Convert cd/m² to a PQ signal; the inverse of :func:`pq_to_light`."""
    root = np.power(light / 10_000, _M1)
    return np.power((_C1 + _C2 * root) / (1 + _C3 * root), _M2)


def hlg_to_scene(signal: np.ndarray) -> np.ndarray:
    """Convert an HLG signal of 0 to 1 to scene light of 0 to 1 (ARIB STD-B67; BT.2100, table 5)."""
    bright = (np.exp((signal - _C) / _A) + _B) / 12
    return np.where(signal <= 0.5, signal**2 / 3, bright)


def compressed(light: np.ndarray) -> np.ndarray:
    """Compress cd/m² of up to :data:`PEAK` to at most :data:`WHITE`, keeping dark and mid tones (BT.2390)."""
    peak, white = light_to_pq(np.array(PEAK)), light_to_pq(np.array(WHITE))
    top = white / peak
    knee = 1.5 * top - 0.5
    level = np.minimum(light_to_pq(light) / peak, 1)
    t = np.maximum(level - knee, 0) / (1 - knee)
    curve = (2 * t**3 - 3 * t**2 + 1) * knee + (t**3 - 2 * t**2 + t) * (1 - knee)
    curve += (3 * t**2 - 2 * t**3) * top
    return pq_to_light(np.where(level < knee, level, curve) * peak)


_M1, _M2 = 2610 / 16384, 2523 / 4096 * 128
_C1, _C2, _C3 = 3424 / 4096, 2413 / 4096 * 32, 2392 / 4096 * 32
_A, _B, _C = 0.17883277, 0.28466892, 0.55991073


@cache
def _light_of_signal(transfer: int) -> np.ndarray:
    curve: Callable[[np.ndarray], np.ndarray] = pq_to_light if transfer == PQ else hlg_to_scene
    return curve(np.linspace(0, 1, _STEPS)).astype(np.float32)


@cache
def _gains() -> tuple[np.ndarray, np.ndarray]:
    """Return light levels of a pixel's brightest channel, and the gain for each that makes white 1."""
    grid = pq_to_light(np.linspace(0.01, 1, 4096))
    return grid, compressed(grid) / grid / WHITE


@cache
def _signal_of_light() -> np.ndarray:
    return np.rint(255 * np.linspace(0, 1, _STEPS) ** (1 / 2.4)).astype(np.uint8)

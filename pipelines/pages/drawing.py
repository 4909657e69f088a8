"""The font of all pictures, text that fits, and JPEG."""

from __future__ import annotations

from functools import lru_cache
from io import BytesIO
from typing import TYPE_CHECKING

from PIL import Image, ImageFont

if TYPE_CHECKING:
    import numpy as np

QUALITY = 80


@lru_cache(maxsize=32)
def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """``size`` pixels high."""
    return ImageFont.load_default(round(size))


def elided(text: str, size: float, width: float) -> str:
    """``text`` with its end replaced by … if it is wider than ``width``."""
    letters = font(size)
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def jpeg(image: np.ndarray, height: int | None = None) -> bytes:
    """RGB ``[H, W, 3]`` as JPEG, at most ``height`` pixels high."""
    picture = Image.fromarray(image)
    if height and picture.height > height:
        size = (max(1, round(picture.width * height / picture.height)), height)
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()

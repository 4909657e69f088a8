"""Shared by all pictures: the font, text that fits a width, and JPEG encoding."""

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
    """Return the font, ``size`` pixels high."""
    return ImageFont.load_default(round(size))


def elided(text: str, size: float, width: float) -> str:
    """Shorten ``text`` with … to a width in pixels."""
    letters = font(size)
    if letters.getlength(text) <= width:
        return text
    while text and letters.getlength(text + "…") > width:
        text = text[:-1]
    return text + "…"


def jpeg(image: np.ndarray, height: int | None = None) -> bytes:
    """Encode RGB ``[H, W, 3]`` as JPEG, scaled down to at most ``height`` pixels high."""
    picture = Image.fromarray(image)
    if height and picture.height > height:
        size = (max(1, round(picture.width * height / picture.height)), height)
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()

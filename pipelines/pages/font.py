"""The font of all pictures."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont


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

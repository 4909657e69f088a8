"""The font of all pictures."""

from __future__ import annotations

from functools import lru_cache

from PIL import ImageFont


@lru_cache(maxsize=32)
def font(size: float) -> ImageFont.FreeTypeFont | ImageFont.ImageFont:
    """``size`` pixels high."""
    return ImageFont.load_default(round(size))

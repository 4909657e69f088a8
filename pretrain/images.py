"""Decodes untrusted picture files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from .errors import PretrainError

SUFFIXES = frozenset(
    {".bmp", ".gif", ".jfif", ".jpeg", ".jpg", ".pgm", ".png", ".ppm", ".tif", ".tiff", ".webp"}
)
MAX_PIXELS = 89_000_000
"""Of one picture: three bytes each while it is decoded, in several threads at once."""

# Pillow would try all that it knows otherwise, and some of that starts other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def read_image(file: Path) -> np.ndarray:
    """The picture in ``file``; see :func:`decode`. Raises :class:`OSError` too."""
    return decode(file.read_bytes())


def decode(data: bytes) -> np.ndarray:
    """A picture as uint8 ``[H, W]`` grey or ``[H, W, 3]`` RGB, upright as its EXIF says.

    16 bits a value become 8, what is transparent becomes black, of an animation the first frame counts.
    A file that is cut short is refused: half a face teaches nothing.

    Raises:
        PretrainError: it is none, or too large.
    """
    if not data:
        raise PretrainError("an empty file")
    try:
        image = Image.open(io.BytesIO(data), formats=_FORMATS)
        width, height = image.size
        if width * height > MAX_PIXELS:
            raise PretrainError(
                f"{width} × {height} pixels, more than {MAX_PIXELS // 10**6} million: shrink it"
            )
        return _eight_bits(ImageOps.exif_transpose(image))
    except UnidentifiedImageError as error:
        raise PretrainError(_what_it_is(data)) from error
    except Image.DecompressionBombError as error:
        raise PretrainError(f"more than {MAX_PIXELS // 10**6} million pixels: shrink it") from error
    except (OSError, SyntaxError) as error:  # the latter is what Pillow raises for some broken PNGs
        raise PretrainError(f"cannot be decoded: {error}") from error


def _eight_bits(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits a pixel, in 16 or in 32
        return (np.asarray(image).astype(np.int64).clip(0, 65535) // 257).astype(np.uint8)
    if image.mode == "F":
        raise PretrainError(
            "its pixels are floating-point numbers of unknown range: save it with 8 bits a colour"
        )
    if "A" in image.getbands() or "transparency" in image.info:
        seen = Image.new("RGBA", image.size, "black")
        seen.alpha_composite(image.convert("RGBA"))
        return np.asarray(seen.convert("RGB"))
    return np.asarray(image if image.mode == "L" else image.convert("RGB"))


def _what_it_is(data: bytes) -> str:
    if data[:200].lstrip().lower().startswith((b"<!doctype", b"<html", b"<?xml")):
        return "a web page, not a picture: fetch it again"
    return "not a picture of a known format"

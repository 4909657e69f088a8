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
"""Maximum pixels of a picture; each takes three bytes while decoded, in several threads at once."""

# By default Pillow tries all its formats, and some of them start other programs.
_FORMATS = ("BMP", "GIF", "JPEG", "PNG", "PPM", "TIFF", "WEBP")


def read_image(file: Path) -> np.ndarray:
    """Read the picture in ``file``; see :func:`decode`. Also raises :class:`OSError`."""
    return decode(file.read_bytes())


def decode(data: bytes) -> np.ndarray:
    """Decode a picture to uint8 ``[H, W]`` grey or ``[H, W, 3]`` RGB, rotated according to its EXIF.

    16-bit values become 8-bit, transparent areas become black, and only the first frame of an animation is
    used. Truncated files are refused: half a face teaches nothing.

    Raises:
        PretrainError: it is not a picture, or too large.
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
    except (OSError, SyntaxError) as error:  # Pillow raises SyntaxError for some broken PNGs
        raise PretrainError(f"cannot be decoded: {error}") from error


def _eight_bits(image: Image.Image) -> np.ndarray:
    if image.mode.startswith("I"):  # 16 bits a pixel, stored in 16 or 32
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

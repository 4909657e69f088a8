"""Frames of clips as small JPEG pictures."""

from __future__ import annotations

from collections.abc import Sequence
from io import BytesIO
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    import numpy as np

QUALITY = 80


def frames_at(path: Path, times: Sequence[float]) -> list[np.ndarray]:
    """The frames of a clip nearest to ``times`` (seconds), RGB ``[H, W, 3]`` uint8, one a time.

    Raises:
        ClipError: the file is gone, cannot be read, or has no frames.
    """
    from ...extract.decode.media import Media
    from ...extract.errors import ClipError

    media = Media(path)
    if not media.has_video:
        raise ClipError("it has no pictures, only sound")
    nearest: list[np.ndarray | None] = [None] * len(times)
    distances = [float("inf")] * len(times)
    for frame in media.frames():
        for place, time in enumerate(times):
            if abs(frame.time - time) < distances[place]:
                distances[place] = abs(frame.time - time)
                nearest[place] = frame.image
    found = [image for image in nearest if image is not None]
    if len(found) < len(times):
        raise ClipError("no frame of it can be read")
    return found


def jpeg(image: np.ndarray, height: int | None = None) -> bytes:
    """An RGB picture as JPEG, made smaller to ``height`` pixels where it is higher."""
    from PIL import Image

    picture = Image.fromarray(image)
    if height and picture.height > height:
        size = (max(1, round(picture.width * height / picture.height)), height)
        picture = picture.resize(size, Image.Resampling.LANCZOS, reducing_gap=2)
    buffer = BytesIO()
    picture.save(buffer, "JPEG", quality=QUALITY)
    return buffer.getvalue()

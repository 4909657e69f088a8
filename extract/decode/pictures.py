"""Converts decoded frames to the pictures that a viewer sees: standard range, square pixels, upright."""

from __future__ import annotations

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from ..errors import ClipError
from .hdr import HLG, PQ, standard_range

NEARLY_SQUARE = 0.01  # an invisible deviation of the aspect: encoders round, and resizing blurs
WIDEST = 4.0  # a more extreme pixel aspect is a broken header
MOST_PIXELS = 1 << 26  # of a picture as shown, twice 8K: 200 MB as RGB, several times that in processing


def picture(frame: av.VideoFrame, stream: VideoStream) -> np.ndarray:
    """Return a frame of ``stream`` as a player shows it: RGB ``[H, W, 3]`` uint8."""
    transfer = stream.codec_context.color_trc
    if transfer in (PQ, HLG):
        image = standard_range(frame, transfer)
    else:
        image = frame.to_ndarray(format="rgb24")
    return _upright(_square(image, pixel_aspect(stream)), frame.rotation)


def largest_picture() -> dict[str, str]:
    """Return the FFmpeg option that refuses larger pictures before memory is allocated for them.

    FFmpeg decodes some pictures while it probes a file, and the header may declare a different size.
    """
    return {"max_pixels": str(MOST_PIXELS)}


def refuse_huge(stream: VideoStream) -> None:
    """Raise ClipError if the pictures of ``stream`` have more than :data:`MOST_PIXELS` pixels."""
    aspect = pixel_aspect(stream)
    if stream.width * stream.height * max(aspect, 1 / aspect) > MOST_PIXELS:
        raise ClipError(
            f"its pictures have {stream.width} × {stream.height} pixels, and at most {MOST_PIXELS >> 20} "
            "million are read; scale the video down"
        )


def pixel_aspect(stream: VideoStream) -> float:
    """Return the width of a pixel over its height; 1 if the file has none, or an impossible one."""
    aspect = float(stream.sample_aspect_ratio or 1)
    possible = 1 / WIDEST <= aspect <= WIDEST
    return aspect if possible and abs(aspect - 1) > NEARLY_SQUARE else 1.0


def describe(stream: VideoStream) -> list[str]:
    """List the changes that :func:`picture` makes to frames of ``stream``, for the store."""
    transfer = {PQ: "PQ", HLG: "HLG"}.get(stream.codec_context.color_trc)
    changes = [f"tone-mapped from {transfer}"] if transfer else []
    if pixel_aspect(stream) != 1:
        changes.append(f"stretched from pixels of {stream.sample_aspect_ratio}")
    return changes


def _square(image: np.ndarray, aspect: float) -> np.ndarray:
    """Make pixels square by stretching the compressed side, so that no detail is lost."""
    if aspect == 1:
        return image
    height, width = image.shape[:2]
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _upright(image: np.ndarray, degrees: int) -> np.ndarray:
    """Apply the container's rotation."""
    return np.ascontiguousarray(np.rot90(image, round(degrees / 90) % 4))

"""From a decoded frame to the picture that a viewer sees: standard range, square pixels, upright."""

from __future__ import annotations

import av
import cv2
import numpy as np
from av.video.stream import VideoStream

from ..errors import ClipError
from .hdr import HLG, PQ, standard_range

NEARLY_SQUARE = 0.01  # a difference of aspect that nobody sees: encoders round, and a resize blurs
WIDEST = 4.0  # beyond it a pixel's aspect is a broken header
MOST_PIXELS = (
    1 << 26
)  # of a picture as shown, twice 8K: 200 MB as RGB, a few times that while it is worked on


def picture(frame: av.VideoFrame, stream: VideoStream) -> np.ndarray:
    """RGB ``[H, W, 3]`` uint8, as a player shows a frame of ``stream``."""
    transfer = stream.codec_context.color_trc
    if transfer in (PQ, HLG):
        image = standard_range(frame, transfer)
    else:
        image = frame.to_ndarray(format="rgb24")
    return _upright(_square(image, pixel_aspect(stream)), frame.rotation)


def largest_picture() -> dict[str, str]:
    """FFmpeg's option by which it refuses larger pictures before it takes memory for them.

    It decodes some to see what a file holds, and a file may have another size in its header.
    """
    return {"max_pixels": str(MOST_PIXELS)}


def refuse_huge(stream: VideoStream) -> None:
    """Raises ClipError where the pictures of ``stream`` have more than :data:`MOST_PIXELS` pixels."""
    aspect = pixel_aspect(stream)
    if stream.width * stream.height * max(aspect, 1 / aspect) > MOST_PIXELS:
        raise ClipError(
            f"its pictures have {stream.width} × {stream.height} pixels, and at most {MOST_PIXELS >> 20} "
            "million are read; scale the video down"
        )


def pixel_aspect(stream: VideoStream) -> float:
    """Width of a pixel over its height; 1 where the file does not tell, or tells what cannot be."""
    aspect = float(stream.sample_aspect_ratio or 1)
    possible = 1 / WIDEST <= aspect <= WIDEST
    return aspect if possible and abs(aspect - 1) > NEARLY_SQUARE else 1.0


def describe(stream: VideoStream) -> list[str]:
    """What :func:`picture` changes in frames of ``stream``, for the store."""
    transfer = {PQ: "PQ", HLG: "HLG"}.get(stream.codec_context.color_trc)
    told = [f"tone-mapped from {transfer}"] if transfer else []
    if pixel_aspect(stream) != 1:
        told.append(f"stretched from pixels of {stream.sample_aspect_ratio}")
    return told


def _square(image: np.ndarray, aspect: float) -> np.ndarray:
    """The side that is shown too short is stretched, so that nothing is lost."""
    if aspect == 1:
        return image
    height, width = image.shape[:2]
    size = (round(width * aspect), height) if aspect > 1 else (width, round(height / aspect))
    return cv2.resize(image, size, interpolation=cv2.INTER_LINEAR)


def _upright(image: np.ndarray, degrees: int) -> np.ndarray:
    """The picture as a camera's owner held it: the container's rotation applied."""
    return np.ascontiguousarray(np.rot90(image, round(degrees / 90) % 4))

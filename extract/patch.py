"""The part of a frame that its views are sampled from: what travels to a process that has the networks."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .align import compose, resize_transform


def halved(frame: np.ndarray, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """The frame as views are sampled from it, and the matrices from its pixels.

    A frame that would shrink below a half is first halved by area averaging, as often as needed, so
    that the bilinear sampling does not alias.

    Args:
        frame: ``[H, W, 3]`` uint8.
        matrices: ``[V, 2, 3]`` from the frame's pixels to the view's.
    """
    scale = np.sqrt(np.abs(np.linalg.det(matrices[..., :2]))).max()
    halvings = int(np.floor(np.log2(1 / scale))) if scale < 0.5 else 0
    if halvings <= 0:
        return frame, matrices
    height, width = frame.shape[:2]
    target = (max(1, width >> halvings), max(1, height >> halvings))
    small = cv2.resize(frame, target, interpolation=cv2.INTER_AREA)
    return small, compose(matrices, resize_transform(target, (width, height)))


def patch(frame: np.ndarray, matrices: np.ndarray, size: int) -> tuple[np.ndarray, np.ndarray]:
    """The smallest part of a frame, halved if need be, that has all pixels of its views; and the matrices
    from its pixels. What views show beyond the frame is black beyond the patch, too.

    Args:
        frame: ``[H, W, 3]`` uint8.
        matrices: ``[V, 2, 3]`` from the frame's pixels to the view's.
        size: pixels of a view's side.
    """
    frame, matrices = halved(frame, matrices)
    end = size - 1
    seen = inverses(matrices) @ np.array([[0, end, 0, end], [0, 0, end, end], [1, 1, 1, 1]])
    extent = np.array(frame.shape[1::-1])
    # Bilinear sampling reads one pixel more on each side.
    first = np.clip(np.floor(seen.min((0, 2))) - 1, 0, extent - 1).astype(int)
    last = np.clip(np.ceil(seen.max((0, 2))) + 2, first + 1, extent).astype(int)
    moved = np.column_stack([np.eye(2), first])
    return frame[first[1] : last[1], first[0] : last[0]], compose(matrices, moved)


def inverses(matrices: np.ndarray) -> np.ndarray:
    """``[..., 2, 3]`` from the views' pixels back to the frame's."""
    below = np.broadcast_to([[0.0, 0.0, 1.0]], (*matrices.shape[:-2], 1, 3))
    return np.linalg.inv(np.concatenate([matrices, below], axis=-2))[..., :2, :]


def side_by_side(patches: Sequence[np.ndarray]) -> np.ndarray:
    """``[T, H, W, 3]`` uint8: patches, each with black to the right and below where another is larger."""
    height, width = (max(patch.shape[axis] for patch in patches) for axis in (0, 1))
    block = np.zeros((len(patches), height, width, 3), np.uint8)
    for place, part in zip(block, patches, strict=True):
        place[: part.shape[0], : part.shape[1]] = part
    return block

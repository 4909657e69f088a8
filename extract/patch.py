"""Patches: the part of a frame that its views show. Workers send patches to the network processes."""

from __future__ import annotations

from collections.abc import Sequence

import cv2
import numpy as np

from .align import compose, resize_transform


def halved(frame: np.ndarray, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Halve a frame if its views are much smaller; return it with the matrices from its pixels.

    A frame that would shrink to less than half is first halved by area averaging, as often as needed, so that
    bilinear sampling does not alias.

    Args:
        frame: ``[H, W, 3]`` uint8.
        matrices: ``[V, 2, 3]`` from the frame's pixels to those of each view.
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
    """Crop a frame, halved if necessary, to its views; return it with the matrices from its pixels.

    The patch contains every pixel that the views show; beyond frame and patch, views are black.

    Args:
        frame: ``[H, W, 3]`` uint8.
        matrices: ``[V, 2, 3]`` from the frame's pixels to those of each view.
        size: side of a view in pixels.
    """
    frame, matrices = halved(frame, matrices)
    end = size - 1
    seen = inverses(matrices) @ np.array([[0, end, 0, end], [0, 0, end, end], [1, 1, 1, 1]])
    extent = np.array(frame.shape[1::-1])
    # Bilinear sampling reads one more pixel on each side.
    first = np.clip(np.floor(seen.min((0, 2))) - 1, 0, extent - 1).astype(int)
    last = np.clip(np.ceil(seen.max((0, 2))) + 2, first + 1, extent).astype(int)
    moved = np.column_stack([np.eye(2), first])
    return frame[first[1] : last[1], first[0] : last[0]], compose(matrices, moved)


def inverses(matrices: np.ndarray) -> np.ndarray:
    """Return the inverse matrices ``[..., 2, 3]``, from the views' pixels to the frame's."""
    below = np.broadcast_to([[0.0, 0.0, 1.0]], (*matrices.shape[:-2], 1, 3))
    return np.linalg.inv(np.concatenate([matrices, below], axis=-2))[..., :2, :]


def side_by_side(patches: Sequence[np.ndarray]) -> np.ndarray:
    """Stack patches to ``[T, H, W, 3]`` uint8, padded with black on the right and below."""
    height, width = (max(patch.shape[axis] for patch in patches) for axis in (0, 1))
    block = np.zeros((len(patches), height, width, 3), np.uint8)
    for place, part in zip(block, patches, strict=True):
        place[: part.shape[0], : part.shape[1]] = part
    return block

"""Samples views from frames: the only interpolation between a decoded frame and a network."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .patch import halved, inverses
from .stopwatch import WARP, clocked


@clocked(WARP)
def warp(frame: np.ndarray, matrices: np.ndarray, size: int, device: torch.device) -> torch.Tensor:
    """Sample all views of one frame, ``[V, size, size, 3]`` uint8 on ``device``, black outside the frame.

    A frame that would shrink to less than half is halved first (:func:`.patch.halved`).

    Args:
        frame: ``[H, W, 3]`` uint8.
        matrices: ``[V, 2, 3]`` from the frame's pixels to those of each view.
        size: side of a view in pixels.
        device: device to sample on.
    """
    frame, matrices = halved(frame, matrices)
    if device.type == "cpu":
        return torch.from_numpy(warp_cpu(frame, matrices, size))
    back = torch.from_numpy(inverses(matrices)).to(device, torch.float32)
    return warp_device(torch.from_numpy(frame)[None].to(device), back[None], size)


def warp_cpu(frame: np.ndarray, matrices: np.ndarray, size: int) -> np.ndarray:
    """Sample the views of a frame that needs no halving, ``[V, size, size, 3]``."""
    views = np.empty((len(matrices), size, size, 3), np.uint8)
    for view, matrix in zip(views, matrices, strict=True):
        cv2.warpAffine(frame, matrix, (size, size), dst=view, flags=cv2.INTER_LINEAR)
    return views


def warp_device(frames: torch.Tensor, back: torch.Tensor, size: int) -> torch.Tensor:
    """Sample the views of many frames that need no halving, in one call: ``[T * V, size, size, 3]``.

    Args:
        frames: ``[T, H, W, 3]`` uint8.
        back: ``[T, V, 2, 3]`` float32, from the views' pixels to the frame's, on the same device.
        size: side of a view in pixels.
    """
    count, height, width = frames.shape[:3]
    line = torch.arange(size, device=frames.device, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ back.transpose(-1, -2)[:, :, None]
    # Scalars, as a tensor of both sides would have to be copied to the device, which waits for everything.
    sides = zip(pixels.unbind(-1), (width, height), strict=True)
    grid = torch.stack([(2 * pixel + 1) / side - 1 for pixel, side in sides], dim=-1)
    grid = grid.reshape(count, -1, size, 2)  # a frame's views stacked vertically
    source = frames.permute(0, 3, 1, 2).float()
    views = F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    views = views.round().to(torch.uint8).reshape(count, 3, -1, size, size)
    return views.permute(0, 2, 3, 4, 1).reshape(-1, size, size, 3)

"""Sampling views out of frames: the one interpolation between a decoded frame and a network."""

from __future__ import annotations

import cv2
import numpy as np
import torch
import torch.nn.functional as F

from .align import compose, resize_transform
from .stopwatch import WARP, clocked


@clocked(WARP)
def warp(frame: np.ndarray, matrices: np.ndarray, size: int, device: torch.device) -> torch.Tensor:
    """All views of one frame, ``[V, size, size, 3]`` uint8 on ``device``; outside the frame is black.

    A frame that would shrink below a half is first halved by area averaging, as often as needed, so
    that the bilinear sampling does not alias.

    Args:
        frame: ``[H, W, 3]`` uint8.
        matrices: ``[V, 2, 3]`` from the frame's pixels to the view's.
    """
    frame, matrices = _halved(frame, matrices)
    if device.type == "cpu":
        return torch.from_numpy(_warp_cpu(frame, matrices, size))
    return _warp_device(torch.from_numpy(frame).to(device), matrices, size)


def _halved(frame: np.ndarray, matrices: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    scale = np.sqrt(np.abs(np.linalg.det(matrices[..., :2]))).max()
    halvings = int(np.floor(np.log2(1 / scale))) if scale < 0.5 else 0
    if halvings <= 0:
        return frame, matrices
    height, width = frame.shape[:2]
    target = (max(1, width >> halvings), max(1, height >> halvings))
    small = cv2.resize(frame, target, interpolation=cv2.INTER_AREA)
    return small, compose(matrices, resize_transform(target, (width, height)))


def _warp_cpu(frame: np.ndarray, matrices: np.ndarray, size: int) -> np.ndarray:
    views = np.empty((len(matrices), size, size, 3), np.uint8)
    for view, matrix in zip(views, matrices, strict=True):
        cv2.warpAffine(frame, matrix, (size, size), dst=view, flags=cv2.INTER_LINEAR)
    return views


def _warp_device(frame: torch.Tensor, matrices: np.ndarray, size: int) -> torch.Tensor:
    height, width = frame.shape[:2]
    full = np.concatenate([matrices, np.tile([[[0.0, 0.0, 1.0]]], (len(matrices), 1, 1))], axis=1)
    back = torch.from_numpy(np.linalg.inv(full)[:, :2]).to(frame.device, torch.float32)
    line = torch.arange(size, device=frame.device, dtype=torch.float32)
    y, x = torch.meshgrid(line, line, indexing="ij")
    pixels = torch.stack([x, y, torch.ones_like(x)], dim=-1) @ back.transpose(1, 2)[:, None]
    extent = torch.tensor([width, height], device=frame.device)
    grid = (2 * pixels + 1) / extent - 1
    source = frame.permute(2, 0, 1)[None].float().expand(len(matrices), -1, -1, -1)
    views = F.grid_sample(source, grid, mode="bilinear", padding_mode="zeros", align_corners=False)
    return views.round().to(torch.uint8).permute(0, 2, 3, 1)

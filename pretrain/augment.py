"""Augmentation of a batch of faces, on its device, with one interpolation."""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from .recipe import Augmentation


def augment(pixels: Tensor, size: int, changes: Augmentation, generator: torch.Generator) -> Tensor:
    """Augment ``[B, S, S, K]`` uint8 pictures at random, to ``[B, K, size, size]`` float32 of 0-255.

    The generator is on the CPU, so that a seed gives the same changes on any device. Areas outside the
    picture repeat its edge.
    """
    draw = _Draw(len(pixels), generator, pixels.device)
    faces = _warped(pixels.permute(0, 3, 1, 2).float(), size, changes, draw)
    faces = _blurred(faces, changes.blur * size / pixels.shape[1], draw)
    faces = _lit(faces, changes.light, draw)
    faces = faces + draw.normal(size * size).reshape(-1, 1, size, size) * draw.up_to(changes.noise)
    return _erased(faces.clamp(0, 255), changes.erase, draw)


def plain(pixels: Tensor, size: int) -> Tensor:
    """Convert ``[B, S, S, K]`` uint8 to ``[B, K, size, size]`` float32 of 0-255, changing only the size."""
    faces = pixels.permute(0, 3, 1, 2).float()
    if pixels.shape[1] == size:
        return faces
    return functional.interpolate(faces, (size, size), mode="bilinear", antialias=True)


def warp_to_view(pixels: Tensor, matrix: np.ndarray) -> Tensor:
    """Warp ``[B, S, S, K]`` uint8 to ``[B, K, S, S]`` float32 of 0-255 by a ``[2, 3]`` matrix of pixels.

    The matrix is one of :meth:`avemo.extract.views.ViewSet.matrices`; areas outside the picture repeat its
    edge.
    """
    count, size, _, channels = pixels.shape
    to_unit = np.array([[2 / size, 0, 1 / size - 1], [0, 2 / size, 1 / size - 1], [0, 0, 1]])
    whole = np.vstack([matrix, [0, 0, 1]])
    back = to_unit @ np.linalg.inv(whole) @ np.linalg.inv(to_unit)
    theta = torch.from_numpy(back[:2]).to(pixels.device, torch.float32).expand(count, 2, 3)
    grid = functional.affine_grid(theta, [count, channels, size, size], align_corners=False)
    faces = pixels.permute(0, 3, 1, 2).float()
    return functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)


class _Draw:
    """Draws random numbers, ``[B, 1, 1, 1]`` each, except for :meth:`normal`."""

    def __init__(self, count: int, generator: torch.Generator, device: torch.device) -> None:
        self._count, self._generator, self._device = count, generator, device

    def uniform(self) -> Tensor:
        """0 to 1."""
        return torch.rand(self._count, 1, 1, 1, generator=self._generator).to(self._device)

    def up_to(self, most: float) -> Tensor:
        return self.uniform() * most

    def around(self, most: float) -> Tensor:
        """``-most`` to ``most``."""
        return (2 * self.uniform() - 1) * most

    def normal(self, values: int) -> Tensor:
        """``[B, values]`` of deviation 1."""
        return torch.randn(self._count, values, generator=self._generator).to(self._device)


def _warped(faces: Tensor, size: int, changes: Augmentation, draw: _Draw) -> Tensor:
    angle = draw.around(math.radians(changes.rotate))
    scale = torch.exp(draw.around(math.log(changes.scale)))
    mirror = torch.where(draw.uniform() < 0.5, -1.0, 1.0) if changes.flip else torch.ones_like(scale)
    across, down = draw.around(2 * changes.shift), draw.around(2 * changes.shift)
    cos, sin = torch.cos(angle) / scale, torch.sin(angle) / scale
    matrices = torch.cat(
        [torch.cat([cos * mirror, -sin, across], -1), torch.cat([sin * mirror, cos, down], -1)], -2
    ).squeeze(1)
    grid = functional.affine_grid(matrices, [len(faces), 1, size, size], align_corners=False)
    return functional.grid_sample(faces, grid, padding_mode="border", align_corners=False)


def _blurred(faces: Tensor, most: float, draw: _Draw) -> Tensor:
    """Blur half of the faces, each with a Gaussian of its own width."""
    blurs = draw.uniform() < 0.5
    deviation = draw.up_to(most).clamp(min=1e-2)
    if most <= 0:
        return faces
    line = torch.arange(-2, 3, device=faces.device, dtype=torch.float32).reshape(1, 1, 1, 5)
    kernel = torch.exp(-0.5 * (line / deviation) ** 2)
    kernel = torch.where(blurs, kernel, (line == 0).float())
    kernel = (kernel / kernel.sum(-1, keepdim=True)).repeat_interleave(faces.shape[1], 0)
    count, channels, height, width = faces.shape
    flat = faces.reshape(1, count * channels, height, width)
    padded = functional.pad(flat, (2, 2, 2, 2), mode="replicate")
    flat = functional.conv2d(padded, kernel, groups=count * channels)
    flat = functional.conv2d(flat, kernel.transpose(2, 3), groups=count * channels)
    return flat.reshape(count, channels, height, width)


def _lit(faces: Tensor, light: float, draw: _Draw) -> Tensor:
    contrast, brightness = torch.exp(draw.around(light)), draw.around(light / 2 * 255)
    direction, strength = draw.around(math.pi), draw.up_to(light / 2 * 255)
    line = torch.linspace(-1, 1, faces.shape[-1], device=faces.device)
    ramp = torch.cos(direction) * line[None, None, None, :] + torch.sin(direction) * line[None, None, :, None]
    mean = faces.mean((1, 2, 3), keepdim=True)
    return (faces - mean) * contrast + mean + brightness + strength * ramp


def _erased(faces: Tensor, share: float, draw: _Draw) -> Tensor:
    """Set a rectangle of some faces to the face's mean (Zhong et al. 2020, arXiv:1708.04896)."""
    erased = draw.uniform() < share
    area, ratio = 0.02 + draw.up_to(0.18), torch.exp(draw.around(math.log(2.0)))
    height, width = (area * ratio).sqrt(), (area / ratio).sqrt()
    top, left = draw.uniform() * (1 - height), draw.uniform() * (1 - width)
    line = (torch.arange(faces.shape[-1], device=faces.device) + 0.5) / faces.shape[-1]
    x, y = line[None, None, None, :], line[None, None, :, None]
    inside = (x >= left) & (x < left + width) & (y >= top) & (y < top + height)
    return torch.where(erased & inside, faces.mean((1, 2, 3), keepdim=True), faces)

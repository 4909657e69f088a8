"""Preprocessing of pictures for a network."""

from __future__ import annotations

from dataclasses import dataclass

import torch
from torch import Tensor

from ..extract.backbones import BackboneSpec


@dataclass(frozen=True)
class Normalisation:
    """Computes ``(x - mean) / std`` of 0-255 values by channel, as stage 1 does for the same network."""

    size: int
    mean: tuple[float, ...]
    std: tuple[float, ...]
    bgr: bool = False

    @classmethod
    def of(cls, spec: BackboneSpec) -> Normalisation:
        return cls(spec.input_size, spec.mean, spec.std, spec.colour == "bgr")

    def __call__(self, faces: Tensor) -> Tensor:
        """Convert ``[B, K, S, S]`` of 0-255, grey or RGB, to the network's input, channels last."""
        if self.bgr:
            faces = faces.flip(1)
        mean, std = (torch.tensor(v, device=faces.device).reshape(1, -1, 1, 1) for v in (self.mean, self.std))
        return ((faces - mean) / std).contiguous(memory_format=torch.channels_last)

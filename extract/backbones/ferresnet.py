"""FerResNet: a compact residual network for the expressions of small grey faces.

Eight residual blocks (He et al. 2016, arXiv:1512.03385) on 24 × 24, 12 × 12 and 6 × 6 maps, about 4.4
million parameters and 330 million multiply-adds for a face of 48 × 48 grey pixels, the format of FER2013.
The network first removes each face's own mean and contrast, so that dark and pale recordings look alike to
it.
"""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

FEATURES = 512

_STAGES = ((64, 2), (128, 3), (256, 3))
# In values of 0-1: contrast below about one grey level is not raised to full contrast.
_LEAST_DEVIATION = 1 / 255


class FerResNet(nn.Module):
    """``[N, 1, S, S]`` grey faces, 0-1, → ``[N, 512]`` non-negative features.

    ``S`` is 48; any size from 16 works, for example to train on smaller faces first.

    Args:
        stages: channels and number of blocks of each stage; each stage halves the maps of the previous one.
    """

    def __init__(self, stages: Sequence[tuple[int, int]] = _STAGES) -> None:
        super().__init__()
        width = stages[0][0]
        self.stem = _convolution(1, width, kernel=5, stride=2)
        self.body = nn.Sequential()
        for stage, (channels, blocks) in enumerate(stages):
            for block in range(blocks):
                stride = 2 if stage > 0 and block == 0 else 1
                self.body.append(_Block(width, channels, stride))
                width = channels
        self.top = _convolution(width, FEATURES, kernel=1)

    def forward(self, faces: Tensor) -> Tensor:
        maps = torch.relu(self.top(self.body(torch.relu(self.stem(_standardised(faces))))))
        return maps.mean((2, 3))


class _Block(nn.Module):
    """Two 3 × 3 convolutions and a shortcut, which averages if the block halves the map."""

    def __init__(self, width: int, channels: int, stride: int) -> None:
        super().__init__()
        self.residual = nn.Sequential(
            *_convolution(width, channels, stride=stride), nn.ReLU(), *_convolution(channels, channels)
        )
        self.shortcut = nn.Sequential()
        if stride > 1:
            self.shortcut.append(nn.AvgPool2d(stride, ceil_mode=True))
        if width != channels:
            self.shortcut.extend(_convolution(width, channels, kernel=1))

    def forward(self, maps: Tensor) -> Tensor:
        return torch.relu(self.residual(maps) + self.shortcut(maps))


def _convolution(width: int, channels: int, kernel: int = 3, stride: int = 1) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(width, channels, kernel, stride, padding=kernel // 2, bias=False), nn.BatchNorm2d(channels)
    )


def _standardised(faces: Tensor) -> Tensor:
    """Scale each face to mean 0 and deviation 1."""
    values = faces.float()
    deviation, mean = torch.std_mean(values, dim=(1, 2, 3), keepdim=True, correction=0)
    return ((values - mean) / deviation.clamp(min=_LEAST_DEVIATION)).to(faces.dtype)

"""IR-50, the improved residual network of ArcFace (Deng et al., 2019), and IR-SE-50, with channel attention.

IR-50 is as published by face.evoLVe, IR-SE-50 as published by InsightFace_Pytorch.
"""

from __future__ import annotations

import torch.nn.functional as F
from torch import Tensor, nn

# channels, blocks; the first block of each stage halves the map
_STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))
_SQUEEZE = 16
_REDUCTION = 16  # of the input's side, by the four stages


class IR50(nn.Module):
    """``[N, 3, size, size] → [N, 512]``; with ``attention``, every block weights its channels."""

    def __init__(self, attention: bool = False, size: int = 112) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        blocks: list[nn.Module] = []
        channels = 64
        for out_channels, count in _STAGES:
            for index in range(count):
                stride = 2 if index == 0 else 1
                blocks.append(ImprovedResidual(channels, out_channels, stride, attention))
                channels = out_channels
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512),
            nn.Dropout(),
            nn.Flatten(),
            nn.Linear(512 * (size // _REDUCTION) ** 2, 512),
            nn.BatchNorm1d(512),
        )

    def forward(self, faces: Tensor) -> Tensor:
        return self.output_layer(self.body(self.input_layer(faces)))


class IRSE50(IR50):
    """``[N, 3, size, size] → [N, 512]``, L2-normalised, as trained and published."""

    def __init__(self, size: int = 112) -> None:
        super().__init__(attention=True, size=size)

    def forward(self, faces: Tensor) -> Tensor:
        return F.normalize(super().forward(faces))


class ImprovedResidual(nn.Module):
    """BN, 3×3, PReLU, 3×3, BN and optional attention, added to the (subsampled or projected) input."""

    def __init__(self, channels: int, out_channels: int, stride: int, attention: bool) -> None:
        super().__init__()
        self.shortcut_layer: nn.Module
        if channels == out_channels:
            self.shortcut_layer = nn.MaxPool2d(1, stride)
        else:
            self.shortcut_layer = nn.Sequential(
                nn.Conv2d(channels, out_channels, 1, stride, bias=False), nn.BatchNorm2d(out_channels)
            )
        self.res_layer = nn.Sequential(
            nn.BatchNorm2d(channels),
            nn.Conv2d(channels, out_channels, 3, padding=1, bias=False),
            nn.PReLU(out_channels),
            nn.Conv2d(out_channels, out_channels, 3, stride, padding=1, bias=False),
            nn.BatchNorm2d(out_channels),
        )
        if attention:
            self.res_layer.append(ChannelAttention(out_channels))

    def forward(self, maps: Tensor) -> Tensor:
        return self.res_layer(maps) + self.shortcut_layer(maps)


class ChannelAttention(nn.Module):
    """Squeeze and excitation (Hu et al. 2018, arXiv:1709.01507): scales each channel by 0-1."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.fc1 = nn.Conv2d(channels, channels // _SQUEEZE, 1, bias=False)
        self.fc2 = nn.Conv2d(channels // _SQUEEZE, channels, 1, bias=False)

    def forward(self, maps: Tensor) -> Tensor:
        means = maps.mean((2, 3), keepdim=True)
        return maps * self.fc2(self.fc1(means).relu()).sigmoid()

"""MobileFaceNet: a small face recognition network (Chen et al., "MobileFaceNets", 2018)."""

from __future__ import annotations

from torch import Tensor, nn

# expansion, channels, blocks, stride of the first block: table 1 of the paper
_STAGES = ((2, 64, 5, 2), (4, 128, 1, 2), (2, 128, 6, 1), (4, 128, 1, 2), (2, 128, 2, 1))


class MobileFaceNet(nn.Module):
    """``[N, 3, 112, 112] → [N, 128]``: depthwise 7×7 pooling, a 1×1 convolution, a batch norm.

    The variant with ReLU6 instead of PReLU (github.com/foamliu/MobileFaceNet).
    """

    def __init__(self) -> None:
        super().__init__()
        self.conv1 = _conv_bn_relu(3, 64, kernel=3, stride=2)
        self.dw_conv = DepthwiseSeparable(64)
        blocks: list[nn.Module] = []
        channels = 64
        for expansion, out_channels, count, stride in _STAGES:
            for index in range(count):
                blocks.append(
                    InvertedResidual(channels, out_channels, stride if index == 0 else 1, expansion)
                )
                channels = out_channels
        self.features = nn.Sequential(*blocks)
        self.conv2 = _conv_bn_relu(channels, 512, kernel=1)
        self.gdconv = GlobalDepthwise(512, size=7)
        self.conv3 = nn.Conv2d(512, 128, 1)
        self.bn = nn.BatchNorm2d(128)

    def forward(self, faces: Tensor) -> Tensor:
        maps = self.conv2(self.features(self.dw_conv(self.conv1(faces))))
        return self.bn(self.conv3(self.gdconv(maps))).flatten(1)


class DepthwiseSeparable(nn.Module):
    """A 3×3 depthwise and a 1×1 convolution, each with batch norm and ReLU."""

    def __init__(self, channels: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, 3, padding=1, groups=channels, bias=False)
        self.bn1 = nn.BatchNorm2d(channels)
        self.pointwise = nn.Conv2d(channels, channels, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(channels)
        self.relu = nn.ReLU(inplace=True)

    def forward(self, maps: Tensor) -> Tensor:
        maps = self.relu(self.bn1(self.depthwise(maps)))
        return self.relu(self.bn2(self.pointwise(maps)))


class InvertedResidual(nn.Module):
    """Expand, filter depthwise, project; added to the input if the shape stays the same."""

    def __init__(self, channels: int, out_channels: int, stride: int, expansion: int) -> None:
        super().__init__()
        inner = channels * expansion
        self.residual = stride == 1 and channels == out_channels
        self.conv = nn.Sequential(
            _conv_bn_relu(channels, inner, kernel=1),
            _conv_bn_relu(inner, inner, kernel=3, stride=stride, groups=inner),
            nn.Conv2d(inner, out_channels, 1, bias=False),
            nn.BatchNorm2d(out_channels),
        )

    def forward(self, maps: Tensor) -> Tensor:
        out = self.conv(maps)
        return maps + out if self.residual else out


class GlobalDepthwise(nn.Module):
    """A weight for each position and channel instead of a global average: ``[N, C, S, S] → [N, C, 1, 1]``."""

    def __init__(self, channels: int, size: int) -> None:
        super().__init__()
        self.depthwise = nn.Conv2d(channels, channels, size, groups=channels, bias=False)
        self.bn = nn.BatchNorm2d(channels)

    def forward(self, maps: Tensor) -> Tensor:
        return self.bn(self.depthwise(maps))


def _conv_bn_relu(
    channels: int, out_channels: int, kernel: int, stride: int = 1, groups: int = 1
) -> nn.Sequential:
    return nn.Sequential(
        nn.Conv2d(channels, out_channels, kernel, stride, kernel // 2, groups=groups, bias=False),
        nn.BatchNorm2d(out_channels),
        nn.ReLU6(inplace=True),
    )

"""FaceNet's Inception-ResNet-v1 (Szegedy et al. 2017, arXiv:1602.07261), with the keys of facenet-pytorch."""

from __future__ import annotations

import torch
import torch.nn.functional as F
from torch import Tensor, nn

# TensorFlow's epsilon, with which the weights were trained.
_EPSILON = 1e-3
_FLAT, _TALL = (1, 7), (7, 1)


class InceptionResNetV1(nn.Module):
    """``[N, 3, 160, 160] → [N, 512]``, L2-normalised, as trained and published."""

    def __init__(self) -> None:
        super().__init__()
        self.conv2d_1a = Convolution(3, 32, 3, stride=2)
        self.conv2d_2a = Convolution(32, 32, 3)
        self.conv2d_2b = Convolution(32, 64, 3, same=True)
        self.maxpool_3a = nn.MaxPool2d(3, stride=2)
        self.conv2d_3b = Convolution(64, 80, 1)
        self.conv2d_4a = Convolution(80, 192, 3)
        self.conv2d_4b = Convolution(192, 256, 3, stride=2)
        self.repeat_1 = nn.Sequential(*(_block35() for _ in range(5)))
        self.mixed_6a = Reduction(
            Convolution(256, 384, 3, stride=2),
            _branch((256, 192, 1), (192, 192, 3), (192, 256, 3), stride=2),
        )
        self.repeat_2 = nn.Sequential(*(_block17() for _ in range(10)))
        self.mixed_7a = Reduction(
            _branch((896, 256, 1), (256, 384, 3), stride=2),
            _branch((896, 256, 1), (256, 256, 3), stride=2),
            _branch((896, 256, 1), (256, 256, 3), (256, 256, 3), stride=2),
        )
        self.repeat_3 = nn.Sequential(*(_block8(scale=0.2, relu=True) for _ in range(5)))
        self.block8 = _block8(scale=1.0, relu=False)
        self.last_linear = nn.Linear(1792, 512, bias=False)
        self.last_bn = nn.BatchNorm1d(512, eps=_EPSILON)

    def forward(self, faces: Tensor) -> Tensor:
        maps = self.maxpool_3a(self.conv2d_2b(self.conv2d_2a(self.conv2d_1a(faces))))
        maps = self.repeat_1(self.conv2d_4b(self.conv2d_4a(self.conv2d_3b(maps))))
        maps = self.repeat_2(self.mixed_6a(maps))
        maps = self.block8(self.repeat_3(self.mixed_7a(maps)))
        return F.normalize(self.last_bn(self.last_linear(maps.mean((2, 3)))))


class Convolution(nn.Module):
    """Convolution, batch norm, ReLU; ``same`` keeps the map's size."""

    def __init__(
        self,
        channels: int,
        out_channels: int,
        kernel: int | tuple[int, int],
        stride: int = 1,
        same: bool = False,
    ) -> None:
        super().__init__()
        padding = "same" if same else 0
        self.conv = nn.Conv2d(channels, out_channels, kernel, stride, padding, bias=False)
        self.bn = nn.BatchNorm2d(out_channels, eps=_EPSILON)

    def forward(self, maps: Tensor) -> Tensor:
        return self.bn(self.conv(maps)).relu()


class Residual(nn.Module):
    """Parallel branches, projected to the input's channels, scaled and added to the input."""

    def __init__(
        self, *branches: nn.Module, width: int, channels: int, scale: float, relu: bool = True
    ) -> None:
        super().__init__()
        self.count, self.scale, self.relu = len(branches), scale, relu
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)
        self.conv2d = nn.Conv2d(width, channels, 1)

    def forward(self, maps: Tensor) -> Tensor:
        branches = [self.get_submodule(f"branch{index}")(maps) for index in range(self.count)]
        out = maps + self.scale * self.conv2d(torch.cat(branches, 1))
        return out.relu() if self.relu else out


class Reduction(nn.Module):
    """Parallel branches and a pooling, each of which halves the map."""

    def __init__(self, *branches: nn.Module) -> None:
        super().__init__()
        self.count = len(branches)
        for index, branch in enumerate(branches):
            self.add_module(f"branch{index}", branch)

    def forward(self, maps: Tensor) -> Tensor:
        branches = [self.get_submodule(f"branch{index}")(maps) for index in range(self.count)]
        return torch.cat([*branches, F.max_pool2d(maps, 3, stride=2)], 1)


def _branch(*layers: tuple[int, int, int | tuple[int, int]], stride: int = 1) -> nn.Sequential:
    """Chain convolutions (channels in, channels out, kernel); the last has ``stride``, unpadded if 2."""
    last = len(layers) - 1
    return nn.Sequential(
        *(
            Convolution(*layer, stride=stride if index == last else 1, same=stride == 1 or index < last)
            for index, layer in enumerate(layers)
        )
    )


def _block35() -> Residual:
    return Residual(
        Convolution(256, 32, 1),
        _branch((256, 32, 1), (32, 32, 3)),
        _branch((256, 32, 1), (32, 32, 3), (32, 32, 3)),
        width=96,
        channels=256,
        scale=0.17,
    )


def _block17() -> Residual:
    return Residual(
        Convolution(896, 128, 1),
        _branch((896, 128, 1), (128, 128, _FLAT), (128, 128, _TALL)),
        width=256,
        channels=896,
        scale=0.1,
    )


def _block8(scale: float, relu: bool) -> Residual:
    return Residual(
        Convolution(1792, 192, 1),
        _branch((1792, 192, 1), (192, 192, (1, 3)), (192, 192, (3, 1))),
        width=384,
        channels=1792,
        scale=scale,
        relu=relu,
    )

"""dlib's face recognition network in torch: a ResNet with 29 convolutions (King 2017, dlib 19.3).

The weights come with the package ``face_recognition_models``; no other download is needed.
"""

from __future__ import annotations

from pathlib import Path

import torch
import torch.nn.functional as F
from torch import Tensor, nn

from ..errors import WeightsError
from .dlib_file import DlibLayer, DlibNetwork, read_dlib_network
from .specs import DLIB, DLIB_FILE
from .weights import State

# channels, blocks, whether the first block halves the map
_LEVELS = ((32, 3, False), (64, 4, True), (128, 3, True), (256, 3, True), (256, 1, True))


class DlibResNet(nn.Module):
    """``[N, 3, 150, 150] → [N, 128]``, with dlib's affine layers folded into the convolutions.

    Two faces are of one person if the Euclidean distance between their vectors is below 0.6.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stem = nn.Conv2d(3, 32, 7, stride=2)
        blocks: list[nn.Module] = []
        channels = 32
        for out_channels, count, down in _LEVELS:
            for index in range(count):
                blocks.append(DlibResidual(channels, out_channels, down and index == 0))
                channels = out_channels
        self.blocks = nn.Sequential(*blocks)
        self.fc = nn.Linear(256, 128, bias=False)

    def forward(self, faces: Tensor) -> Tensor:
        maps = self.blocks(F.max_pool2d(F.relu(self.stem(faces)), 3, stride=2))
        return self.fc(maps.mean(dim=(2, 3)))


class DlibResidual(nn.Module):
    """dlib's ``ares`` and, with ``down``, ``ares_down``: two 3×3 convolutions and a shortcut.

    With ``down``, the first convolution has stride 2 and no padding, and the shortcut is a 2×2 average.
    """

    def __init__(self, channels: int, out_channels: int, down: bool) -> None:
        super().__init__()
        stride, padding = (2, 0) if down else (1, 1)
        self.conv1 = nn.Conv2d(channels, out_channels, 3, stride, padding)
        self.conv2 = nn.Conv2d(out_channels, out_channels, 3, padding=1)
        self.skip = nn.AvgPool2d(2) if down else nn.Identity()

    def forward(self, maps: Tensor) -> Tensor:
        return F.relu(_add_padded(self.conv2(F.relu(self.conv1(maps))), self.skip(maps)))


def _add_padded(a: Tensor, b: Tensor) -> Tensor:
    """Add two ``[N, C, H, W]``; if they differ in size, pad the smaller with zeros at the end."""
    if a.shape == b.shape:
        return a + b
    shape = [max(sizes) for sizes in zip(a.shape, b.shape, strict=True)]
    return _pad_to(a, shape) + _pad_to(b, shape)


def _pad_to(maps: Tensor, shape: list[int]) -> Tensor:
    _, channels, height, width = (new - old for new, old in zip(shape, maps.shape, strict=True))
    return F.pad(maps, (0, width, 0, height, 0, channels))


def read_dlib_resnet(path: str | Path) -> State:
    """Read the state of a :class:`DlibResNet` from dlib's ``.dat`` file."""
    network = read_dlib_network(path)
    _check_input(path, network)
    names = _convolution_names()
    convolutions, affines, full = (network.of_kind(kind) for kind in ("con_4", "affine_", "fc_2"))
    if (len(convolutions), len(affines), len(full)) != (len(names), len(names), 1):
        raise WeightsError(
            f"{path}: a dlib network of {len(convolutions)} convolutions and {len(full)} fully connected "
            f"layers, expected the {len(names)} and 1 of {DLIB_FILE}"
        )
    state: State = {"fc.weight": _full_weight(full[0])}
    for name, convolution, affine in zip(names, convolutions, affines, strict=True):
        state[f"{name}.weight"], state[f"{name}.bias"] = _fold(convolution, affine)
    return state


def _check_input(path: str | Path, network: DlibNetwork) -> None:
    same_mean = all(abs(a - b) < 1e-3 for a, b in zip(network.mean, DLIB.mean, strict=True))
    if not same_mean or network.size != (DLIB.input_size, DLIB.input_size):
        raise WeightsError(
            f"{path}: a dlib network for {network.size} images of mean {network.mean}, expected "
            f"{DLIB.input_size}×{DLIB.input_size} and {DLIB.mean}"
        )


def _convolution_names() -> list[str]:
    with torch.device("meta"):
        net = DlibResNet()
    return [name for name, part in net.named_modules() if isinstance(part, nn.Conv2d)]


def _full_weight(layer: DlibLayer) -> Tensor:
    outputs, inputs, values = layer.fields[:3]
    return values.reshape(inputs, outputs).T.contiguous()


def _fold(convolution: DlibLayer, affine: DlibLayer) -> tuple[Tensor, Tensor]:
    """Return weight and bias of ``gamma * (weight * x + bias) + beta``."""
    values, shape = convolution.fields[0].flatten(), convolution.fields[8]
    outputs = shape[0]
    weight, bias = values[:-outputs].reshape(shape), values[-outputs:]
    gamma, beta = affine.fields[0].flatten().chunk(2)
    return weight * gamma[:, None, None, None], bias * gamma + beta

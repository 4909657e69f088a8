"""VGGFace2: ResNet-50 and SE-ResNet-50 (Cao et al. 2018), with the keys of the VGG group's PyTorch files.

They recognise 8631 people; fine-tuned on FER+, they recognise emotions (Albanie et al. 2018).
"""

from __future__ import annotations

from torch import Tensor, nn

# inner channels, units: stages 2 to 5; the first unit of all but the first stage halves the map
_STAGES = ((64, 3), (128, 4), (256, 6), (512, 3))
_EXPANSION = 4
_SQUEEZE = 16


class VGGFace2Net(nn.Module):
    """``[N, 3, 224, 224] → [N, 2048]``: the average over the last maps.

    As in Caffe's ResNet-50, and unlike torchvision's, a unit that halves the map does so in its first
    1×1 convolution, and the pooling of the stem pads nothing at the beginning. With ``attention``, each
    unit weights its channels (squeeze and excitation).
    """

    def __init__(self, attention: bool = False) -> None:
        super().__init__()
        self.attention = attention
        self.units = [
            f"conv{stage}_{unit}"
            for stage, (_, count) in enumerate(_STAGES, 2)
            for unit in range(1, count + 1)
        ]
        self._convolution("conv1_7x7_s2", 3, 64, kernel=7, stride=2)
        channels = 64
        for stage, (inner, count) in enumerate(_STAGES, 2):
            for unit in range(1, count + 1):
                name, stride = f"conv{stage}_{unit}", 2 if unit == 1 and stage > 2 else 1
                outer = inner * _EXPANSION
                self._convolution(f"{name}_1x1_reduce", channels, inner, stride=stride)
                self._convolution(f"{name}_3x3", inner, inner, kernel=3)
                self._convolution(f"{name}_1x1_increase", inner, outer)
                if attention:
                    self.add_module(f"{name}_1x1_down", nn.Conv2d(outer, outer // _SQUEEZE, 1))
                    self.add_module(f"{name}_1x1_up", nn.Conv2d(outer // _SQUEEZE, outer, 1))
                if unit == 1:
                    self._convolution(f"{name}_1x1_proj", channels, outer, stride=stride)
                channels = outer
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(3, stride=2, ceil_mode=True)

    def forward(self, faces: Tensor) -> Tensor:
        maps = self.pool(self.relu(self._normed("conv1_7x7_s2", faces)))
        for name in self.units:
            maps = self._unit(name, maps)
        return maps.mean((2, 3))

    def _unit(self, name: str, maps: Tensor) -> Tensor:
        inner = self.relu(self._normed(f"{name}_1x1_reduce", maps))
        inner = self.relu(self._normed(f"{name}_3x3", inner))
        outer = self._normed(f"{name}_1x1_increase", inner)
        if self.attention:
            means = outer.mean((2, 3), keepdim=True)
            squeezed = self.relu(self.get_submodule(f"{name}_1x1_down")(means))
            outer = outer * self.get_submodule(f"{name}_1x1_up")(squeezed).sigmoid()
        if name.endswith("_1"):
            maps = self._normed(f"{name}_1x1_proj", maps)
        return self.relu(outer + maps)

    def _convolution(self, name: str, channels: int, out: int, kernel: int = 1, stride: int = 1) -> None:
        self.add_module(name, nn.Conv2d(channels, out, kernel, stride, padding=kernel // 2, bias=False))
        self.add_module(f"{name}_bn", nn.BatchNorm2d(out))

    def _normed(self, name: str, maps: Tensor) -> Tensor:
        return self.get_submodule(f"{name}_bn")(self.get_submodule(name)(maps))

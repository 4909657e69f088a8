"""VGGFace: VGG-16 trained to recognise 2622 people (Parkhi et al., "Deep Face Recognition", 2015)."""

from __future__ import annotations

from torch import Tensor, nn

# channels of the convolutions of each stage; each stage ends with a 2×2 max pooling
_STAGES = ((64, 64), (128, 128), (256, 256, 256), (512, 512, 512), (512, 512, 512))


class VGGFace(nn.Module):
    """``[N, 3, 224, 224] → [N, 4096]``: ``fc7`` after its ReLU.

    zhou2019 gives 4096 values but no layer. ``fc7`` is the descriptor of Parkhi et al., the last layer
    below their classifier.
    """

    def __init__(self) -> None:
        super().__init__()
        self.stages = [[f"conv{stage}_{i + 1}" for i in range(len(c))] for stage, c in enumerate(_STAGES, 1)]
        channels = 3
        for names, widths in zip(self.stages, _STAGES, strict=True):
            for name, width in zip(names, widths, strict=True):
                self.add_module(name, nn.Conv2d(channels, width, 3, padding=1))
                channels = width
        self.fc6 = nn.Linear(512 * 7 * 7, 4096)
        self.fc7 = nn.Linear(4096, 4096)
        self.relu = nn.ReLU(inplace=True)
        self.pool = nn.MaxPool2d(2)

    def forward(self, faces: Tensor) -> Tensor:
        maps = faces
        for names in self.stages:
            for name in names:
                maps = self.relu(self.get_submodule(name)(maps))
            maps = self.pool(maps)
        return self.relu(self.fc7(self.relu(self.fc6(maps.flatten(1)))))

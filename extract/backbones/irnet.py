"""IR-50: the improved residual network of ArcFace (Deng et al., 2019), as face.evoLVe publishes it."""

from __future__ import annotations

from torch import Tensor, nn

from .spec import BackboneSpec

# channels, blocks; the first block of each stage halves the map
_STAGES = ((64, 3), (128, 4), (256, 14), (512, 3))


class IR50(nn.Module):
    """``[N, 3, 112, 112] → [N, 512]``."""

    def __init__(self) -> None:
        super().__init__()
        self.input_layer = nn.Sequential(
            nn.Conv2d(3, 64, 3, padding=1, bias=False), nn.BatchNorm2d(64), nn.PReLU(64)
        )
        blocks: list[nn.Module] = []
        channels = 64
        for out_channels, count in _STAGES:
            for index in range(count):
                blocks.append(ImprovedResidual(channels, out_channels, stride=2 if index == 0 else 1))
                channels = out_channels
        self.body = nn.Sequential(*blocks)
        self.output_layer = nn.Sequential(
            nn.BatchNorm2d(512), nn.Dropout(), nn.Flatten(), nn.Linear(512 * 7 * 7, 512), nn.BatchNorm1d(512)
        )

    def forward(self, faces: Tensor) -> Tensor:
        return self.output_layer(self.body(self.input_layer(faces)))


class ImprovedResidual(nn.Module):
    """BN, 3×3, PReLU, 3×3, BN, added to the (subsampled or projected) input."""

    def __init__(self, channels: int, out_channels: int, stride: int) -> None:
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

    def forward(self, maps: Tensor) -> Tensor:
        return self.res_layer(maps) + self.shortcut_layer(maps)


SPEC = BackboneSpec(
    name="ir50",
    features=512,
    input_size=112,
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    layer="output_layer.4 (embedding, not L2-normalised)",
    build=IR50,
    checkpoint="backbone_ir50_ms1m_epoch120.pth (face.evoLVe)",
    source="Deng et al. 2019, arXiv:1801.07698; face.evoLVe, MIT",
)

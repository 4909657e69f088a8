"""Gain from Winograd's F(2×2, 3×3) and F(4×4, 3×3) in ResNet18 at 224 pixels, in torch's operations.

For each shape of its 3 × 3 convolutions with stride 1, in one thread, in turns, in processor time: ms a view
of torch's convolution, of both methods, and of their matrix products alone; and the largest error against
float64, relative to the largest value. The method is by Lavin and Gray 2016, arXiv:1509.09308.

    export MALLOC_MMAP_THRESHOLD_=33554432 MALLOC_TRIM_THRESHOLD_=1073741824 MALLOC_TOP_PAD_=67108864
    ONEDNN_MAX_CPU_ISA=AVX2 ATEN_CPU_CAPABILITY=avx2 python benchmarks/winograd.py
"""

from __future__ import annotations

import time
from statistics import median

import torch
from machine import describe
from torch import Tensor
from torch.nn import functional as F

from avemo.pipelines.cli.table import aligned

VIEWS, ROUNDS = 18, 7
LAYERS = ((64, 56, 4), (128, 28, 3), (256, 14, 3), (512, 7, 3))  # channels, side, number of layers
# By the side of a tile's result: the transforms of an input, a kernel, and a result.
MATRICES = {
    2: (
        [[1, 0, -1, 0], [0, 1, 1, 0], [0, -1, 1, 0], [0, 1, 0, -1]],
        [[1, 0, 0], [1 / 2, 1 / 2, 1 / 2], [1 / 2, -1 / 2, 1 / 2], [0, 0, 1]],
        [[1, 1, 1, 0], [0, 1, -1, -1]],
    ),
    4: (
        [
            *([4, 0, -5, 0, 1, 0], [0, -4, -4, 1, 1, 0], [0, 4, -4, -1, 1, 0]),
            *([0, -2, -1, 2, 1, 0], [0, 2, -1, -2, 1, 0], [0, 4, 0, -5, 0, 1]),
        ],
        [
            *([1 / 4, 0, 0], [-1 / 6, -1 / 6, -1 / 6], [-1 / 6, 1 / 6, -1 / 6]),
            *([1 / 24, 1 / 12, 1 / 6], [1 / 24, -1 / 12, 1 / 6], [0, 0, 1]),
        ],
        [[1, 1, 1, 1, 1, 0], [0, 1, -1, 2, -2, 0], [0, 1, 1, 4, 4, 0], [0, 1, -1, 8, -8, 1]],
    ),
}


class Winograd:
    """Convolves ``[N, C, H, W]`` to ``[N, O, H, W]``, padded by one, channels last."""

    def __init__(self, weight: Tensor, side: int) -> None:
        of_input, of_kernel, of_result = (torch.tensor(rows).float() for rows in MATRICES[side])
        self.side, self.tile = side, side + 2
        kernels = torch.einsum("ij,ocjk,lk->ilco", of_kernel, weight, of_kernel)
        self.kernels = kernels.reshape(self.tile**2, *kernels.shape[2:]).contiguous()
        self.before, self.after = torch.kron(of_input, of_input), torch.kron(of_result, of_result)

    def __call__(self, maps: Tensor) -> Tensor:
        count, channels, height, width = maps.shape
        side, tile = self.side, self.tile
        down, across = -(-height // side), -(-width // side)
        padded = F.pad(
            maps.permute(0, 2, 3, 1), (0, 0, 1, across * side - width + 1, 1, down * side - height + 1)
        )
        image, row, column, channel = padded.stride()
        tiles = padded.as_strided(
            (tile, tile, count, down, across, channels),
            (row, column, image, row * side, column * side, channel),
        )
        inputs = (self.before @ tiles.reshape(tile**2, -1)).view(tile**2, -1, channels)
        products = torch.bmm(inputs, self.kernels).view(tile**2, -1)
        results = (self.after @ products).view(side, side, count, down, across, -1)
        joined = results.permute(2, 3, 0, 4, 1, 5).reshape(count, down * side, across * side, -1)
        return joined[:, :height, :width].permute(0, 3, 1, 2)


@torch.inference_mode()
def main() -> None:
    torch.set_num_threads(1)
    torch.manual_seed(0)
    rows, sums = [], [0.0] * 5
    for channels, side, layers in LAYERS:
        maps = torch.randn(VIEWS, channels, side, side).relu().to(memory_format=torch.channels_last)
        layer = torch.nn.Conv2d(channels, channels, 3, padding=1, bias=False)
        layer = layer.to(memory_format=torch.channels_last)
        two, four = Winograd(layer.weight, 2), Winograd(layer.weight, 4)
        inputs = [
            torch.randn(each.tile**2, VIEWS * (-(-side // each.side)) ** 2, channels) for each in (two, four)
        ]
        runs = [
            lambda layer=layer, maps=maps: layer(maps),
            lambda two=two, maps=maps: two(maps),
            lambda four=four, maps=maps: four(maps),
            lambda two=two, inputs=inputs: torch.bmm(inputs[0], two.kernels),
            lambda four=four, inputs=inputs: torch.bmm(inputs[1], four.kernels),
        ]
        seconds: list[list[float]] = [[] for _ in runs]
        for _ in range(ROUNDS):
            for run, of_run in zip(runs, seconds, strict=True):
                start = time.process_time()
                run()
                of_run.append(time.process_time() - start)
        ms = [1e3 * median(of_run) / VIEWS for of_run in seconds]
        sums = [before + layers * each for before, each in zip(sums, ms, strict=True)]
        exact = F.conv2d(maps.double(), layer.weight.double(), padding=1)
        errors = [float((run() - exact).abs().max() / exact.abs().max()) for run in runs[:3]]
        shape = f"{layers} of {channels}, {side} × {side}"
        rows.append([shape, *(f"{each:.2f}" for each in ms), *(f"{each:.0e}" for each in errors)])
    rows.append(["all", *(f"{each:.1f}" for each in sums), "", "", ""])
    print(describe())
    header = ["layers", "torch", "F(2)", "F(4)", "products: F(2)", "F(4)", "error: torch", "F(2)", "F(4)"]
    print(aligned(header, rows))


if __name__ == "__main__":
    main()

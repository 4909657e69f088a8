"""FerPlusNet: a narrower FerResNet with fewer blocks, for the votes of FER+ (arXiv:1608.01041).

Five residual blocks on 24 × 24, 12 × 12 and 6 × 6 maps, about 1.4 million parameters and 74 million
multiply-adds for a face of 48 × 48 pixels, less than a quarter of FerResNet's.
"""

from __future__ import annotations

from .ferresnet import FerResNet

_STAGES = ((32, 1), (64, 2), (192, 2))


def ferplusnet() -> FerResNet:
    """Build the network with random weights."""
    return FerResNet(_STAGES)

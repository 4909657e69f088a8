"""Networks of torchvision, cut below their classifiers.

torchvision is imported when one is built: it brings a compiler of torch that takes a second to import.
"""

from __future__ import annotations

from torch import nn


def resnet18() -> nn.Module:
    from torchvision import models

    net = models.resnet18(weights=None)
    net.fc = nn.Identity()
    return net


def alexnet() -> nn.Module:
    from torchvision import models

    net = models.alexnet(weights=None)
    net.classifier = net.classifier[:6]
    return net


def vgg19() -> nn.Module:
    from torchvision import models

    net = models.vgg19(weights=None)
    net.classifier = net.classifier[:5]
    return net

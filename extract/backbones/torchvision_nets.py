"""Networks of torchvision, cut below their classifiers.

torchvision is imported when a network is built, as it loads torch's compiler, which takes a second.
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

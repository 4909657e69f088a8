"""The networks that a plan names, each loaded once a process."""

from __future__ import annotations

from collections import Counter
from functools import cache
from typing import TypeVar

from .backbones import Backbone, load_backbone
from .backbones.audio import AudioBackbone, load_audio_backbone
from .devices import torch_device
from .errors import ExtractError
from .plan import Plan

Network = TypeVar("Network", Backbone, AudioBackbone)


def face_networks(plan: Plan) -> list[Backbone]:
    """The networks over views of faces.

    Raises:
        ExtractError: a network, its weights or the device cannot be used, or two have one label.
    """
    return _image_networks(plan, plan.backbones)


def segment_networks(plan: Plan) -> list[Backbone]:
    """The networks over the images of segments; see :func:`face_networks`."""
    return _image_networks(plan, plan.segment_backbones)


def audio_networks(plan: Plan) -> list[AudioBackbone]:
    """The networks over spectrograms; see :func:`face_networks`."""
    device, labels = torch_device(plan.device), dict(plan.labels)
    return _distinct([_audio_backbone(text, device, labels.get(text, "")) for text in plan.audio_backbones])


def views_at_once(plan: Plan) -> int:
    """``plan.batch``, or 36 on a processor, whose caches more would overflow, and 288 elsewhere."""
    return plan.batch or (36 if torch_device(plan.device) == "cpu" else 288)


def _image_networks(plan: Plan, texts: tuple[str, ...]) -> list[Backbone]:
    device, labels = torch_device(plan.device), dict(plan.labels)
    return _distinct([_backbone(text, device, plan.precision, labels.get(text, "")) for text in texts])


def _distinct(networks: list[Network]) -> list[Network]:
    for label, count in Counter(network.label for network in networks).items():
        if count > 1:
            raise ExtractError(f"{label} is asked for twice; rename one of the weights files")
    return networks


@cache
def _backbone(text: str, device: str, precision: str, label: str) -> Backbone:
    network = load_backbone(text, device=device, precision=precision)
    network.label = label or network.label
    return network


@cache
def _audio_backbone(text: str, device: str, label: str) -> AudioBackbone:
    network = load_audio_backbone(text, device=device)
    network.label = label or network.label
    return network

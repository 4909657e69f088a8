"""The networks that a plan names: known without torch, and each loaded once a process where it is run.

A worker process of a run on a GPU runs none, but asks the processes that do (:mod:`.apart`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from .apart import Apart, ApartAudioBackbone, ApartBackbone
from .backbones.planned import PlannedNetwork, planned_audio_backbone, planned_backbone
from .devices import torch_devices
from .errors import ExtractError
from .plan import Plan

if TYPE_CHECKING:
    from .backbones import AudioBackbone, Backbone

Network = TypeVar("Network", "Backbone", "AudioBackbone")

_apart: Apart | None = None


def run_apart(apart: Apart) -> None:
    """From now on, this process runs no networks, but asks others."""
    global _apart
    _apart = apart


def use_threads(count: int) -> None:
    """Run networks in so many threads, if they run in this process."""
    if _apart is None:
        import torch

        torch.set_num_threads(count)


def planned_face_networks(plan: Plan) -> list[PlannedNetwork]:
    """The networks over views of faces.

    Raises:
        ExtractError: there is no such network, weights file or device, or two have one label.
    """
    return _image_networks(plan, plan.backbones)


def planned_segment_networks(plan: Plan) -> list[PlannedNetwork]:
    """The networks over the images of segments; see :func:`planned_face_networks`."""
    return _image_networks(plan, plan.segment_backbones)


def planned_audio_networks(plan: Plan) -> list[PlannedNetwork]:
    """The networks over spectrograms; see :func:`planned_face_networks`."""
    return _distinct(plan, map(_planned_audio, plan.audio_backbones))


def face_networks(plan: Plan) -> list[Backbone]:
    """The networks over views of faces, ready to run.

    Raises:
        ExtractError: a network, its weights or the device cannot be used, or two have one label.
    """
    return _loaded(plan, planned_face_networks(plan))


def segment_networks(plan: Plan) -> list[Backbone]:
    """The networks over the images of segments, ready to run; see :func:`face_networks`."""
    return _loaded(plan, planned_segment_networks(plan))


def audio_networks(plan: Plan) -> list[AudioBackbone]:
    """The networks over spectrograms, ready to run; see :func:`face_networks`."""
    device = torch_devices(plan.device)[0]
    return [
        _as_planned(known, _audio_backbone(known.text, device, known.label))
        for known in planned_audio_networks(plan)
    ]


def face_networks_at_hand(plan: Plan) -> Sequence[Backbone | ApartBackbone]:
    """:func:`face_networks`, or those that are asked in their place."""
    if _apart is None:
        return face_networks(plan)
    return [ApartBackbone(_apart, known) for known in planned_face_networks(plan)]


def segment_networks_at_hand(plan: Plan) -> Sequence[Backbone | ApartBackbone]:
    """:func:`segment_networks`, or those that are asked in their place."""
    if _apart is None:
        return segment_networks(plan)
    return [ApartBackbone(_apart, known) for known in planned_segment_networks(plan)]


def audio_networks_at_hand(plan: Plan) -> Sequence[AudioBackbone | ApartAudioBackbone]:
    """:func:`audio_networks`, or those that are asked in their place."""
    if _apart is None:
        return audio_networks(plan)
    return [ApartAudioBackbone(_apart, known) for known in planned_audio_networks(plan)]


def views_at_once(plan: Plan) -> int:
    """``plan.batch``, or 36 on a processor, whose caches more would overflow, and 288 elsewhere."""
    return plan.batch or (36 if torch_devices(plan.device)[0] == "cpu" else 288)


def _image_networks(plan: Plan, texts: tuple[str, ...]) -> list[PlannedNetwork]:
    device = torch_devices(plan.device)[0]
    return _distinct(plan, (_planned(text, device, plan.precision) for text in texts))


def _distinct(plan: Plan, found: Iterable[PlannedNetwork]) -> list[PlannedNetwork]:
    """Under the labels that the plan gives, which must differ."""
    labels = dict(plan.labels)
    networks = [replace(network, label=labels.get(network.text) or network.label) for network in found]
    for label, count in Counter(network.label for network in networks).items():
        if count > 1:
            raise ExtractError(f"{label} is asked for twice; rename one of the weights files")
    return networks


def _loaded(plan: Plan, networks: Iterable[PlannedNetwork]) -> list[Backbone]:
    device = torch_devices(plan.device)[0]
    return [
        _as_planned(known, _backbone(known.text, device, plan.precision, known.label)) for known in networks
    ]


def _as_planned(known: PlannedNetwork, network: Network) -> Network:
    """The network, if it is the one whose settings are in the keys."""
    if network.settings() != known.settings:
        raise ExtractError(
            f"{known.label} is not what it was a moment ago; keep its file as it is while a run lasts, and "
            "run the same command again"
        )
    return network


_planned = cache(planned_backbone)
_planned_audio = cache(planned_audio_backbone)


@cache
def _backbone(text: str, device: str, precision: str, label: str) -> Backbone:
    from .backbones import load_backbone

    network = load_backbone(text, device=device, precision=precision)
    network.label = label
    return network


@cache
def _audio_backbone(text: str, device: str, label: str) -> AudioBackbone:
    from .backbones import load_audio_backbone

    network = load_audio_backbone(text, device=device)
    network.label = label
    return network

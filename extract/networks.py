"""The networks of a plan: described without torch if possible, and loaded once per process that runs them.

In a run on a GPU, workers run no networks but send requests to the processes that do (:mod:`.apart`).
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from functools import cache
from typing import TYPE_CHECKING, TypeVar

from .apart import NetworkClient, RemoteAudioBackbone, RemoteBackbone
from .backbones.planned import PlannedNetwork, planned_audio_backbone, planned_backbone
from .devices import torch_devices
from .errors import ExtractError
from .plan import Plan

if TYPE_CHECKING:
    from .backbones import AudioBackbone, Backbone

Network = TypeVar("Network", "Backbone", "AudioBackbone")

_client: NetworkClient | None = None


def use_client(client: NetworkClient) -> None:
    """Make this process send requests to ``client`` instead of running networks."""
    global _client
    _client = client


def use_threads(count: int) -> None:
    """Set the number of threads for networks, if they run in this process."""
    if _client is None:
        import torch

        torch.set_num_threads(count)


def planned_face_networks(plan: Plan) -> list[PlannedNetwork]:
    """Return descriptions of the plan's networks over views of faces.

    Raises:
        ExtractError: a network, weights file or device does not exist, or two networks share a label.
    """
    return _image_networks(plan, plan.backbones)


def planned_segment_networks(plan: Plan) -> list[PlannedNetwork]:
    """Return descriptions of the networks over MFCC images; see :func:`planned_face_networks`."""
    return _image_networks(plan, plan.segment_backbones)


def planned_audio_networks(plan: Plan) -> list[PlannedNetwork]:
    """Return descriptions of the networks over spectrograms; see :func:`planned_face_networks`."""
    return _distinct(plan, map(_planned_audio, plan.audio_backbones))


def face_networks(plan: Plan) -> list[Backbone]:
    """Load the networks over views of faces.

    Raises:
        ExtractError: a network, its weights or the device cannot be used, or two networks share a label.
    """
    return _load(plan, planned_face_networks(plan))


def segment_networks(plan: Plan) -> list[Backbone]:
    """Load the networks over MFCC images of segments; see :func:`face_networks`."""
    return _load(plan, planned_segment_networks(plan))


def audio_networks(plan: Plan) -> list[AudioBackbone]:
    """Load the networks over spectrograms; see :func:`face_networks`."""
    device = torch_devices(plan.device)[0]
    return [
        _require_planned(planned, _audio_backbone(planned.text, device, planned.label))
        for planned in planned_audio_networks(plan)
    ]


def face_networks_at_hand(plan: Plan) -> Sequence[Backbone | RemoteBackbone]:
    """Return :func:`face_networks`, or proxies if they run in another process."""
    if _client is None:
        return face_networks(plan)
    return [RemoteBackbone(_client, planned) for planned in planned_face_networks(plan)]


def segment_networks_at_hand(plan: Plan) -> Sequence[Backbone | RemoteBackbone]:
    """Return :func:`segment_networks`, or proxies if they run in another process."""
    if _client is None:
        return segment_networks(plan)
    return [RemoteBackbone(_client, planned) for planned in planned_segment_networks(plan)]


def audio_networks_at_hand(plan: Plan) -> Sequence[AudioBackbone | RemoteAudioBackbone]:
    """Return :func:`audio_networks`, or proxies if they run in another process."""
    if _client is None:
        return audio_networks(plan)
    return [RemoteAudioBackbone(_client, planned) for planned in planned_audio_networks(plan)]


def views_at_once(plan: Plan) -> int:
    """Return ``plan.batch``; by default 36 on a CPU, whose caches more would overflow, and 288 elsewhere."""
    return plan.batch or (36 if torch_devices(plan.device)[0] == "cpu" else 288)


def _image_networks(plan: Plan, texts: tuple[str, ...]) -> list[PlannedNetwork]:
    device = torch_devices(plan.device)[0]
    return _distinct(plan, (_planned(text, device, plan.precision) for text in texts))


def _distinct(plan: Plan, found: Iterable[PlannedNetwork]) -> list[PlannedNetwork]:
    """Apply the plan's labels, and require all labels to differ."""
    labels = dict(plan.labels)
    networks = [replace(network, label=labels.get(network.text) or network.label) for network in found]
    for label, count in Counter(network.label for network in networks).items():
        if count > 1:
            raise ExtractError(f"{label} is the label of two networks; rename one of the weights files")
    return networks


def _load(plan: Plan, networks: Iterable[PlannedNetwork]) -> list[Backbone]:
    device = torch_devices(plan.device)[0]
    return [
        _require_planned(planned, _backbone(planned.text, device, plan.precision, planned.label))
        for planned in networks
    ]


def _require_planned(planned: PlannedNetwork, network: Network) -> Network:
    """Return a network after checking that its settings are still the planned ones, which are in the keys."""
    if network.settings() != planned.settings:
        raise ExtractError(
            f"{planned.label} has changed since it was checked; do not change its file during a run, and run "
            "the same command again"
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

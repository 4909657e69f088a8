"""Reads and writes the weights of audio networks, for stage 1 and for heads."""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import asdict, fields
from pathlib import Path
from typing import Any

from ..extract.backbones import WeightsError
from ..extract.backbones.weights import CLASS_LAYER, load_into, load_state
from ..extract.backbones.weights_folder import find
from ..extract.digest import sha256_of
from ..fusion.errors import FusionError
from .audio_network import AudioNetwork, PooledEncoder
from .card import read_about, write_tensors
from .classifier import Classifier
from .errors import PretrainError

ATTENTION = f"{CLASS_LAYER}attention."


def write_audio(
    path: Path, classifier: Classifier, network: AudioNetwork, card: Mapping[str, Any], half: bool = False
) -> dict[str, Any]:
    """Write an audio network as :func:`.card.write_weights` does.

    The encoder's tensors are named as in torchvision's AlexNet, ``features.0.weight`` and so on; all others
    begin with ``emotion.``, so that users of the encoder alone can skip them.
    """
    trunk = _trunk(classifier)
    tensors = dict(trunk.encoder.state_dict())
    if trunk.attention is not None:
        tensors |= {ATTENTION + name: value for name, value in trunk.attention.state_dict().items()}
    tensors |= {CLASS_LAYER + name: value for name, value in classifier.classes.state_dict().items()}
    return write_tensors(path, tensors, card, half, {"network": json.dumps(asdict(network))})


def read_audio(path: Path) -> tuple[Classifier, AudioNetwork, tuple[str, ...]]:
    """Read the classifier that :func:`write_audio` wrote to ``path``, its settings, and its classes.

    Raises:
        WeightsError: the file cannot be read, or is not of an audio network.
    """
    state = load_state(path)
    about, classes = read_about(path)
    network = _network(path, about)
    classifier = network.classifier(len(classes))
    trunk = _trunk(classifier)
    head = {name: value for name, value in state.items() if name.startswith(CLASS_LAYER)}
    above = {name: value for name, value in head.items() if name.startswith(ATTENTION)}
    load_into(trunk.encoder, state, network.name, path, (CLASS_LAYER,))
    if trunk.attention is not None:
        load_into(trunk.attention, _within(above, ATTENTION), "attention", path)
    layer = _within({name: value for name, value in head.items() if name not in above}, CLASS_LAYER)
    load_into(classifier.classes, layer, f"a layer of {len(classes)} classes", path)
    return classifier.eval(), network, classes


def start_from(classifier: Classifier, network: AudioNetwork, weights: str) -> str:
    """Load ``NAME@weights``, found as in stage 1, into the encoder; return their SHA-256.

    Raises:
        WeightsError: there are no weights of that name.
        PretrainError: they do not fit.
    """
    path, _ = find(network.name, weights)
    try:
        _trunk(classifier).encoder.start_from(load_state(path))
    except FusionError as error:
        raise PretrainError(f"{path}: {error}") from error
    return sha256_of(path)


def _trunk(classifier: Classifier) -> PooledEncoder:
    assert isinstance(classifier.trunk, PooledEncoder)
    return classifier.trunk


def _within(tensors: Mapping[str, Any], prefix: str) -> dict[str, Any]:
    return {name.removeprefix(prefix): value for name, value in tensors.items()}


def _network(path: Path, about: Mapping[str, str]) -> AudioNetwork:
    try:
        given = json.loads(about["network"])
        numbers = {name: tuple(map(float, given[name])) for name in ("mean", "std")}
        plain = {field.name: given[field.name] for field in fields(AudioNetwork)}
        network = AudioNetwork(**{**plain, **numbers})
        if not network.pictures and not network.mean:
            raise ValueError("no means")
        return network
    except (KeyError, ValueError, TypeError) as error:
        raise WeightsError(
            f"{path}: does not say which audio network it is of ({error}); expected a file that "
            "`avemo pretrain audio` wrote"
        ) from error

"""Reads and writes trained weights, with a card that describes them."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import Tensor

from ..cache import durable
from ..cache.reading import packed, unpacked
from ..extract.backbones import BackboneSpec, WeightsError, get
from ..extract.backbones.weights import CLASS_LAYER, load_into, load_state
from ..extract.backbones.weights_folder import find
from ..extract.digest import sha256_of
from .classifier import Classifier

FORMAT = 1
NOTHING: Mapping[str, str] = {}


def write_weights(
    path: Path, classifier: Classifier, card: Mapping[str, Any], half: bool = False
) -> dict[str, Any]:
    """Write ``path`` (safetensors) and its card, the same name with ``.json``, each atomically.

    The network's parameters keep the names of its architecture; the class layer is
    ``emotion.weight`` ``[C, D]`` and ``emotion.bias`` ``[C]``.

    Args:
        path: file that ends in ``.safetensors``.
        classifier: network to write.
        card: entries of the card, at least ``architecture`` and ``classes``.
        half: store numbers in 16 bits.

    Returns:
        The card as written, with the file's SHA-256.
    """
    tensors = dict(classifier.trunk.state_dict())
    tensors |= {CLASS_LAYER + name: value for name, value in classifier.classes.state_dict().items()}
    return write_tensors(path, tensors, card, half)


def write_tensors(
    path: Path,
    tensors: Mapping[str, Tensor],
    card: Mapping[str, Any],
    half: bool = False,
    about: Mapping[str, str] = NOTHING,
) -> dict[str, Any]:
    """Write ``tensors`` as :func:`write_weights` does; ``about`` is further metadata of the file."""
    dtype = torch.float16 if half else torch.float32
    stored = {
        name: (value.to(dtype) if value.is_floating_point() else value).contiguous()
        for name, value in tensors.items()
        if not name.endswith("num_batches_tracked")
    }
    partial, partial_card = path.with_suffix(".partial"), path.with_suffix(".json.partial")
    metadata = {"architecture": card["architecture"], "classes": json.dumps(card["classes"]), **about}
    safetensors.torch.save_file(stored, partial, metadata=packed(metadata))
    written = {"format": FORMAT, **card, "sha256": sha256_of(partial)}
    partial_card.write_text(json.dumps(written, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    durable.put(partial_card, path.with_suffix(".json"))  # first: weights without a card are useless
    durable.put(partial, path)
    return written


def read_classifier(path: Path) -> tuple[Classifier, BackboneSpec, tuple[str, ...]]:
    """Read the classifier that :func:`write_weights` wrote to ``path``, its spec, and its classes.

    Raises:
        WeightsError: the file cannot be read, or names no classes.
        ExtractError: its architecture is unknown.
    """
    state = load_state(path)
    about, classes = read_about(path)
    spec = get(about["architecture"])
    head = {name.removeprefix(CLASS_LAYER): state[name] for name in state if name.startswith(CLASS_LAYER)}
    rest = {name: value for name, value in state.items() if not name.startswith(CLASS_LAYER)}
    classifier = empty_classifier(spec, len(classes))
    load_into(classifier.trunk, rest, spec.name, path)
    load_into(classifier.classes, head, f"a layer of {len(classes)} classes", path)
    return classifier.eval(), spec, classes


def load_trunk(classifier: Classifier, spec: BackboneSpec, weights: str) -> str:
    """Load ``NAME@weights``, found as in stage 1, into the trunk; return their SHA-256.

    Raises:
        WeightsError: there are no weights of that name, or they do not fit.
    """
    path, _ = find(spec.name, weights, spec.default_weights)
    load_into(classifier.trunk, spec.read(path), spec.name, path, (*spec.classifier, CLASS_LAYER))
    classifier.requires_grad_(True)
    return sha256_of(path)


def empty_classifier(spec: BackboneSpec, classes: int, dropout: float = 0.0) -> Classifier:
    """Build the network of ``spec`` with a class layer and random weights."""
    return Classifier(spec.build(), spec.features, classes, dropout)


def read_about(path: Path) -> tuple[Mapping[str, str], tuple[str, ...]]:
    """Return the metadata and the classes of a file that ``avemo pretrain`` wrote.

    Raises:
        WeightsError: the file does not have them.
    """
    try:
        with safetensors.safe_open(path, "pt") as file:
            about = unpacked(file.metadata())
        classes: Sequence[Any] = json.loads(about["classes"])
        if not all(isinstance(name, str) for name in (*classes, about["architecture"])):
            raise ValueError("classes that are no names")
        return about, tuple(classes)
    except (safetensors.SafetensorError, KeyError, ValueError, TypeError, RecursionError) as error:
        raise WeightsError(
            f"{path}: does not name its classes; expected a file that `avemo pretrain` wrote"
        ) from error

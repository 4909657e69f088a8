"""Classifies faces with a face network and its classification layer."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import torch
from torch import Tensor

from ...extract.align import CHIP_SIZE, compose, window_transform
from ...extract.backbones import WeightsError, load_backbone
from ...extract.backbones.registry import get
from ...extract.backbones.weights import CLASS_LAYER, load_state
from ...extract.backbones.weights_folder import find, read_card
from ...extract.networks import views_at_once
from ...extract.plan import Plan
from ...extract.views import ViewSet
from ...extract.warp import warp
from ...fusion.evaluation.calibration import softened
from ...pretrain.card import read_about
from ...pretrain.evaluation import mean_probabilities


class FaceClassifier:
    """Classifies the expression of faces with a network trained by ``avemo pretrain face``.

    Probabilities are the mean over a face's views, calibrated by the temperature in the card of the weights.

    Args:
        text: ``NAME`` or ``NAME@FILE`` of the network.
        views: view set of each face.
        device: a torch device.
        precision: ``auto``, ``fp32``, ``bf16`` or ``int8``.

    Attributes:
        classes: C names.
        temperature: temperature of the probabilities; 1 if the card has none for these views.
        faces_at_once: suitable batch size for the device.

    Raises:
        ExtractError: there is no such network or device.
        WeightsError: the file does not hold this network with a classification layer.
    """

    def __init__(self, text: str, views: ViewSet, device: str, precision: str = "auto") -> None:
        name, _, wanted = text.partition("@")
        self._backbone = load_backbone(text, device, precision)
        spec = get(name)
        path, _ = find(name, wanted, spec.default_weights, spec.twin)
        _, self.classes = read_about(path)
        state = load_state(path)
        self._weight, self._bias = _layer(state, len(self.classes), spec.features, str(path))
        card = read_card(path)
        known = card.get("sha256") == self._backbone.weights_sha256
        told = card.get("calibration", {}).get("temperature", {}) if known else {}
        self.temperature = float(told.get(views.name, 1.0))
        framed = window_transform(spec.window, CHIP_SIZE, spec.input_size)
        self._views = views
        self.faces_at_once = max(1, views_at_once(Plan(device=device)) // len(views))
        self._matrices = compose(framed, views.matrices(CHIP_SIZE))

    @property
    def settings(self) -> dict[str, Any]:
        """The settings that determine the probabilities."""
        return {
            "network": self._backbone.label,
            "weights_sha256": self._backbone.weights_sha256,
            "precision": self._backbone.precision,
            "temperature": self.temperature,
        }

    def looks(self, image: np.ndarray, transform: np.ndarray) -> Tensor:
        """Return the views ``[V, S, S, 3]`` uint8 of a face; ``transform`` maps the frame to the chip."""
        matrices = compose(self._matrices, transform)
        return warp(image, matrices, self._backbone.spec.input_size, self._backbone.device)

    def __call__(self, faces: list[Tensor]) -> np.ndarray:
        """Return probabilities ``[N, C]`` float32 of N faces, given their views from :meth:`looks`."""
        features = self._backbone(torch.cat(faces))
        logits = (features @ self._weight.T + self._bias).reshape(len(faces), len(self._views), -1)
        means = mean_probabilities(logits.numpy())
        return softened(means, self.temperature).astype(np.float32)


def _layer(state: Mapping[str, Tensor], classes: int, features: int, path: str) -> tuple[Tensor, Tensor]:
    """Return weight ``[C, D]`` and bias ``[C]`` of the classification layer."""
    weight, bias = state.get(CLASS_LAYER + "weight"), state.get(CLASS_LAYER + "bias")
    shapes = [None if each is None else tuple(each.shape) for each in (weight, bias)]
    if weight is None or bias is None or shapes != [(classes, features), (classes,)]:
        raise WeightsError(
            f"{path}: its classification layer has weights of shape {shapes[0]} and biases of {shapes[1]}, "
            f"expected {(classes, features)} and {(classes,)}; make the file again with `avemo pretrain face`"
        )
    return weight, bias

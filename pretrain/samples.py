"""Training samples of any kind: labels, and batches of inputs on request."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from .augment import augment, plain, warp_to_view
from .packed import PackedPictures
from .recipe import TrainingRecipe
from .specs import Normalisation


class Samples(Protocol):
    """N labelled samples, which the training loop requests by their indices ``rows``.

    Attributes:
        classes: C names.
        labels: ``[N, C]`` float32, the share of each class.
        full_size: see :meth:`size`.
        at_once: batch size for evaluation.
    """

    classes: tuple[str, ...]
    labels: np.ndarray
    full_size: int
    at_once: int

    def size(self, epoch: int) -> int:
        """Return the size of samples in ``epoch`` (from 0), in pixels or frames; ``full_size`` at the end."""
        ...

    def changed(
        self, rows: np.ndarray, epoch: int, generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """Return the input ``[B, …]``, each sample augmented at random by ``generator`` (on the CPU)."""
        ...

    def plain(self, rows: np.ndarray, size: int, device: torch.device) -> Tensor:
        """Return the input ``[B, …]``, changing only the size."""
        ...


class FaceSamples:
    """Face pictures as :class:`Samples`.

    Args:
        packed: pictures.
        normalisation: normalisation that the network expects.
        recipe: recipe with the augmentation and the sizes.
    """

    at_once = 256

    def __init__(self, packed: PackedPictures, normalisation: Normalisation, recipe: TrainingRecipe) -> None:
        self.classes, self.labels = packed.classes, packed.labels
        self.full_size = normalisation.size
        self._pixels, self._normalisation, self._recipe = packed.pixels, normalisation, recipe

    def size(self, epoch: int) -> int:
        return self._recipe.size(epoch, self.full_size)

    def changed(
        self, rows: np.ndarray, epoch: int, generator: torch.Generator, device: torch.device
    ) -> Tensor:
        pixels = self._on(rows, device)
        return self._normalisation(augment(pixels, self.size(epoch), self._recipe.augmentation, generator))

    def plain(self, rows: np.ndarray, size: int, device: torch.device) -> Tensor:
        return self._normalisation(plain(self._on(rows, device), size))

    def view(self, rows: np.ndarray, matrix: np.ndarray, device: torch.device) -> Tensor:
        """Return :meth:`plain` at full size, warped by a ``[2, 3]`` matrix to the pixels of the view."""
        return self._normalisation(warp_to_view(self._on(rows, device), matrix))

    def _on(self, rows: np.ndarray, device: torch.device) -> Tensor:
        return torch.from_numpy(self._pixels[rows]).to(device)


class FeatureSamples:
    """Features of a frozen network, as :class:`Samples` for training the classification layer.

    Args:
        classes: C names.
        labels: ``[N, C]`` float32.
        features: ``[N, V, D]`` float32 of V views, the plain one first.
    """

    full_size = 1
    at_once = 256

    def __init__(self, classes: tuple[str, ...], labels: np.ndarray, features: np.ndarray) -> None:
        self.classes, self.labels = classes, labels
        self._features = features

    def size(self, epoch: int) -> int:
        return self.full_size

    def changed(
        self, rows: np.ndarray, epoch: int, generator: torch.Generator, device: torch.device
    ) -> Tensor:
        """Return one view of each sample, drawn by ``generator``."""
        views = torch.randint(self._features.shape[1], (len(rows),), generator=generator).numpy()
        return torch.from_numpy(self._features[rows, views]).to(device)

    def plain(self, rows: np.ndarray, size: int, device: torch.device) -> Tensor:
        return torch.from_numpy(self._features[rows, 0]).to(device)

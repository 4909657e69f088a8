"""Evaluates a network on labelled pictures."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from sklearn.metrics import confusion_matrix
from torch import nn

from ..extract.precision import DTYPES, Precision
from ..extract.views import ViewSet
from .samples import FaceSamples, Samples

BATCH = 256


@dataclass(frozen=True, eq=False)
class Figures:
    """The metrics of a set of predictions.

    Attributes:
        classes: C names.
        confusion: ``[C, C]`` counts, true classes down, predicted ones across.
    """

    classes: tuple[str, ...]
    confusion: np.ndarray

    @property
    def accuracy(self) -> float:
        """Share of right predictions, 0 to 1."""
        return float(np.trace(self.confusion) / self.confusion.sum())

    @property
    def recalls(self) -> dict[str, float]:
        """Recall of each class that occurs, 0 to 1."""
        totals = self.confusion.sum(1)
        return {
            name: float(self.confusion[place, place] / totals[place])
            for place, name in enumerate(self.classes)
            if totals[place]
        }

    @property
    def uar(self) -> float:
        """Unweighted average recall over the classes that occur, 0 to 1."""
        return float(np.mean(list(self.recalls.values())))


def figures(classes: Sequence[str], targets: np.ndarray, probabilities: np.ndarray) -> Figures:
    """Of ``[N]`` true classes (indices) and ``[N, C]`` probabilities."""
    predicted = probabilities.argmax(1)
    return Figures(tuple(classes), confusion_matrix(targets, predicted, labels=np.arange(len(classes))))


@torch.inference_mode()
def outputs(
    network: nn.Module,
    samples: FaceSamples,
    rows: np.ndarray,
    views: ViewSet,
    device: str,
    precision: Precision,
    on_pictures: Callable[[int], object],
) -> np.ndarray:
    """``[N, V, D]`` float32: what ``network`` gives for each view of each picture, the plain view first.

    Args:
        network: a classifier, or its trunk alone.
        samples: the pictures.
        rows: N numbers of pictures.
        views: V looks at each.
        device: where to compute.
        precision: and how exactly.
        on_pictures: called with the number of pictures done, after each batch.
    """
    place = torch.device(device)
    network = network.eval().to(place).to(memory_format=torch.channels_last)
    matrices = np.roll(views.matrices(samples.full_size), -views.identity, axis=0)
    found = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        with torch.autocast(place.type, DTYPES[precision], enabled=precision != "fp32"):
            looks = [network(samples.view(part, matrix, place)).float().cpu() for matrix in matrices]
        found.append(torch.stack(looks, dim=1).numpy())
        on_pictures(len(part))
    return np.concatenate(found)


@torch.inference_mode()
def plain_probabilities(
    classifier: nn.Module,
    samples: Samples,
    rows: np.ndarray,
    device: str,
    precision: Precision,
    on_samples: Callable[[int], object],
) -> np.ndarray:
    """``[N, C]`` float64: what ``classifier`` says of samples as they are; see :func:`outputs`."""
    place = torch.device(device)
    classifier = classifier.eval().to(place)
    found = []
    for start in range(0, len(rows), samples.at_once):
        part = rows[start : start + samples.at_once]
        with torch.autocast(place.type, DTYPES[precision], enabled=precision != "fp32"):
            logits = classifier(samples.plain(part, samples.full_size, place))
        found.append(logits.double().softmax(-1).cpu().numpy())
        on_samples(len(part))
    return np.concatenate(found)


def mean_probabilities(logits: np.ndarray) -> np.ndarray:
    """``[N, V, C]`` logits → ``[N, C]`` float64, the mean of the views' softmax."""
    return torch.from_numpy(logits).double().softmax(-1).mean(1).numpy()

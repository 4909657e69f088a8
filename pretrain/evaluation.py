"""Evaluates a network on labelled samples."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import nn

from ..extract.precision import Precision, dtype_of
from ..extract.views import ViewSet
from ..fusion.evaluation.metrics import Summary, summary
from .calibration import CalibrationReport, calibration, scores_of
from .listener import Listener
from .samples import FaceSamples, Samples

BATCH = 256


class Computing(NamedTuple):
    """The device, precision and progress listener of a computation."""

    device: str
    precision: Precision
    listener: Listener = Listener()


@dataclass(frozen=True, eq=False)
class Performance:
    """The performance of a network: fusion's metrics of its predictions, and their calibration."""

    summary: Summary
    calibration: CalibrationReport

    @classmethod
    def of(cls, classes: Sequence[str], labels: np.ndarray, probabilities: np.ndarray) -> Performance:
        """Evaluate ``[N, C]`` probabilities against labels, ``[N, C]`` shares of each class."""
        return cls(summary(scores_of(labels, probabilities, classes)), calibration(labels, probabilities))

    def as_card(self) -> dict[str, Any]:
        """Return the performance as plain values."""
        return {
            "accuracy": round(self.summary.accuracy, 4),
            "uar": round(self.summary.uar, 4),
            "recall": {name: round(value, 4) for name, value in self.summary.recalls.items()},
            "confusion": self.summary.confusion.tolist(),
            "calibration": {name: round(value, 4) for name, value in asdict(self.calibration).items()},
        }


@torch.inference_mode()
def outputs(
    network: nn.Module,
    samples: FaceSamples,
    rows: np.ndarray,
    views: ViewSet,
    computing: Computing,
    on_pictures: Callable[[int], object],
) -> np.ndarray:
    """Compute ``network``'s outputs for each view of each picture, the plain view first.

    Args:
        network: a classifier, or its trunk alone.
        samples: pictures.
        rows: N indices of pictures.
        views: V views of each.
        computing: device and precision.
        on_pictures: called after each batch with its number of pictures.

    Returns:
        ``[N, V, D]`` float32.
    """
    place = torch.device(computing.device)
    network = network.eval().to(place).to(memory_format=torch.channels_last)
    matrices = np.roll(views.matrices(samples.full_size), -views.identity, axis=0)
    found = []
    for start in range(0, len(rows), BATCH):
        part = rows[start : start + BATCH]
        with torch.autocast(place.type, dtype_of(computing.precision), enabled=computing.precision != "fp32"):
            of_views = [network(samples.view(part, matrix, place)).float().cpu() for matrix in matrices]
        found.append(torch.stack(of_views, dim=1).numpy())
        on_pictures(len(part))
    return np.concatenate(found)


@torch.inference_mode()
def plain_probabilities(
    classifier: nn.Module,
    samples: Samples,
    rows: np.ndarray,
    computing: Computing,
    on_samples: Callable[[int], object],
) -> np.ndarray:
    """Compute ``classifier``'s ``[N, C]`` float64 probabilities of unchanged samples; see :func:`outputs`."""
    place = torch.device(computing.device)
    classifier = classifier.eval().to(place)
    found = []
    for start in range(0, len(rows), samples.at_once):
        part = rows[start : start + samples.at_once]
        with torch.autocast(place.type, dtype_of(computing.precision), enabled=computing.precision != "fp32"):
            logits = classifier(samples.plain(part, samples.full_size, place))
        found.append(logits.double().softmax(-1).cpu().numpy())
        on_samples(len(part))
    return np.concatenate(found)


def mean_probabilities(logits: np.ndarray) -> np.ndarray:
    """Average the softmax of ``[N, V, C]`` logits over the views, to ``[N, C]`` float64."""
    return torch.from_numpy(logits).double().softmax(-1).mean(1).numpy()

"""Calibration of a network: expected calibration error and the best temperature.

What :mod:`avemo.fusion.evaluation.calibration` is for clips, for labels that may be shared between
classes, as votes are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from ..fusion.evaluation.calibration import BINS, LEAST, best_temperature, bin_of, softened


@dataclass(frozen=True)
class Calibration:
    """The calibration of a set of predictions, before and after temperature scaling.

    Attributes:
        temperature: the T at which :func:`.softened` probabilities have the least cross entropy.
        loss: cross entropy with the labels, in nats, as the predictions are.
        error: expected calibration error, 0 to 1, as they are.
        tempered_loss: cross entropy at the temperature.
        tempered_error: expected calibration error there.
    """

    temperature: float
    loss: float
    error: float
    tempered_loss: float
    tempered_error: float


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> Calibration:
    """Of ``[N, C]`` shares of each class, and ``[N, C]`` probabilities of pictures not trained on."""
    found = temperature(labels, probabilities)
    after = softened(probabilities, found)
    return Calibration(
        found,
        cross_entropy(labels, probabilities),
        expected_calibration_error(labels, probabilities),
        cross_entropy(labels, after),
        expected_calibration_error(labels, after),
    )


def temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Above 1 where probabilities are too sure of themselves (Guo et al. 2017); from 0.05 to 20."""
    return best_temperature(lambda one: cross_entropy(labels, softened(probabilities, one)))


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -Σ share · log(p), in nats."""
    return float(-(labels * np.log(np.maximum(probabilities, LEAST))).sum(1).mean())


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Σ n_b / n · |accuracy_b - confidence_b| (Guo et al. 2017, eq. 3), right being the largest share."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels.argmax(1)
    gaps = np.bincount(bin_of(confidence, bins), right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))

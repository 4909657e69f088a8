"""Whether a network's probabilities can be believed, and the temperature at which they can best be.

What :mod:`avemo.fusion.evaluation.calibration` is for clips, for labels that may be shared between
classes, as votes are.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from scipy.optimize import minimize_scalar

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0
_LEAST = 1e-12  # a probability of 0 has no logarithm


@dataclass(frozen=True)
class Calibration:
    """Of one set of predictions, before and after.

    Attributes:
        temperature: the T at which :func:`tempered` probabilities have the least cross entropy.
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
    after = tempered(probabilities, found)
    return Calibration(
        found,
        cross_entropy(labels, probabilities),
        expected_calibration_error(labels, probabilities),
        cross_entropy(labels, after),
        expected_calibration_error(labels, after),
    )


def temperature(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Above 1 where probabilities are too sure of themselves (Guo et al. 2017); from 0.05 to 20."""

    def loss(log_temperature: float) -> float:
        return cross_entropy(labels, tempered(probabilities, float(np.exp(log_temperature))))

    bounds = (np.log(COLDEST), np.log(HOTTEST))
    return float(np.exp(minimize_scalar(loss, bounds=bounds, method="bounded", options={"xatol": 1e-6}).x))


def tempered(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """softmax(log(p) / T): the same order, less sure with a T above 1."""
    logits = np.log(np.maximum(probabilities, _LEAST)) / temperature
    values: np.ndarray = np.exp(logits - logits.max(1, keepdims=True))
    return values / values.sum(1, keepdims=True)


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Mean of -Σ share · log(p), in nats."""
    return float(-(labels * np.log(np.maximum(probabilities, _LEAST))).sum(1).mean())


def expected_calibration_error(labels: np.ndarray, probabilities: np.ndarray, bins: int = BINS) -> float:
    """Σ n_b / n · |accuracy_b - confidence_b| (Guo et al. 2017, eq. 3), right being the largest share."""
    confidence = probabilities.max(1)
    right = probabilities.argmax(1) == labels.argmax(1)
    edges = np.linspace(0, 1, bins + 1)
    places = np.clip(np.searchsorted(edges, confidence, side="left") - 1, 0, bins - 1)
    gaps = np.bincount(places, right - confidence, minlength=bins)
    return float(np.abs(gaps).sum() / len(labels))

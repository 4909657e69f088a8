"""Calibration of a network with labels that may be shared between classes, such as votes."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from ..fusion.evaluation.calibration import (
    LEAST,
    best_temperature,
    expected_calibration_error,
    softened,
    tempered,
)
from ..fusion.evaluation.scores import Scores


@dataclass(frozen=True)
class CalibrationReport:
    """The calibration of a set of predictions, before and after temperature scaling.

    Attributes:
        temperature: the T at which :func:`.softened` probabilities have the lowest cross entropy.
        loss: cross entropy with the labels, in nats, before scaling.
        error: expected calibration error, 0 to 1, before scaling.
        tempered_loss: cross entropy after scaling.
        tempered_error: expected calibration error after scaling.
    """

    temperature: float
    loss: float
    error: float
    tempered_loss: float
    tempered_error: float


def calibration(labels: np.ndarray, probabilities: np.ndarray) -> CalibrationReport:
    """Measure the calibration of ``[N, C]`` probabilities on samples not trained on.

    ``labels`` are ``[N, C]`` shares of each class; a prediction is right if it names the largest share. The
    temperature, from 0.05 to 20, is above 1 if probabilities are overconfident (Guo et al. 2017).
    """
    scores = scores_of(labels, probabilities)
    found = best_temperature(lambda one: cross_entropy(labels, softened(probabilities, one)))
    return CalibrationReport(
        found,
        cross_entropy(labels, probabilities),
        expected_calibration_error(scores),
        cross_entropy(labels, softened(probabilities, found)),
        expected_calibration_error(tempered(scores, found)),
    )


def scores_of(labels: np.ndarray, probabilities: np.ndarray, classes: Sequence[str] = ()) -> Scores:
    """Return predictions as fusion's scores; the true class is the one with the largest share."""
    names = tuple(classes) or tuple(map(str, range(labels.shape[1])))
    clips = tuple(("", str(number)) for number in range(len(labels)))
    return Scores(clips, names, probabilities, tuple(names[place] for place in labels.argmax(1)))


def cross_entropy(labels: np.ndarray, probabilities: np.ndarray) -> float:
    """Return the mean of -Σ share · log(p), in nats."""
    return float(-(labels * np.log(np.maximum(probabilities, LEAST))).sum(1).mean())

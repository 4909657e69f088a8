"""Calibration of scores: reliability, expected calibration error, and temperature scaling."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path

import numpy as np
from scipy.optimize import minimize_scalar

from ...cache.reading import read_json
from ..errors import FusionError
from ..files import write_json
from .scores import Scores, joined

BINS = 15
COLDEST, HOTTEST = 0.05, 20.0
LEAST = 1e-12  # a score of 0 has no logarithm


@dataclass(frozen=True)
class Bin:
    """The clips whose highest score is in (``low``, ``high``], with their confidence and accuracy.

    Attributes:
        clips: number of clips.
        confidence: mean of their highest scores, 0 to 1.
        accuracy: share of correct predictions, 0 to 1.
    """

    low: float
    high: float
    clips: int
    confidence: float
    accuracy: float


def reliability(scores: Scores, bins: int = BINS) -> list[Bin]:
    """Return the non-empty bins of a reliability diagram, of equal width over 0 to 1.

    Clips without a true class or scores are ignored.

    Raises:
        FusionError: no clip has both a true class and scores.
    """
    confidence, right = _confidence(scores)
    edges = np.linspace(0, 1, bins + 1)
    places = bin_of(confidence, bins)
    return [
        Bin(
            float(edges[place]),
            float(edges[place + 1]),
            int(chosen.sum()),
            float(confidence[chosen].mean()),
            float(right[chosen].mean()),
        )
        for place in range(bins)
        if (chosen := places == place).any()
    ]


def expected_calibration_error(scores: Scores, bins: int = BINS) -> float:
    """Σ n_b / n · |accuracy_b − confidence_b| over ``bins`` bins of equal width (Guo et al. 2017, eq. 3).

    The confidence of a clip is its highest score. 0 is perfect.

    Raises:
        FusionError: no clip has both a true class and scores.
    """
    found = reliability(scores, bins)
    total = sum(part.clips for part in found)
    return sum(part.clips / total * abs(part.accuracy - part.confidence) for part in found)


def temperature(scores: Scores) -> float:
    """Fit the T that minimises the mean negative log likelihood of :func:`tempered` scores (Guo et al. 2017).

    T is above 1 if the scores are overconfident. The search runs from 0.05 to 20; the result is one of these
    limits if all clips are right or the scores carry no information.

    Args:
        scores: scores of clips outside the training set; clips without a true class or scores are ignored.

    Raises:
        FusionError: no clip has both a true class and scores.
    """
    known = _known(scores)
    truth = np.array([scores.classes.index(str(name)) for name in known.truth])
    logits = np.log(np.maximum(known.values, LEAST))

    def loss(temperature: float) -> float:
        scaled = logits / temperature
        return float(np.mean(np.logaddexp.reduce(scaled, axis=1) - scaled[np.arange(len(truth)), truth]))

    return best_temperature(loss)


def tempered(scores: Scores, temperature: float) -> Scores:
    """Return softmax(log(score) / T): the same predictions, less confident if T is above 1.

    Raises:
        FusionError: ``temperature`` is not above 0.
    """
    if not (np.isfinite(temperature) and temperature > 0):
        raise FusionError(f"a temperature of {temperature:g}; a number above 0 expected")
    return replace(scores, values=softened(scores.values, temperature))


def softened(probabilities: np.ndarray, temperature: float) -> np.ndarray:
    """Return softmax(log(p) / T) of ``[N, C]`` probabilities: the same order, less confident if T > 1."""
    logits = np.log(np.maximum(probabilities, LEAST)) / temperature
    values: np.ndarray = np.exp(logits - logits.max(axis=1, keepdims=True))
    return values / values.sum(axis=1, keepdims=True)


def best_temperature(loss: Callable[[float], float]) -> float:
    """Return the T from 0.05 to 20 that minimises ``loss``."""
    found = minimize_scalar(
        lambda log_temperature: loss(float(np.exp(log_temperature))),
        bounds=(np.log(COLDEST), np.log(HOTTEST)),
        method="bounded",
        options={"xatol": 1e-6},
    )
    return float(np.exp(found.x))


def bin_of(confidence: np.ndarray, bins: int) -> np.ndarray:
    """Return the bin index of each of ``[N]`` confidences, for bins of equal width over 0 to 1."""
    places = np.searchsorted(np.linspace(0, 1, bins + 1), confidence, side="left") - 1
    return np.clip(places, 0, bins - 1)


@dataclass(frozen=True)
class Calibration:
    """The temperature of a run's mean scores, and the clips it was fitted on.

    Attributes:
        temperature: see :func:`temperature`.
        clips: number of labelled clips it was fitted on; no member was trained on them.
        split: the split of these clips.
    """

    temperature: float
    clips: int
    split: str

    @classmethod
    def fitted(cls, scores: Scores, split: str) -> Calibration:
        """Fit the temperature on the labelled clips of ``split``.

        Raises:
            FusionError: no clip has both a true class and scores.
        """
        return cls(temperature(scores), len(_known(scores).clips), split)

    @classmethod
    def read(cls, path: Path) -> Calibration:
        """Read a file written by :meth:`write`.

        Raises:
            FusionError: the file cannot be read, or its temperature is out of range.
        """
        try:
            content = read_json(path)
            found = cls(float(content["temperature"]), int(content["clips"]), str(content["split"]))
        except (OSError, ValueError, KeyError, TypeError, OverflowError) as error:
            raise FusionError(f"{path} cannot be read ({error!r}); delete it and train again") from error
        if not COLDEST / 2 <= found.temperature <= HOTTEST * 2:
            raise FusionError(
                f"{path}: a temperature of {found.temperature:g}; {COLDEST:g} to {HOTTEST:g} expected; "
                "delete it and train again"
            )
        return found

    def write(self, path: Path) -> None:
        """Write the calibration as JSON.

        Raises:
            FusionError: the file cannot be written.
        """
        write_json(path, asdict(self))

    def __call__(self, scores: Scores) -> Scores:
        """Apply the temperature to ``scores``."""
        return tempered(scores, self.temperature)

    def __str__(self) -> str:
        clips = f"{self.clips} labelled clip{'s' if self.clips > 1 else ''} of {self.split}"
        return f"temperature {self.temperature:.3g}, fitted on {clips}"


def tempered_by_others(parts: Sequence[Scores]) -> list[tuple[float, Scores]]:
    """Calibrate each fold of a cross-validation with the :func:`temperature` fitted on the other folds.

    A clip's own class does not affect its temperature, but the members that scored the other folds were
    trained on the clip.

    Args:
        parts: held-out scores of each fold, two or more.

    Returns:
        The temperature and the calibrated scores of each fold.

    Raises:
        FusionError: the other folds have no clip with a true class and scores.
    """
    found = []
    for place, part in enumerate(parts):
        others = temperature(joined(other for i, other in enumerate(parts) if i != place))
        found.append((others, tempered(part, others)))
    return found


def _known(scores: Scores) -> Scores:
    known = scores.labelled
    known = known.take(np.flatnonzero(known.scored).tolist())
    if not known.clips:
        raise FusionError(f"none of the {len(scores.clips)} clips has both a known class and scores")
    return known


def _confidence(scores: Scores) -> tuple[np.ndarray, np.ndarray]:
    """Return the highest score of each labelled clip, and whether its prediction is right."""
    known = _known(scores)
    right = [name == truth for name, truth in zip(known.predicted, known.truth, strict=True)]
    return known.values.max(axis=1), np.array(right)

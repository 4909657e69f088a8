"""Re-weights scores by assumed class frequencies (zhou2019 section 3).

The paper multiplies the mean scores by the square roots of class counts, so that frequent classes win
close calls: the prediction is ``argmax(mean scores * weights)``. :func:`reestimate` instead estimates the
class frequencies of the scored clips themselves.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np
from scipy.stats import chi2

from ...cache.reading import read_json
from ..errors import FusionError
from .scores import Scores, check_same_classes
from .tables import number, read_table

LARGEST = 1e100  # largest weight; sums of weights stay finite


@dataclass(frozen=True)
class Prior:
    """Class weights and their origin.

    Attributes:
        weights: class → weight, 0 or more, adding up to 1.
        note: a caveat for readers of the result.
    """

    weights: Mapping[str, float]
    note: str

    def __post_init__(self) -> None:
        for name, weight in self.weights.items():
            if not (np.isfinite(weight) and weight >= 0):
                raise FusionError(f"the weight of class {name!r} is {weight:g}; 0 or more expected")
        total = sum(self.weights.values())
        if not total:
            raise FusionError(f"the {len(self.weights)} class weights add up to 0; one above 0 expected")
        shares = {name: weight / total for name, weight in self.weights.items()}
        object.__setattr__(self, "weights", shares)


@dataclass(frozen=True)
class Reestimate:
    """Result of :func:`reestimate`.

    Attributes:
        trained: share of each class among the training clips.
        shares: estimated share of each class among the scored clips.
        iterations: number of iterations.
        converged: whether they converged.
        p_value: p of the likelihood-ratio test that the shares equal the trained ones (Saerens et al. §2.3,
            χ² with C − 1 degrees of freedom).
    """

    trained: Mapping[str, float]
    shares: Mapping[str, float]
    iterations: int
    converged: bool
    p_value: float

    @property
    def weights(self) -> dict[str, float]:
        """Factors for the scores: estimated share / trained share."""
        return {name: share / self.trained[name] for name, share in self.shares.items()}


def reestimate(
    scores: Scores,
    training: Mapping[str, float],
    tolerance: float = 1e-8,
    most_iterations: int = 10_000,
) -> Reestimate:
    """Estimate class shares of unlabelled clips by EM (Saerens, Latinne, Decaestecker 2002).

    Iterates eq. (2.9): multiply each clip's scores by shares / trained shares and normalise them to a sum of
    1; the mean over clips gives the next shares. The likelihood never falls. Scores must be probabilities
    under the training shares; overconfident scores bias the estimate, so calibrate them first.

    Args:
        scores: ``[N, C]`` scores of the clips; true classes and clips without scores are ignored.
        training: number or share of training clips of each class.
        tolerance: stop when no share changes by more than this in an iteration.
        most_iterations: maximum number of iterations.

    Raises:
        FusionError: the classes differ, a class has no training clips, no clip has scores, or most scores
            are hard (a 1 and otherwise 0), which no prior can change.
    """
    check_same_classes(scores.classes, list(training))
    scores = scores.take(np.flatnonzero(scores.scored).tolist())
    if not scores.clips:
        raise FusionError("no clip has scores, so no prior can be re-estimated from them")
    empty = [name for name in scores.classes if not training[name] > 0]
    if empty:
        raise FusionError(f"no training clips of {', '.join(empty)}, so its prior cannot be re-estimated")
    hard = int((scores.values.max(axis=1) >= 1).sum())
    if 2 * hard > len(scores.clips):
        raise FusionError(
            f"{hard} of {len(scores.clips)} clips have hard scores (a 1 and otherwise 0), from which no "
            "prior can be re-estimated; use probabilities that are not rounded to classes"
        )
    counts = np.array([training[name] for name in scores.classes], dtype=np.float64)
    trained = counts / counts.sum()
    shares, iterations, change = trained, 0, np.inf
    while change > tolerance and iterations < most_iterations:
        joint = scores.values * (shares / trained)
        following = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
        change = float(np.abs(following - shares).max())
        shares, iterations = following, iterations + 1
    ratio = float(np.log((scores.values * (shares / trained)).sum(axis=1) / scores.values.sum(axis=1)).sum())
    return Reestimate(
        dict(zip(scores.classes, trained.tolist(), strict=True)),
        dict(zip(scores.classes, shares.tolist(), strict=True)),
        iterations,
        change <= tolerance,
        float(chi2.sf(2 * max(0.0, ratio), len(scores.classes) - 1)),
    )


def reweight(scores: Scores, weights: Mapping[str, float]) -> Scores:
    """Multiply scores by class weights and normalise each row to a sum of 1 (zhou2019 section 3).

    Args:
        scores: ``[N, C]`` probabilities.
        weights: class → weight.

    Raises:
        FusionError: the classes differ, or all weighted scores of a clip are 0.
    """
    check_same_classes(scores.classes, list(weights))
    values = scores.values * [weights[name] for name in scores.classes]
    sums = values.sum(axis=1, keepdims=True)
    for index in np.flatnonzero(sums == 0)[:1]:
        raise FusionError(
            f"all weighted scores of clip {'/'.join(scores.clips[index])} are 0; give the class "
            f"{scores.predicted[index]!r} a weight above 0"
        )
    return replace(scores, values=values / sums)


def from_counts(counts: Mapping[str, int], note: str) -> Prior:
    """Return a prior of the square roots of class counts (zhou2019 section 3)."""
    return Prior(_roots(counts), note)


def from_file(path: Path) -> Prior:
    """Read a prior from a file.

    Weights come from a CSV with columns ``class,weight`` or a JSON object of classes and weights. A CSV with
    columns ``class,count`` holds counts, whose square roots are the weights.

    Raises:
        FusionError: the file has none of these formats.
    """
    weights = _from_json(path) if path.suffix.lower() == ".json" else _from_csv(path)
    try:
        return Prior(weights, f"the weights of {path}")
    except FusionError as error:
        raise FusionError(f"{path}: {error}") from error


def counts_from_file(path: Path) -> dict[str, int]:
    """Read the number of clips of each class from a CSV with columns ``class,count``.

    Raises:
        FusionError: the file is not such a table, or a count is not a whole number.
    """
    return {name: int(value) for name, value in _column(path, "count").items()}


def _roots(counts: Mapping[str, float]) -> dict[str, float]:
    return {name: float(np.sqrt(count)) for name, count in counts.items()}


def _from_json(path: Path) -> dict[str, float]:
    try:
        weights = read_json(path)
    except (OSError, ValueError) as error:
        raise FusionError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(weights, dict) or not all(
        type(weight) in (int, float) and not weight > LARGEST for weight in weights.values()
    ):
        raise FusionError(
            f'{path} is not a JSON object of class weights; expected {{"Happy": 0.2, "Sad": 0.1}}'
        )
    return {name: float(weight) for name, weight in weights.items()}


def _from_csv(path: Path) -> dict[str, float]:
    header = read_table(path, ["class"], "class,weight or class,count").header
    return _roots(_column(path, "count")) if "count" in header else _column(path, "weight")


def _column(path: Path, column: str) -> dict[str, float]:
    table = read_table(path, ["class", column], f"class,{column}")
    values: dict[str, float] = {}
    for row in table.rows:
        name, value = row.cells["class"], number(path, row, column)
        if name in values:
            raise FusionError(
                f"{path}, row {row.number}: class {name!r} appears a second time; keep one of its rows"
            )
        if not value >= 0 or (column == "count" and not value.is_integer()):
            kind = "whole number" if column == "count" else "number"
            raise FusionError(
                f"{path}, row {row.number}, column {column!r}: {value:g} is not a {kind} of 0 or more; "
                "correct it"
            )
        values[name] = value
    return values

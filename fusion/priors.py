"""Re-weighting of scores by how frequent each class is thought to be (zhou2019 section 3).

The paper multiplies the mean scores by the square roots of class counts, so that frequent classes win
close calls: the prediction is ``argmax(mean scores * weights)``.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from .errors import FusionError
from .scores import Scores, check_same_classes
from .tables import number, read_table


@dataclass(frozen=True)
class Prior:
    """Class weights, and where they come from.

    Attributes:
        weights: a weight for each class, 0 or more, adding up to 1.
        note: what whoever reads the result should know of it.
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


def reweight(scores: Scores, weights: Mapping[str, float]) -> Scores:
    """Scores times class weights, each row brought to a sum of 1 again (zhou2019 section 3).

    Args:
        scores: ``[N, C]`` probabilities.
        weights: a weight for each class, by name.

    Raises:
        FusionError: the classes differ, or a clip is left with no probability at all.
    """
    check_same_classes(scores.classes, list(weights))
    values = scores.values * [weights[name] for name in scores.classes]
    sums = values.sum(axis=1, keepdims=True)
    for index in np.flatnonzero(sums == 0)[:1]:
        raise FusionError(
            f"the weights leave clip {'/'.join(scores.clips[index])} no class at all; give the class "
            f"{scores.predicted[index]!r} a weight above 0"
        )
    return replace(scores, values=values / sums)


def from_counts(counts: Mapping[str, int], note: str) -> Prior:
    """Square roots of how many clips each class has (zhou2019 section 3)."""
    return Prior(_roots(counts), note)


def from_file(path: Path) -> Prior:
    """Weights from a file.

    A CSV with the columns ``class,weight`` gives them as they are, one with ``class,count`` gives counts,
    of which the square roots are taken; a JSON object maps classes to weights.

    Raises:
        FusionError: the file cannot be read as any of these.
    """
    weights = _from_json(path) if path.suffix.lower() == ".json" else _from_csv(path)
    try:
        return Prior(weights, f"the weights of {path}")
    except FusionError as error:
        raise FusionError(f"{path}: {error}") from error


def counts_from_file(path: Path) -> dict[str, int]:
    """Clips of each class, from a CSV with the columns ``class,count``.

    Raises:
        FusionError: the file is no such table, or a count is no whole number.
    """
    return {name: int(value) for name, value in _column(path, "count").items()}


def _roots(counts: Mapping[str, float]) -> dict[str, float]:
    return {name: float(np.sqrt(count)) for name, count in counts.items()}


def _from_json(path: Path) -> dict[str, float]:
    try:
        weights = json.loads(path.read_text(encoding="utf-8"))
    except (OSError, ValueError) as error:
        raise FusionError(f"{path} cannot be read as JSON: {error}") from error
    if not isinstance(weights, dict) or not all(type(weight) in (int, float) for weight in weights.values()):
        raise FusionError(f'{path} is no JSON object of class weights; {{"Happy": 0.2, "Sad": 0.1}} expected')
    return weights


def _from_csv(path: Path) -> dict[str, float]:
    header = read_table(path, ["class"], "class,weight or class,count").header
    return _roots(_column(path, "count")) if "count" in header else _column(path, "weight")


def _column(path: Path, column: str) -> dict[str, float]:
    table = read_table(path, ["class", column], f"class,{column}")
    values: dict[str, float] = {}
    for row in table.rows:
        name, value = row.cells["class"], number(path, row, column)
        if name in values:
            raise FusionError(f"{path}, row {row.number}: class {name!r} stands here a second time")
        if not value >= 0 or (column == "count" and not value.is_integer()):
            kind = "whole number" if column == "count" else "number"
            raise FusionError(
                f"{path}, row {row.number}, column {column!r}: {value:g} is no {kind} of 0 or more"
            )
        values[name] = value
    return values

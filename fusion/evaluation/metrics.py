"""Metrics: accuracy, unweighted average recall, macro F1, confusion matrix, and metrics of each class."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from sklearn.metrics import accuracy_score, confusion_matrix, f1_score, recall_score

from ..errors import FusionError
from .scores import Scores


@dataclass(frozen=True, eq=False)
class Summary:
    """The metrics of a set of scores.

    Attributes:
        clips: number of clips with a true class; the metrics are over these.
        accuracy: share of correct predictions, 0 to 1.
        uar: unweighted average recall, 0 to 1.
        macro_f1: unweighted average F1, 0 to 1.
        classes: C class names.
        confusion: ``[C, C]`` counts; rows are true classes, columns predicted ones.
    """

    clips: int
    accuracy: float
    uar: float
    macro_f1: float
    classes: tuple[str, ...]
    confusion: np.ndarray

    @property
    def recalls(self) -> dict[str, float]:
        """Recall of each class that occurs, 0 to 1."""
        totals = self.confusion.sum(axis=1)
        return {
            name: float(self.confusion[i, i] / totals[i]) for i, name in enumerate(self.classes) if totals[i]
        }


@dataclass(frozen=True)
class ClassFigures:
    """Metrics of one class, 0 to 1. ``clips`` is the number of clips of that true class."""

    name: str
    clips: int
    recall: float
    precision: float
    f1: float


def accuracy(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the share of correct predictions, 0 to 1."""
    _check(truth, predicted)
    return float(accuracy_score(truth, predicted))


def unweighted_average_recall(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the mean recall over the classes that occur in ``truth``, 0 to 1."""
    _check(truth, predicted)
    return float(recall_score(truth, predicted, labels=sorted({*truth}), average="macro", zero_division=0))


def macro_f1(truth: Sequence[str], predicted: Sequence[str]) -> float:
    """Return the mean F1 over the classes that occur in ``truth``, 0 to 1; 0 for a class never predicted."""
    _check(truth, predicted)
    return float(f1_score(truth, predicted, labels=sorted({*truth}), average="macro", zero_division=0))


def confusion(truth: Sequence[str], predicted: Sequence[str], classes: Sequence[str]) -> np.ndarray:
    """Return the confusion matrix ``[C, C]``: true classes down, predicted across, ordered as ``classes``."""
    _check(truth, predicted)
    unknown = sorted({*truth, *predicted} - {*classes})
    if unknown:
        raise FusionError(f"{', '.join(unknown)} among the labels, but the classes are {', '.join(classes)}")
    return np.asarray(confusion_matrix(truth, predicted, labels=list(classes)))


def summary(scores: Scores) -> Summary:
    """Compute all metrics over the clips with a true class.

    Raises:
        FusionError: no clip has a true class.
    """
    known = scores.labelled
    truth = [name for name in known.truth if name is not None]
    if not truth:
        raise FusionError(
            f"none of the {len(scores.clips)} clips has a known class, so nothing can be counted"
        )
    return Summary(
        clips=len(truth),
        accuracy=accuracy(truth, known.predicted),
        uar=unweighted_average_recall(truth, known.predicted),
        macro_f1=macro_f1(truth, known.predicted),
        classes=scores.classes,
        confusion=confusion(truth, known.predicted, scores.classes),
    )


def of_classes(summary: Summary) -> list[ClassFigures]:
    """Return recall, precision and F1 of each class that occurs. Precision is 0 if it is never predicted."""
    counts = summary.confusion
    found = []
    for place, name in enumerate(summary.classes):
        hits, clips, named = counts[place, place], counts[place].sum(), counts[:, place].sum()
        if clips:
            shares = hits / clips, hits / max(1, named), 2 * hits / (clips + named)
            found.append(ClassFigures(name, int(clips), *map(float, shares)))
    return found


def figures(confusions: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Compute accuracy, unweighted average recall and macro F1 of many confusion matrices at once.

    Args:
        confusions: ``[..., C, C]`` counts; rows are true classes; at least one clip per matrix.

    Returns:
        Three arrays ``[...]``, equal to :func:`accuracy`, :func:`unweighted_average_recall` and
        :func:`macro_f1` of the same clips.
    """
    hits = np.diagonal(confusions, axis1=-2, axis2=-1).astype(np.float64)
    true, named = confusions.sum(axis=-1), confusions.sum(axis=-2)
    occurring = (true > 0).sum(axis=-1)
    recall = hits / np.maximum(true, 1)
    f1 = np.where(true > 0, 2 * hits / np.maximum(true + named, 1), 0)
    shares = hits.sum(axis=-1) / true.sum(axis=-1)
    return shares, recall.sum(axis=-1) / occurring, f1.sum(axis=-1) / occurring


def _check(truth: Sequence[str], predicted: Sequence[str]) -> None:
    if len(truth) != len(predicted) or not truth:
        raise FusionError(
            f"{len(truth)} true and {len(predicted)} predicted classes; one of each for every clip expected, "
            "and at least one clip"
        )

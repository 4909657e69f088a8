"""Metrics against plain counting."""

from __future__ import annotations

import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.metrics import accuracy, confusion, macro_f1, summary, unweighted_average_recall
from avemo.fusion.scores import Scores

CLASSES = ("Angry", "Disgust", "Fear", "Happy")


def labels(seed: int, classes: tuple[str, ...], count: int = 60) -> list[str]:
    return [str(name) for name in np.random.default_rng(seed).choice(classes, count)]


def counted(truth: list[str], predicted: list[str]) -> tuple[float, float, float]:
    """Accuracy, unweighted average recall and macro F1 by counting, over the classes in ``truth``."""
    recalls, f1s = [], []
    for name in set(truth):
        hits = sum(t == p == name for t, p in zip(truth, predicted, strict=True))
        recalls.append(hits / truth.count(name))
        f1s.append(2 * hits / (truth.count(name) + predicted.count(name)))
    right = sum(t == p for t, p in zip(truth, predicted, strict=True))
    return right / len(truth), sum(recalls) / len(recalls), sum(f1s) / len(f1s)


@pytest.mark.parametrize("seed", range(5))
@pytest.mark.parametrize("occurring", [CLASSES, CLASSES[:2]])
def test_metrics_are_what_counting_gives(seed: int, occurring: tuple[str, ...]) -> None:
    truth, predicted = labels(seed, occurring), labels(seed + 100, CLASSES[1:])
    found = (
        accuracy(truth, predicted),
        unweighted_average_recall(truth, predicted),
        macro_f1(truth, predicted),
    )
    assert found == pytest.approx(counted(truth, predicted), abs=1e-12)


def test_a_class_that_does_not_occur_is_not_counted() -> None:
    assert unweighted_average_recall(["a", "a", "b"], ["a", "a", "c"]) == 0.5
    assert unweighted_average_recall(["a", "a"], ["a", "b"]) == 0.5


def test_confusion_has_the_truth_down() -> None:
    truth, predicted = labels(1, CLASSES), labels(2, CLASSES)
    expected = [
        [sum((t, p) == (down, across) for t, p in zip(truth, predicted, strict=True)) for across in CLASSES]
        for down in CLASSES
    ]
    np.testing.assert_array_equal(confusion(truth, predicted, CLASSES), expected)
    with pytest.raises(FusionError, match="Sad among the labels, but the classes are Angry"):
        confusion(["Sad"], ["Angry"], CLASSES)


def test_summary_is_over_labelled_clips() -> None:
    values = np.eye(4)[[0, 0, 1, 2]]
    clips = tuple(("val", str(i)) for i in range(4))
    found = summary(Scores(clips, CLASSES, values, ("Angry", None, "Angry", "Fear")))
    assert (found.clips, found.accuracy, found.uar) == (3, pytest.approx(2 / 3), pytest.approx(0.75))
    assert found.recalls == {"Angry": 0.5, "Fear": 1.0}
    assert found.confusion.sum() == 3
    with pytest.raises(FusionError, match="none of the 4 clips has a known class"):
        summary(Scores(clips, CLASSES, values, (None,) * 4))


def test_lengths_must_fit() -> None:
    for truth, predicted in ((["a"], ["a", "b"]), ([], [])):
        with pytest.raises(FusionError, match="at least one clip"):
            accuracy(truth, predicted)

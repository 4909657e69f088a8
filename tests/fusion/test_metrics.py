"""Metrics and their intervals against plain counting."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.intervals import bootstrap
from avemo.fusion.evaluation.metrics import (
    accuracy,
    confusion,
    figures,
    macro_f1,
    of_classes,
    summary,
    unweighted_average_recall,
)
from avemo.fusion.evaluation.scores import Scores

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


def test_figures_of_many_confusions_are_those_of_each() -> None:
    sets = [(labels(seed, CLASSES[: 2 + seed % 3]), labels(seed + 50, CLASSES)) for seed in range(9)]
    found = figures(np.array([confusion(*pair, CLASSES) for pair in sets]).reshape(3, 3, 4, 4))
    for place, pair in enumerate(sets):
        each = [values[place // 3, place % 3] for values in found]
        assert each == pytest.approx(counted(*pair), abs=1e-12)


def test_figures_of_each_class() -> None:
    truth, predicted = ["a", "a", "a", "b", "b"], ["a", "a", "b", "b", "c"]
    values = np.eye(3)[["abc".index(name) for name in predicted]]
    scores = Scores(tuple(("", str(i)) for i in range(5)), ("a", "b", "c"), values, tuple(truth))
    a, b = of_classes(summary(scores))
    assert (a.name, a.clips, a.recall, a.precision) == ("a", 3, pytest.approx(2 / 3), 1)
    assert a.f1 == pytest.approx(0.8)
    assert (b.name, b.clips, b.recall, b.precision, b.f1) == ("b", 2, 0.5, 0.5, 0.5)


def some_scores(count: int, right: float, seed: int = 0) -> Scores:
    rng = np.random.default_rng(seed)
    truth = rng.integers(0, 4, count)
    predicted = np.where(rng.random(count) < right, truth, (truth + 1) % 4)
    clips = tuple(("all", str(i)) for i in range(count))
    return Scores(clips, CLASSES, np.eye(4)[predicted], tuple(CLASSES[i] for i in truth))


def test_the_interval_of_an_accuracy_is_the_binomial_one() -> None:
    scores = some_scores(168, 0.5)
    found = bootstrap(scores, resamples=20_000)
    share = summary(scores).accuracy
    expected = stats.binom(168, share).ppf([0.025, 0.975]) / 168
    assert (found.accuracy.low, found.accuracy.high) == pytest.approx(expected, abs=0.005)
    assert found.units == 168
    assert found.uar.low < summary(scores).uar < found.uar.high
    assert found.macro_f1.low < summary(scores).macro_f1 < found.macro_f1.high
    assert bootstrap(scores, seed=1) == bootstrap(scores, seed=1) != bootstrap(scores, seed=2)


def test_whole_groups_are_drawn() -> None:
    """Two groups, one all right and one all wrong: a draw of two has an accuracy of 0, 1/2 or 1."""
    values = np.eye(4)[[0] * 20 + [1] * 20]
    clips = tuple(("all", str(i)) for i in range(40))
    scores = Scores(clips, CLASSES, values, ("Angry",) * 40)
    found = bootstrap(scores, ["x"] * 20 + ["y"] * 20)
    assert (found.accuracy.low, found.accuracy.high, found.units) == (0, 1, 2)
    by_clips = bootstrap(scores)
    assert by_clips.accuracy.low > 0.3 and by_clips.accuracy.high < 0.7
    each = bootstrap(scores, [str(i) for i in range(40)], resamples=20_000)
    assert each.accuracy.low == pytest.approx(by_clips.accuracy.low, abs=0.03)
    with pytest.raises(FusionError, match="all clips are of x; a bootstrap of groups needs two"):
        bootstrap(scores, ["x"] * 40)


def test_whole_groups_against_scipy() -> None:
    scores = some_scores(120, 0.6)
    groups = [str(i % 8) for i in range(120)]
    right = np.array([a == b for a, b in zip(scores.truth, scores.predicted, strict=True)])
    of_groups = (np.array([right[k::8].mean() for k in range(8)]),)
    expected = stats.bootstrap(of_groups, np.mean, n_resamples=20_000, method="percentile", rng=0)
    found = bootstrap(scores, groups, resamples=20_000).accuracy
    assert (found.low, found.high) == pytest.approx(expected.confidence_interval, abs=0.01)

"""Calibration: the error against hand-worked numbers, the temperature against a known one."""

from __future__ import annotations

import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.calibration import (
    COLDEST,
    HOTTEST,
    expected_calibration_error,
    reliability,
    temperature,
    tempered,
    tempered_by_others,
)
from avemo.fusion.evaluation.scores import Scores


def scores(values: object, truth: str) -> Scores:
    array = np.array(values, dtype=float)
    clips = tuple(("val", str(i)) for i in range(len(array)))
    labels = tuple(None if name == "-" else name for name in truth)
    return Scores(clips, tuple("abc"[: array.shape[1]]), array, labels)


def drawn(count: int, hotter: float = 1.0, seed: int = 0) -> Scores:
    """Clips whose classes are drawn from given probabilities; the scores are those, raised to ``hotter``."""
    rng = np.random.default_rng(seed)
    true = rng.dirichlet([0.7, 0.7, 0.7], count)
    truth = [int(rng.choice(3, p=row)) for row in true]
    claimed = true**hotter
    return scores(claimed / claimed.sum(axis=1, keepdims=True), "".join("abc"[i] for i in truth))


def test_the_error_by_hand() -> None:
    """Two bins of 15: three clips at 0.9 of which two are right, one at 0.6 that is wrong."""
    found = scores([[0.9, 0.1], [0.9, 0.1], [0.1, 0.9], [0.6, 0.4], [0.5, 0.5]], "aabb-")
    low, high = reliability(found)
    assert (low.clips, low.confidence, low.accuracy) == (1, 0.6, 0.0)
    assert (high.clips, high.confidence, high.accuracy) == (3, pytest.approx(0.9), pytest.approx(1.0))
    assert low.low < 0.6 <= low.high and high.low < 0.9 <= high.high
    assert expected_calibration_error(found) == pytest.approx(1 / 4 * 0.6 + 3 / 4 * 0.1)


def test_a_score_on_an_edge_is_in_the_bin_below_and_every_clip_in_one() -> None:
    edges = np.linspace(0, 1, 16)[8:]
    found = scores([[edge, 1 - edge] for edge in edges], "a" * len(edges))
    parts = reliability(found)
    assert [part.clips for part in parts] == [1] * len(edges)
    assert [part.high for part in parts] == pytest.approx(edges)
    assert sum(part.clips for part in reliability(drawn(500))) == 500


def test_calibrated_scores_have_little_error_and_a_temperature_of_one() -> None:
    found = drawn(20_000)
    assert expected_calibration_error(found) < 0.015
    assert temperature(found) == pytest.approx(1, abs=0.05)


@pytest.mark.parametrize("hotter", [0.4, 2.5])
def test_a_known_temperature_is_found(hotter: float) -> None:
    found = drawn(20_000, hotter)
    degree = temperature(found)
    assert degree == pytest.approx(hotter, rel=0.05)
    cooled = tempered(found, degree)
    assert cooled.predicted == found.predicted
    np.testing.assert_allclose(cooled.values.sum(axis=1), 1, atol=1e-12)
    assert expected_calibration_error(cooled) < expected_calibration_error(found) / 4


def test_the_temperature_has_the_least_loss() -> None:
    found = drawn(300, 2.0)
    places = ["abc".index(str(name)) for name in found.truth]

    def loss(degree: float) -> float:
        return float(-np.log(tempered(found, degree).values[np.arange(300), places]).mean())

    degree = temperature(found)
    assert all(loss(degree) <= loss(other) + 1e-9 for other in np.geomspace(COLDEST, HOTTEST, 200))


def test_extremes_stay_finite() -> None:
    right = scores([[1.0, 0.0], [0.0, 1.0]], "ab")
    assert temperature(right) == pytest.approx(COLDEST, rel=0.01)
    wrong = scores([[1.0, 0.0], [0.0, 1.0]], "ba")
    assert temperature(wrong) == pytest.approx(HOTTEST, rel=0.01)
    assert np.isfinite(tempered(right, HOTTEST).values).all()
    np.testing.assert_allclose(tempered(right, COLDEST).values, right.values, atol=1e-12)


def test_other_folds_alone_decide_a_folds_temperature() -> None:
    parts = [drawn(200, 2.0, seed) for seed in range(3)]
    parts = [
        Scores(tuple((str(k), clip) for _, clip in part.clips), part.classes, part.values, part.truth)
        for k, part in enumerate(parts)
    ]
    first = tempered_by_others(parts)
    turned = Scores(
        parts[0].clips,
        parts[0].classes,
        parts[0].values,
        tuple("abc"["bca".index(str(t))] for t in parts[0].truth),
    )
    second = tempered_by_others([turned, *parts[1:]])
    assert first[0][0] == second[0][0]
    assert first[1][0] != second[1][0]
    np.testing.assert_array_equal(first[0][1].values, tempered(parts[0], first[0][0]).values)


def test_wrong_input_is_refused() -> None:
    unknown = scores([[0.5, 0.5]], "-")
    for function in (reliability, expected_calibration_error, temperature):
        with pytest.raises(FusionError, match="none of the 1 clips has both a known class"):
            function(unknown)
    for degree in (0, -1, float("nan")):
        with pytest.raises(FusionError, match="a temperature of"):
            tempered(unknown, degree)

"""Prior re-weighting (zhou2019 section 3) against the paper's numbers and a plain loop."""

from __future__ import annotations

import math
from pathlib import Path

import click
import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.priors import counts_from_file, from_counts, from_file, reweight
from avemo.fusion.scores import Scores
from avemo.pipelines.priors import EMOTIW2019_TEST_COUNTS, choose

PRINTED = {
    "Angry": "0.15",
    "Disgust": "0.097",
    "Fear": "0.129",
    "Happy": "0.185",
    "Sad": "0.138",
    "Surprise": "0.082",
    "Neutral": "0.215",
}


def test_the_papers_seven_weights() -> None:
    """The paper cuts some of its numbers and rounds others: each is ours to within its last digit."""
    prior = choose("emotiw2019", None)
    assert prior is not None
    assert "that challenge's test labels" in prior.note
    assert set(prior.weights) == set(PRINTED)
    assert sum(EMOTIW2019_TEST_COUNTS.values()) == 653
    for name, text in PRINTED.items():
        last_digit = 10.0 ** -len(text.split(".")[1])
        assert abs(prior.weights[name] - float(text)) < last_digit
        cut, rounded = math.floor(prior.weights[name] / last_digit), round(prior.weights[name] / last_digit)
        assert round(float(text) / last_digit) in (cut, rounded)


def some(seed: int = 0) -> Scores:
    classes = tuple(sorted(PRINTED))
    values = np.random.default_rng(seed).dirichlet(np.ones(7), 40)
    return Scores(tuple(("test", str(i)) for i in range(40)), classes, values, (None,) * 40)


def test_reweighting_against_a_loop() -> None:
    scores, prior = some(), choose("emotiw2019", None)
    assert prior is not None
    found = reweight(scores, prior.weights)
    for row, result, predicted in zip(scores.values, found.values, found.predicted, strict=True):
        products = [p * prior.weights[name] for p, name in zip(row, scores.classes, strict=True)]
        np.testing.assert_allclose(result, [p / sum(products) for p in products], rtol=1e-14)
        assert predicted == scores.classes[products.index(max(products))]
    assert found.predicted != scores.predicted


def test_weights_go_by_name() -> None:
    scores = some()
    weights = {name: i + 1.0 for i, name in enumerate(scores.classes)}
    backwards = dict(reversed(weights.items()))
    np.testing.assert_array_equal(reweight(scores, weights).values, reweight(scores, backwards).values)
    turned = reweight(scores.reorder(scores.classes[::-1]), weights)
    np.testing.assert_allclose(turned.reorder(scores.classes).values, reweight(scores, weights).values)
    with pytest.raises(FusionError, match="missing: Zeal; too many: Sad"):
        reweight(scores, {**{n: w for n, w in weights.items() if n != "Sad"}, "Zeal": 1.0})


def test_equal_weights_change_nothing() -> None:
    scores = some()
    found = reweight(scores, dict.fromkeys(scores.classes, 0.3))
    np.testing.assert_allclose(found.values, scores.values, rtol=1e-14)


def test_a_clip_must_keep_some_class() -> None:
    scores = Scores((("test", "x"),), ("a", "b"), np.array([[1.0, 0.0]]), (None,))
    with pytest.raises(FusionError, match="leave clip test/x no class at all; give the class 'a'"):
        reweight(scores, {"a": 0.0, "b": 1.0})


def test_files(tmp_path: Path) -> None:
    (tmp_path / "w.csv").write_text("class,weight\nb,3\na,1\n")
    (tmp_path / "c.csv").write_text("class,count\nb,9\na,1\n")
    (tmp_path / "w.json").write_text('{"a": 1, "b": 3.0}')
    for name in ("w.csv", "c.csv", "w.json"):
        assert from_file(tmp_path / name).weights == pytest.approx({"a": 0.25, "b": 0.75})
    assert counts_from_file(tmp_path / "c.csv") == {"b": 9, "a": 1}
    prior = choose(str(tmp_path / "w.csv"), None)
    assert prior is not None and "w.csv" in prior.note


@pytest.mark.parametrize(
    ("name", "text", "message"),
    [
        ("w.csv", "class,share\na,1\n", "no column 'weight'"),
        ("w.csv", "class,weight\na,1\na,2\n", "row 3: class 'a' stands here a second time"),
        ("w.csv", "class,weight\na,-1\n", "row 2, column 'weight': -1 is no number of 0 or more"),
        ("w.csv", "class,weight\na,nan\n", "row 2, column 'weight': nan"),
        ("w.csv", "class,count\na,1.5\n", "row 2, column 'count': 1.5 is no whole number"),
        ("w.csv", "class,count\na,0\n", "add up to 0"),
        ("w.csv", "class,weight\na,inf\n", "inf; 0 or more expected"),
        ("w.json", "[1, 2]", "no JSON object of class weights"),
        ("w.json", '{"a": true}', "no JSON object of class weights"),
        ("w.json", '{"a": ', "cannot be read as JSON"),
        ("w.json", '{"a": NaN}', "nan; 0 or more expected"),
    ],
)
def test_wrong_files_are_refused(tmp_path: Path, name: str, text: str, message: str) -> None:
    (tmp_path / name).write_text(text)
    with pytest.raises(FusionError) as caught:
        from_file(tmp_path / name)
    assert message in str(caught.value)
    assert str(tmp_path / name) in str(caught.value)


def test_named_sources() -> None:
    assert choose("none", None) is None
    prior = choose("train", {"a": 4, "b": 16})
    assert prior is not None
    assert prior.weights == pytest.approx({"a": 1 / 3, "b": 2 / 3})
    assert prior == from_counts({"a": 4, "b": 16}, prior.note)
    with pytest.raises(click.UsageError, match="--counts"):
        choose("train", None)
    with pytest.raises(FusionError, match=r"nowhere\.csv cannot be read"):
        choose("nowhere.csv", None)

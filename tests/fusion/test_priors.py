"""Prior re-weighting (zhou2019 section 3) against the paper's numbers and a plain loop."""

from __future__ import annotations

import math
from pathlib import Path

import click
import numpy as np
import pytest

from avemo.fusion.errors import FusionError
from avemo.fusion.evaluation.metrics import summary
from avemo.fusion.evaluation.priors import counts_from_file, from_counts, from_file, reestimate, reweight
from avemo.fusion.evaluation.scores import Scores
from avemo.pipelines.fuse.priors import EMOTIW2019_TEST_COUNTS, choose, weighting

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
    with pytest.raises(FusionError, match="missing: Zeal; extra: Sad"):
        reweight(scores, {**{n: w for n, w in weights.items() if n != "Sad"}, "Zeal": 1.0})


def test_equal_weights_change_nothing() -> None:
    scores = some()
    found = reweight(scores, dict.fromkeys(scores.classes, 0.3))
    np.testing.assert_allclose(found.values, scores.values, rtol=1e-14)


def test_a_clip_must_keep_some_class() -> None:
    scores = Scores((("test", "x"),), ("a", "b"), np.array([[1.0, 0.0]]), (None,))
    with pytest.raises(FusionError, match="scores of clip test/x are 0; give the class 'a'"):
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
        ("w.csv", "class,weight\na,1\na,2\n", "row 3: class 'a' appears a second time"),
        ("w.csv", "class,weight\na,-1\n", "row 2, column 'weight': -1 is not a number of 0 or more"),
        ("w.csv", "class,weight\na,nan\n", "row 2, column 'weight': nan"),
        ("w.csv", "class,count\na,1.5\n", "row 2, column 'count': 1.5 is not a whole number"),
        ("w.csv", "class,count\na,0\n", "add up to 0"),
        ("w.csv", "class,weight\na,inf\n", "inf; 0 or more expected"),
        ("w.json", "[1, 2]", "not a JSON object of class weights"),
        ("w.json", '{"a": true}', "not a JSON object of class weights"),
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
    assert choose("val", {"a": 1}, {"a": 4, "b": 16}) == from_counts({"a": 4, "b": 16}, choose_note("val"))
    with pytest.raises(click.UsageError, match="labelled clips of the split val"):
        choose("val", {"a": 1})
    with pytest.raises(click.UsageError, match="--prior em needs the number of training clips"):
        weighting("em", None, None)
    with pytest.raises(FusionError, match=r"nowhere\.csv cannot be read"):
        choose("nowhere.csv", None)


def choose_note(source: str) -> str:
    prior = choose(source, None, {"a": 4, "b": 16})
    assert prior is not None
    return prior.note


TRAINED = {"a": 0.5, "b": 0.3, "c": 0.2}
SHIFTED = (0.1, 0.2, 0.7)


def shifted(count: int = 4000, shares: tuple[float, ...] = SHIFTED, seed: int = 0) -> Scores:
    """Clips of classes in ``shares``, each class a Gaussian in the plane; scores are the exact posteriors of
    somebody who takes the classes to be as frequent as in training."""
    rng = np.random.default_rng(seed)
    centres = 1.5 * np.array([[0, 0], [1.5, 0], [0, 1.5]])
    truth = rng.choice(3, count, p=shares)
    points = centres[truth] + rng.normal(size=(count, 2))
    densities = np.exp(-((points[:, None] - centres) ** 2).sum(axis=2) / 2)
    joint = densities * list(TRAINED.values())
    clips = tuple(("test", str(i)) for i in range(count))
    return Scores(
        clips, ("a", "b", "c"), joint / joint.sum(axis=1, keepdims=True), tuple("abc"[i] for i in truth)
    )


@pytest.mark.parametrize("seed", range(3))
def test_em_finds_a_shifted_prior_and_accuracy_goes_up(seed: int) -> None:
    scores = shifted(seed=seed)
    found = reestimate(scores, TRAINED)
    assert found.converged and found.p_value < 1e-10
    assert list(found.shares.values()) == pytest.approx(SHIFTED, abs=0.02)
    before, after = summary(scores).accuracy, summary(reweight(scores, found.weights)).accuracy
    assert after > before + 0.03
    ideal = reweight(
        scores, {name: share / TRAINED[name] for name, share in zip("abc", SHIFTED, strict=True)}
    )
    assert after == pytest.approx(summary(ideal).accuracy, abs=0.005)


def test_em_leaves_an_unshifted_prior() -> None:
    found = reestimate(shifted(shares=tuple(TRAINED.values())), TRAINED)
    assert list(found.shares.values()) == pytest.approx(list(TRAINED.values()), abs=0.02)
    assert found.p_value > 0.01


def test_em_against_a_loop() -> None:
    """Eq. (2.9) of Saerens et al., clip by clip; the likelihood never falls."""
    scores = shifted(60)
    shares, likelihoods = list(TRAINED.values()), []
    trained = list(TRAINED.values())
    for iteration in range(1, 8):
        posteriors = []
        for row in scores.values.tolist():
            products = [s / t * p for s, t, p in zip(shares, trained, row, strict=True)]
            posteriors.append([product / sum(products) for product in products])
        likelihoods.append(
            sum(
                math.log(sum(s / t * p for s, t, p in zip(shares, trained, row, strict=True)))
                for row in scores.values.tolist()
            )
        )
        shares = [sum(column) / len(posteriors) for column in zip(*posteriors, strict=True)]
        found = reestimate(scores, TRAINED, tolerance=0, most_iterations=iteration)
        assert list(found.shares.values()) == pytest.approx(shares, rel=1e-12)
        assert (found.iterations, found.converged) == (iteration, False)
    assert likelihoods == sorted(likelihoods) and likelihoods[0] == pytest.approx(0)


def test_em_looks_at_no_label_and_goes_by_name() -> None:
    scores = shifted(500)
    hidden = Scores(scores.clips, scores.classes, scores.values, (None,) * 500)
    turned = scores.reorder(("c", "a", "b"))
    first = reestimate(scores, {name: 100 * share for name, share in TRAINED.items()})
    for other in (reestimate(hidden, TRAINED), reestimate(turned, TRAINED)):
        assert other.shares == pytest.approx(first.shares, abs=1e-6)


def test_em_wants_probabilities() -> None:
    clips = tuple(("test", str(i)) for i in range(4))
    hard = Scores(clips, ("a", "b"), np.eye(2)[[0, 1, 1, 0]], (None,) * 4)
    with pytest.raises(FusionError, match=r"4 of 4 clips have hard scores \(a 1 and otherwise 0\)"):
        reestimate(hard, {"a": 1, "b": 1})
    soft = Scores(clips, ("a", "b"), np.array([[1, 0], [0, 1], [0.4, 0.6], [0.3, 0.7]]), (None,) * 4)
    assert reestimate(soft, {"a": 1, "b": 1}).converged
    with pytest.raises(FusionError, match="no training clips of b"):
        reestimate(soft, {"a": 1, "b": 0})
    with pytest.raises(FusionError, match="missing: c"):
        reestimate(soft, {"a": 1, "c": 1})


def test_em_as_a_prior_says_what_it_found() -> None:
    scores = shifted()
    prior = weighting("em", {"a": 50, "b": 30, "c": 20}, None)(scores)
    assert prior is not None
    assert "without their labels (transductive): a 0.1" in prior.note
    assert "(trained 0.500)" in prior.note and "iterations" in prior.note
    assert "warning" not in prior.note
    flat = Scores(scores.clips, scores.classes, 0.02 * scores.values + [[0.45, 0.33, 0.2]], scores.truth)
    collapsed = weighting("em", {"a": 50, "b": 30, "c": 20}, None)(flat)
    assert collapsed is not None and "warning: it leaves less than one clip to a" in collapsed.note
    assert summary(reweight(scores, prior.weights)).accuracy > summary(scores).accuracy
